"""What curating a WARC leaves: the columns of its documents, of its metrics and of its ledger.

documents/<shard>.parquet   kept pages with their text, DOCUMENTS_SCHEMA
metrics/<shard>.parquet     every page that reached the quality rules, kept or not, METRICS_SCHEMA
ledger/<shard>…parquet      what became of every record (`storage/ledger.py`)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from storage.documents import document_schema
from storage.ledger import LedgerRow
from tasks.curate.metrics import Metrics, metric_fields
from tasks.curate.page import Examined, host_of
from tasks.curate.sources import WarcSource

STAGE = "curate"
METRICS = tuple(Metrics.__dataclass_fields__)
DOCUMENTS_SCHEMA = document_schema([pa.field("num_replaced", pa.int64(), nullable=False), *metric_fields()])
METRICS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("offset", pa.uint64(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("rule", pa.uint8(), nullable=False),
        pa.field("language_score", pa.float64()),
        *metric_fields(),
    ]
)
# Of the pages that got as far as decoding, by charset.
CHARSET_COUNTS = ("pages", "lossy", "mojibake", "undecodable", "kept")


def metrics_path(shard: str) -> str:
    """Where a shard's metrics are, relative to the artifact."""
    return f"metrics/{shard}.parquet"


def document_row(id: bytes, source: WarcSource, examined: Examined, metrics: Metrics) -> dict[str, Any]:
    """A kept page as a row of DOCUMENTS_SCHEMA."""
    return {
        "id": id,
        "url": examined.page.url,
        "host": host_of(examined.page.url),
        "crawl": source.crawl,
        "warc": source.name,
        "offset": examined.page.offset,
        "fetched_at": examined.page.fetched_at,
        "charset": examined.charset,
        "language_score": examined.language_score,
        "text": examined.text,
        "num_characters": len(examined.text),
        "lines_removed": examined.lines_removed,
        "characters_removed": examined.characters_removed,
        "num_replaced": examined.num_replaced,
        **{name: getattr(metrics, name) for name in METRICS},
    }


def metrics_row(id: bytes, examined: Examined, metrics: Metrics) -> tuple[Any, ...]:
    """A measured page as a row of METRICS_SCHEMA."""
    page, rule = examined.page, examined.decision.rule
    return (id, page.offset, page.url, rule, examined.language_score, *(getattr(metrics, name) for name in METRICS))


def metrics_batch(rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    """Rows of METRICS_SCHEMA, at least one, as a batch."""
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, METRICS_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=METRICS_SCHEMA)


def ledger_row(id: bytes, examined: Examined) -> LedgerRow:
    """A page's full row in the ledger."""
    return LedgerRow(
        id,
        examined.page.url,
        STAGE,
        examined.decision.rule,
        examined.decision.value,
        examined.decision.threshold,
        lines_removed=examined.lines_removed,
        characters_removed=examined.characters_removed,
        offset=examined.page.offset,
        charset=examined.charset,
        num_replaced=examined.num_replaced,
    )


def add_charsets(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Charset -> pages that got as far as decoding, and of these lossy, mojibake and kept; the commonest first."""
    added: dict[str, Counter[str]] = {}
    for part in parts:
        for charset, counted in part.items():
            added.setdefault(charset, Counter()).update(counted)
    ranked = sorted(added.items(), key=lambda item: (-item[1]["pages"], item[0]))
    return {charset: {name: counted[name] for name in CHARSET_COUNTS} for charset, counted in ranked}
