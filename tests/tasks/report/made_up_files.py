"""The data files of a made-up run that the report reads: documents, ledgers, held-out texts, mixture, examples."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from storage.artifact import FileEntry
from storage.documents import document_id, document_schema, write_documents, write_parquet
from storage.ledger import LedgerRow, Rule, compact_path, full_path, write_compact, write_full
from storage.mixture_plan import PLAN, MixturePlan
from storage.mixture_writer import write_plan, write_split
from storage.token_catalog import document_rows_path
from tests.storage.token_sources import Source, write_sources

SHARDS = ("WARC-00000", "WARC-00001")
TEXTS = (
    "麦畑の上で雲雀が鳴いている。春の朝は、空気が澄んでいて気持ちがよい。",
    "図書館は午前九時に開く。水曜日は休館なので、返却ポストを使ってください。",
    "設定ファイルを保存したら、サービスを再起動する。記録に誤りがないかを確かめる。",
    "山道を登ると、谷の向こうに古い寺が見えた。鐘の音が夕暮れの村に響いている。",
)
ENGLISH_TEXTS = (
    "The larks came back in April. They sang over the wheat until noon.",
    "Restart the service once the settings are saved. Then read its log.",
)


def document(shard: str, offset: int, text: str, **fields: Any) -> dict[str, Any]:
    """A row of a document shard."""
    host = f"{shard.lower()}.example.jp"
    row = dict.fromkeys(document_schema().names) | {
        "id": document_id(shard, offset),
        "url": f"https://{host}/page/{offset}?q=<雲雀>",
        "host": host,
        "crawl": "CC-MAIN-2024-10",
        "warc": f"{shard}.warc.gz",
        "offset": offset,
        "fetched_at": datetime(2024, 3, 1 + offset % 28, tzinfo=UTC),
        "charset": "utf-8",
        "language_score": 0.93,
        "text": text,
        "num_characters": len(text),
        "lines_removed": 0,
        "characters_removed": 0,
    }
    return row | fields


def write_shard(artifact: str, shard: str, rows: Sequence[dict[str, Any]]) -> FileEntry:
    table = pa.Table.from_pylist(list(rows), document_schema())
    return write_documents(artifact, f"documents/{shard}.parquet", table)


def write_corpus(artifact: str) -> list[FileEntry]:
    """Deduplicate's: two shards of documents and their ledgers; in each, one copy of a document of the other shard."""
    files = []
    for number, shard in enumerate(SHARDS):
        documents = [document(shard, 100 * n + number, TEXTS[n]) for n in range(4)]
        files.append(write_shard(artifact, shard, documents))
        rows = [LedgerRow(row["id"], row["url"], "deduplicate", Rule.KEPT) for row in documents]
        rule = (Rule.EXACT_DUPLICATE, Rule.NEAR_DUPLICATE)[number]
        other = document_id(SHARDS[1 - number], 100 + 1 - number)
        copy = document(shard, 900 + number, TEXTS[1])
        rows.append(LedgerRow(copy["id"], copy["url"], "deduplicate", rule, twin_id=other, survivor_id=other))
        files.append(write_full(artifact, full_path(shard), rows))
    return files


def write_curated(artifact: str) -> list[FileEntry]:
    """Curate's: the documents before deduplication, and ledgers with drops of both kinds."""
    files = []
    for number, shard in enumerate(SHARDS):
        documents = [document(shard, 100 * n + number, TEXTS[n]) for n in range(4)]
        files.append(write_shard(artifact, shard, documents))
        rows = [LedgerRow(row["id"], row["url"], "curate", Rule.KEPT) for row in documents]
        for offset in range(5000, 5008):
            short = document(shard, offset, "")
            rows.append(LedgerRow(short["id"], short["url"], "curate", Rule.TOO_FEW_LETTERS, 120.0, 400.0))
        long = document(shard, 6000 + number, "")
        rows.append(LedgerRow(long["id"], long["url"], "curate", Rule.TOP_2GRAM, 0.31, 0.2))
        gone = document(shard, 7000 + number, "", url="https://taken-down.example.jp/")
        rows.append(LedgerRow(gone["id"], gone["url"], "curate", Rule.TAKEDOWN))
        files.append(write_full(artifact, full_path(shard), rows))
        refused = [(10 * n, Rule.NO_JAPANESE_BYTES) for n in range(40)] + [(7, Rule.NOT_HTML)]
        files.append(write_compact(artifact, compact_path(shard), refused))
    return files


def write_held_out(artifact: str) -> list[FileEntry]:
    """Binarize's: the held-out documents of both sources with their text."""
    files = []
    for name, texts in (("corpus", TEXTS), ("web-en", ENGLISH_TEXTS)):
        ids = [held_out_id(name, n) for n in range(len(texts))]
        batch = pa.record_batch({"id": pa.array(ids, pa.binary(16)), "text": list(texts)})
        files.append(write_parquet(artifact, document_rows_path(name, "validation"), [batch], batch.schema))
    return files


def held_out_id(source: str, number: int) -> bytes:
    return document_id(f"held out of {source}", number)


def write_mixture(artifact: str, tokens: str, num_samples: int = 1_920, num_documents: int = 40) -> list[FileEntry]:
    """Mix's: a real order over token files that are written below `tokens`, in samples of 8 tokens."""
    documents = [list(range(n % 7 + 9)) for n in range(num_documents)]
    sources = write_sources(tokens, [Source("corpus", "ja", documents), Source("web-en", "en", documents)])
    plan = MixturePlan(8, 1, {})
    plan.splits["train"], files = write_split(
        artifact, "train", plan, tokens, sources, [0.9, 0.1], num_samples=num_samples
    )
    entry = write_plan(artifact, plan)
    assert entry.path == PLAN
    return [*files, entry]


def example_rows(model: str, task: str) -> list[dict[str, Any]]:
    """Evaluate's rows of one model: four Japanese and two English documents, or four questions."""
    trained = model == "trained"
    if task == "bits_per_byte":
        rows = []
        for source, language, number in (("corpus", "ja", 4), ("web-en", "en", 2)):
            for n in range(number):
                change = 0.7 + 0.2 * n if trained else 1.0  # from 0.7 to 1.3 of the base's bits
                row = {"id": held_out_id(source, n).hex(), "language": language, "bytes": 1000, "bits": 1500 * change}
                rows.append(row)
        return rows
    scores = (1, 1, 0, 0) if not trained else (1, 0, 1, 0)
    return [{"id": f"ja-{n}", "language": "ja", "score": score} for n, score in enumerate(scores)]
