"""Deduplication of documents on disk: who survives, who is whose twin, and that nothing is lost."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pytest

from storage.artifact import content_digest
from storage.documents import document_id, document_schema, read_texts, write_documents
from storage.ledger import Rule, read_full
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.deduplicate import deduplicate
from tasks.deduplicate.signatures import Signer, exact_digest, shingles
from tasks.shards import ExecutorConfig

ONE = ExecutorConfig(workers=1)


def sentences(seed: int, number: int = 60) -> str:
    """Japanese-looking text without repeats, different for each seed."""
    rng = random.Random(seed)
    words = [
        "雲雀",
        "野原",
        "春風",
        "朝霧",
        "歌声",
        "丘",
        "川辺",
        "麦畑",
        "青空",
        "巣",
        "羽",
        "旅人",
        "古道",
        "村",
        "鐘",
    ]
    verbs = ["渡る", "響く", "昇る", "眠る", "揺れる", "光る", "消える", "流れる", "集う", "笑う"]
    return "\n".join(
        f"{rng.choice(words)}の{rng.choice(words)}に{rng.choice(words)}が{rng.randint(1, 999)}回{rng.choice(verbs)}。"
        for _ in range(number)
    )


def write_shard(folder: Path, name: str, rows: list[tuple[str, str]]) -> str:
    """A document shard of (crawl, text) rows; the id of row i is document_id(name, i)."""
    schema = document_schema()
    columns: dict[str, list[object]] = {field.name: [None] * len(rows) for field in schema}
    columns["id"] = [document_id(name, number) for number in range(len(rows))]
    columns["url"] = [f"https://example.org/{name}/{number}" for number in range(len(rows))]
    columns["crawl"] = [crawl for crawl, _ in rows]
    columns["text"] = [text for _, text in rows]
    columns["num_characters"] = [len(text) for _, text in rows]
    columns["lines_removed"] = columns["characters_removed"] = [0] * len(rows)
    write_documents(str(folder), f"{name}.parquet", pa.table(columns, schema=schema))
    return str(folder / f"{name}.parquet")


def kept_ids(out: Path) -> set[bytes]:
    return {id_ for path in (out / "documents").glob("*.parquet") for id_, _ in read_texts(str(path))}


def test_the_newest_of_copies_survives_and_every_drop_names_its_twin(tmp_path: Path) -> None:
    edited = sentences(1).replace("雲雀", "ひばり", 1)
    shards = [
        write_shard(tmp_path, "a", [("CC-MAIN-2020-05", sentences(1)), ("CC-MAIN-2020-05", sentences(2))]),
        write_shard(
            tmp_path,
            "b",
            [
                ("CC-MAIN-2023-50", edited),
                ("CC-MAIN-2023-50", "  " + sentences(2) + "\n"),
                ("unknown", "短文"),
            ],
        ),
    ]
    outcome = deduplicate(shards, DeduplicateConfig(), out=str(tmp_path / "out"), executor=ONE)
    counts = {
        "documents": 5,
        "kept": 3,
        "dropped": 2,
        "exact_duplicates": 1,
        "near_duplicates": 1,
        "clusters": 2,
    }
    assert counts.items() <= outcome.counts.items()
    assert kept_ids(tmp_path / "out") == {document_id("b", number) for number in range(3)}
    rows = {row.id: row for path in "ab" for row in read_full(str(tmp_path / "out" / "ledger" / f"{path}.parquet"))}
    assert len(rows) == 5
    assert rows[document_id("a", 0)].rule == Rule.NEAR_DUPLICATE
    assert rows[document_id("a", 0)].twin_id == rows[document_id("a", 0)].survivor_id == document_id("b", 0)
    assert rows[document_id("a", 1)].rule == Rule.EXACT_DUPLICATE
    assert rows[document_id("a", 1)].survivor_id == document_id("b", 1)
    assert rows[document_id("b", 2)].rule == Rule.KEPT


def test_the_result_depends_neither_on_workers_nor_on_the_order_of_shards(tmp_path: Path) -> None:
    texts = [sentences(seed % 7) for seed in range(12)]
    shards = [write_shard(tmp_path, f"s{n}", [("CC-MAIN-2024-10", text) for text in texts[n::3]]) for n in range(3)]
    one = deduplicate(shards, DeduplicateConfig(), out=str(tmp_path / "1"), executor=ONE)
    two = deduplicate(shards[::-1], DeduplicateConfig(), out=str(tmp_path / "2"), executor=ExecutorConfig(workers=2))
    assert content_digest(one.files) == content_digest(two.files)
    assert one.counts == two.counts
    assert one.counts["kept"] == 7


def test_short_and_empty_texts_do_not_all_collide(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, "s", [("c", text) for text in ("春", "夏", "春夏", "春夏秋冬", "春")])
    outcome = deduplicate([shard], DeduplicateConfig(), out=str(tmp_path / "out"), executor=ONE)
    assert (outcome.counts["kept"], outcome.counts["exact_duplicates"]) == (4, 1)


def test_no_documents_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no documents in the 1 shards"):
        deduplicate([write_shard(tmp_path, "s", [])], DeduplicateConfig(), out=str(tmp_path / "o"), executor=ONE)


def test_the_same_warc_twice_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    shards = [write_shard(tmp_path, "s", [("c", "春")]), write_shard(tmp_path / "again", "s", [("c", "夏")])]
    with pytest.raises(ValueError, match="not unique"):
        deduplicate(shards, DeduplicateConfig(), out=str(tmp_path / "o"), executor=ONE)


def test_signatures_are_code_points_and_white_space_decides_nothing_but_exactness() -> None:
    assert shingles("春の小川は", 3) == {text.encode() for text in ("春の小", "の小川", "小川は")}
    assert exact_digest("春の 小川\n") == exact_digest("春の小川")
    assert exact_digest("春の小川") != exact_digest("春の大川")
    signer = Signer(ngram=5, bands=4, rows=5)
    assert (signer.bands_of(sentences(3)) == signer.bands_of(sentences(3))).all()
    assert not (signer.bands_of(sentences(3)) == signer.bands_of(sentences(4))).any()


def test_recall_on_planted_pairs_follows_the_s_curve(tmp_path: Path, shared_data: Path) -> None:
    """2,000 documents whose true Jaccard similarities are known: above 0.9 nearly all pairs lose a member."""
    oracles = shared_data / "oracles"
    with gzip.open(oracles / "oracle_dedup_2k_docs.jsonl.gz", "rt") as file:
        documents = [json.loads(line) for line in file]
    with gzip.open(oracles / "oracle_dedup_2k_0.9.jsonl.gz", "rt") as file:
        pairs = [json.loads(line) for line in file]
    shard = write_shard(tmp_path, "s", [("c", document["text"]) for document in documents])
    outcome = deduplicate([shard], DeduplicateConfig(bands=14, rows=8), out=str(tmp_path / "o"), executor=ONE)
    survivors = kept_ids(tmp_path / "o")
    kept = {document["id"] for number, document in enumerate(documents) if document_id("s", number) in survivors}
    both = [pair for pair in pairs if {pair["a"], pair["b"]} <= kept]
    assert outcome.counts["kept"] < len(documents)
    assert len(both) <= 0.01 * len(pairs)
