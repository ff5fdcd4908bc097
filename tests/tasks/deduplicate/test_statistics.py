"""The figures of deduplication against counting by hand, with names and texts of the few documents that are shown."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from storage.documents import document_id, document_schema, write_documents
from storage.ledger import Rule
from tasks.deduplicate import statistics as module
from tasks.deduplicate.decide import Decisions
from tasks.deduplicate.excerpts import EXCERPT_CHARACTERS, documents_at, excerpt
from tasks.deduplicate.index import ROWS, IndexShard, rows_path
from tasks.deduplicate.statistics import NUM_CLUSTERS, NUM_HOST_PAIRS, NUM_HOSTS, NUM_MEMBERS, statistics
from tasks.refine.boilerplate import host_key
from tasks.refine.pii_config import PiiConfig

PII = PiiConfig()
SHARDS = {"2023-a": 900, "2023-b": 0, "2024-a": 2_500, "2024-b": 300}  # the third has two row groups


@dataclass(frozen=True)
class Corpus:
    """Documents in their shards, and what was decided over them."""

    rows: list[dict[str, Any]]
    shards: list[IndexShard]
    documents: dict[str, str]
    decisions: Decisions

    @property
    def dropped(self) -> list[int]:
        return np.flatnonzero(~self.decisions.kept).tolist()

    def statistics(self) -> dict[str, Any]:
        return statistics(self.decisions, self.shards, documents=self.documents, pii=PII)


def made_up(number: int, chance: random.Random) -> dict[str, Any]:
    """A document of one of some fifty hosts, a few of which hold most; every tenth has neither host nor crawl."""
    host = None if number % 10 == 3 else f"host-{int(50 * chance.random() ** 3)}.example.jp"
    text = f"雲雀の{number}番目の便り。\n" * 20
    return dict.fromkeys(document_schema().names) | {
        "id": document_id("made up", number),
        "url": f"https://{host}/{number}",
        "host": host,
        "crawl": None if host is None else chance.choice(["CC-MAIN-2023-40", "CC-MAIN-2024-10"]),
        "text": text,
        "num_characters": len(text),
        "lines_removed": 0,
        "characters_removed": 0,
    }


def write_shard(out: str, key: str, rows: list[dict[str, Any]]) -> str:
    """A shard of documents, and of the index what the figures are made of; the URI of the documents."""
    table = pa.Table.from_pylist(rows, document_schema())
    write_documents(out, f"documents/{key}.parquet", table)
    values = dict.fromkeys(ROWS.names, 0) | {"exact": bytes(16)}
    kept = [values | {"id": row["id"], "crawl": row["crawl"], "host": host_key(row["host"])} for row in rows]
    write_documents(out, rows_path(key), pa.Table.from_pylist(kept, ROWS))
    return f"{out}/documents/{key}.parquet"


def decide_by_chance(rows: list[dict[str, Any]], chance: random.Random) -> Decisions:
    """A third are copies of others, most of them of a few."""
    size = len(rows)
    dropped = [chance.random() < 1 / 3 for _ in rows]
    kept = [row for row in range(size) if not dropped[row]]
    survivor = [kept[int(len(kept) * chance.random() ** 4)] if dropped[row] else row for row in range(size)]
    copies = (Rule.SAME_URL, Rule.EXACT_DUPLICATE, Rule.NEAR_DUPLICATE, Rule.NEAR_DUPLICATE)
    rule = [chance.choice(copies) if lost else Rule.KEPT for lost in dropped]
    value = [chance.uniform(0.8, 1) if one == Rule.NEAR_DUPLICATE else math.nan for one in rule]
    ids = np.frombuffer(b"".join(row["id"] for row in rows), np.uint8).reshape(-1, 16)
    twin = [survivor[row] if dropped[row] else -1 for row in range(size)]
    return Decisions(np.array(survivor), np.array(twin), np.array(rule, np.uint8), np.array(value), ids)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    chance = random.Random(4)
    out = str(tmp_path_factory.mktemp("corpus"))
    rows: list[dict[str, Any]] = []
    shards, documents = [], {}
    for key, size in SHARDS.items():
        here = [made_up(number, chance) for number in range(len(rows), len(rows) + size)]
        documents[key] = write_shard(out, key, here)
        shards.append(IndexShard(key, out, len(rows), size))
        rows += here
    return Corpus(rows, shards, documents, decide_by_chance(rows, chance))


@pytest.fixture(scope="module")
def figures(corpus: Corpus) -> dict[str, Any]:
    return corpus.statistics()


def test_cluster_sizes(corpus: Corpus, figures: dict[str, Any]) -> None:
    sizes = Counter(Counter(corpus.decisions.survivor.tolist()).values())
    assert figures["cluster_sizes"] == {str(size): sizes[size] for size in sorted(sizes)}
    assert sum(int(size) * number for size, number in figures["cluster_sizes"].items()) == len(corpus.rows)


def test_largest_clusters_with_what_is_kept_and_the_members_with_the_smallest_ids(
    corpus: Corpus, figures: dict[str, Any]
) -> None:
    survivor = corpus.decisions.survivor.tolist()
    sizes = Counter(survivor)
    expected = sorted(sizes, key=lambda row: (-sizes[row], row))[:NUM_CLUSTERS]
    found = figures["largest_clusters"]
    assert [(cluster["size"], cluster["survivor"]["id"]) for cluster in found] == [
        (sizes[row], corpus.rows[row]["id"].hex()) for row in expected
    ]
    for cluster, kept in zip(found, expected, strict=True):
        members = [row for row in corpus.dropped if survivor[row] == kept]
        members.sort(key=lambda row: corpus.rows[row]["id"])
        assert cluster["members"] == [described(corpus, row) for row in members[:NUM_MEMBERS]]
        kept_row = described(corpus, kept)
        assert cluster["survivor"] == {"id": corpus.rows[kept]["id"].hex()} | {
            name: kept_row[name] for name in ("crawl", "url", "host", "excerpt")
        }


def described(corpus: Corpus, row: int) -> dict[str, Any]:
    document, value = corpus.rows[row], float(corpus.decisions.value[row])
    return {
        "rule": Rule(int(corpus.decisions.rule[row])).label,
        "value": None if math.isnan(value) else value,
        "crawl": document["crawl"] or "unknown",
        "url": document["url"],
        "host": document["host"],
        "excerpt": " ".join(document["text"].split())[: EXCERPT_CHARACTERS - 1].rstrip() + "…",
    }


def test_hosts_with_most_copies_and_where_their_survivors_are(corpus: Corpus, figures: dict[str, Any]) -> None:
    hosts = [row["host"] for row in corpus.rows]
    pairs = [(hosts[row], hosts[corpus.decisions.survivor[row]]) for row in corpus.dropped]
    documents, dropped = Counter(hosts), Counter(host for host, _ in pairs)
    same = Counter(host for host, other in pairs if host == other)
    expected = [
        {
            "host": host,
            "documents": documents[host],
            "dropped": number,
            "share": number / documents[host],
            "same_host": same[host],
            "other_host": number - same[host],
        }
        for host, number in dropped.items()
    ]
    found = figures["hosts"]
    assert len(found) == NUM_HOSTS < len(expected)
    assert all(host in expected for host in found)
    assert [host["dropped"] for host in found] == sorted(dropped.values(), reverse=True)[:NUM_HOSTS]
    between = Counter(pair for pair in pairs if pair[0] != pair[1])
    shown = [((row["host"], row["survivor_host"]), row["documents"]) for row in figures["host_pairs"]]
    assert len(set(shown)) == NUM_HOST_PAIRS
    assert all(between[pair] == number for pair, number in shown)
    assert [number for _, number in shown] == [number for _, number in between.most_common(NUM_HOST_PAIRS)]


def test_crawl_pairs(corpus: Corpus, figures: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    crawls = [row["crawl"] or "unknown" for row in corpus.rows]
    expected = Counter((crawls[row], crawls[corpus.decisions.survivor[row]]) for row in corpus.dropped)
    found = [((row["dropped_crawl"], row["survivor_crawl"]), row["documents"]) for row in figures["crawl_pairs"]]
    assert dict(found) == expected
    assert len(found) == 9
    assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))
    monkeypatch.setattr(module, "MAX_CRAWL_PAIRS", 4)
    assert corpus.statistics()["crawl_pairs"] == figures["crawl_pairs"][:4]


def test_they_are_small_and_json(corpus: Corpus, figures: dict[str, Any]) -> None:
    text = json.dumps(figures, allow_nan=False)
    assert json.loads(text) == figures == corpus.statistics()
    assert len(text) < 100_000


def test_documents_that_are_gone_have_no_names_but_are_counted(corpus: Corpus, figures: dict[str, Any]) -> None:
    gone = replace(corpus, documents={"2024-a": f"{corpus.shards[0].artifact}/nowhere.parquet"}).statistics()
    assert {host["host"] for host in gone["hosts"]} == {None}
    assert {cluster["survivor"]["excerpt"] for cluster in gone["largest_clusters"]} == {None}
    for name in ("cluster_sizes", "crawl_pairs"):
        assert gone[name] == figures[name]
    assert [host["dropped"] for host in gone["hosts"]] == [host["dropped"] for host in figures["hosts"]]


def test_without_copies_there_is_nothing_to_name(corpus: Corpus) -> None:
    rows = np.arange(len(corpus.rows))
    kept = np.zeros(len(rows), np.uint8)
    alone = Decisions(rows, np.full(len(rows), -1), kept, np.full(len(rows), math.nan), corpus.decisions.ids)
    figures = replace(corpus, decisions=alone).statistics()
    assert figures.pop("cluster_sizes") == {"1": len(rows)}
    assert set(map(str, figures.values())) == {"[]"}


def test_pages_are_found_in_any_row_group_in_any_order(corpus: Corpus) -> None:
    rows = [3_699, 900, 899, 2_947, 2_948, 0, 3_400]  # 2,048 rows are a row group
    pages = documents_at(rows, corpus.shards, corpus.documents, ["id", "url"])
    assert {row: page["id"] for row, page in pages.items()} == {row: corpus.rows[row]["id"] for row in rows}
    assert set(pages[0]) == {"id", "url"}


def test_excerpts_hide_what_refinement_masks() -> None:
    text = "お問い合わせは\n hibari@example.jp または 03-3123-4567 まで。"
    assert excerpt(text, PII) == "お問い合わせは <メールアドレス> または <電話番号> まで。"
    assert "03-3123-4567" in excerpt(text, PiiConfig(enabled=False))
    cut_within = "鳴" * (EXCERPT_CHARACTERS - 8) + " 03-3123-4567 へ"
    assert "03-" not in excerpt(cut_within, PII)
    assert excerpt("鳴" * EXCERPT_CHARACTERS, PII) == "鳴" * EXCERPT_CHARACTERS
    assert excerpt("鳴" * 500, PII) == "鳴" * (EXCERPT_CHARACTERS - 1) + "…"
