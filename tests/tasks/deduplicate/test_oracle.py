"""Decisions over 2,000 real texts, held against all their similar pairs, found by brute force elsewhere."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from storage.documents import write_parquet
from storage.ledger import Rule
from storage.uri import join
from tasks.deduplicate.buckets import equal_keys
from tasks.deduplicate.config import DeduplicateConfig, VerifyConfig
from tasks.deduplicate.decide import Decisions, decide
from tasks.deduplicate.index import IndexShard
from tasks.deduplicate.signatures import Signer, shingles
from tasks.shards import ExecutorConfig
from tests.tasks.deduplicate.made_index import Document, pairs_in, pairs_of, write_index

EXECUTOR = ExecutorConfig(workers=1)
FIRST_SHARD = 700  # documents


@dataclass(frozen=True)
class Oracle:
    """Texts and the Jaccard similarity of their pairs: `similar` all of 0.8 or more, `less` those from 0.55 on."""

    texts: list[str]
    similar: dict[tuple[int, int], float]
    less: dict[tuple[int, int], float]


@pytest.fixture(scope="module")
def oracle(shared_data: Path) -> Oracle:
    """2,000 texts and their similar pairs, found by brute force elsewhere; the others by far more sensitive LSH."""

    def rows(name: str) -> list[dict[str, Any]]:
        with gzip.open(shared_data / "oracles" / name, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    texts = [row["text"] for row in rows("oracle_dedup_2k_docs.jsonl.gz")]
    similar = {(row["a"], row["b"]): row["jaccard"] for row in rows("oracle_dedup_2k_0.8.jsonl.gz")}
    bands = Signer(5, 64, 4).sign(pa.array(texts)).bands  # finds 99.8 % of the pairs of 0.55
    pairs = set().union(*(pairs_of(*equal_keys([np.ascontiguousarray(band)], np.arange(2000))) for band in bands.T))
    sets = {row: shingles(texts[row], 5) for row in set().union(*pairs)}
    less = {}
    for a, b in pairs - similar.keys():
        shared = len(sets[a] & sets[b])
        jaccard = shared / (len(sets[a]) + len(sets[b]) - shared)
        if jaccard > 0.55:
            less[a, b] = jaccard
    return Oracle(texts, similar, less)


@pytest.mark.usefixtures("shards_in_threads")
@pytest.mark.parametrize(("bands", "rows"), [(40, 20), (14, 8)])
def test_as_many_pairs_are_found_and_invented_as_the_s_curve_says(
    tmp_path: Path, oracle: Oracle, bands: int, rows: int
) -> None:
    config = DeduplicateConfig(bands=bands, rows=rows)
    shards = sign(tmp_path, oracle.texts, config)
    found = pairs_in(tmp_path / "pairs", shards, list(range(bands)))

    def expect(number: int, similarities: Iterable[float]) -> None:
        """Within four standard errors of a sum of independent events."""
        chance = 1 - (1 - np.array(list(similarities)) ** rows) ** bands
        assert abs(number - chance.sum()) < 4 * np.sqrt((chance * (1 - chance)).sum())

    expect(len(found & oracle.similar.keys()), oracle.similar.values())
    assert {pair for pair, jaccard in oracle.similar.items() if jaccard >= 0.95} <= found
    invented = found - oracle.similar.keys()
    expect(len(invented), oracle.less.values())
    assert invented <= oracle.less.keys()

    decisions = decide(shards, config, out=str(tmp_path), executor=EXECUTOR, documents={})
    near = np.flatnonzero(decisions.rule == Rule.NEAR_DUPLICATE)
    assert all(tuple(sorted((row, decisions.twin[row]))) in found for row in near)
    assert all(decisions.survivor[a] == decisions.survivor[b] for a, b in found)


@pytest.mark.usefixtures("shards_in_threads")
def test_verification_leaves_no_pair_that_is_not_similar(tmp_path: Path, oracle: Oracle) -> None:
    config = DeduplicateConfig(bands=14, rows=8, verify=VerifyConfig(enabled=True, min_jaccard=0.8))
    shards = sign(tmp_path, oracle.texts, config)
    found = pairs_in(tmp_path / "pairs", shards, list(range(config.bands)))
    schema = pa.schema([pa.field("text", pa.string(), nullable=False)])
    documents = {}
    for key, texts in (("a", oracle.texts[:FIRST_SHARD]), ("b", oracle.texts[FIRST_SHARD:])):
        batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.string())], schema=schema)
        documents[key] = join(str(tmp_path), write_parquet(str(tmp_path), f"{key}.parquet", [batch], schema).path)
    told: list[float] = []
    decisions = decide(
        shards,
        config,
        out=str(tmp_path),
        executor=EXECUTOR,
        documents=documents,
        progress=lambda done, total, _: told.append(done / total),
    )
    assert told == sorted(told)
    assert told[-1] == 1
    near = np.flatnonzero(decisions.rule == Rule.NEAR_DUPLICATE)
    twins = {tuple(sorted((int(row), int(decisions.twin[row])))): decisions.value[row] for row in near}
    assert len(twins) > 250
    assert twins == pytest.approx({pair: oracle.similar[pair] for pair in twins}, abs=1e-8)
    tied = [pair for pair in found & oracle.similar.keys() if not is_copy(decisions, pair)]
    assert all(decisions.survivor[a] == decisions.survivor[b] for a, b in tied)
    assert np.isnan(decisions.value[np.setdiff1d(np.arange(2000), near)]).all()


def is_copy(decisions: Decisions, pair: tuple[int, int]) -> bool:
    return bool((decisions.rule[list(pair)] == Rule.EXACT_DUPLICATE).any())


def sign(out: Path, texts: list[str], config: DeduplicateConfig) -> list[IndexShard]:
    """The index of the texts in two shards."""
    signed = Signer(config.ngram, config.bands, config.rows).sign(pa.array(texts))
    made = [
        Document(id=row.to_bytes(16, "big"), bands=tuple(hashes), exact=digest.tobytes())
        for row, (hashes, digest) in enumerate(zip(signed.bands.tolist(), signed.exact, strict=True))
    ]
    return write_index(str(out), [made[:FIRST_SHARD], made[FIRST_SHARD:]], config)
