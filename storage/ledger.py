"""The ledger: for every record read, what became of it.

Two kinds of rows, because a crawl refuses forty pages for each one it looks at closely. A record refused
before its language is judged leaves a compact row (`offset` in the WARC, one byte of `Rule`). From the
language decision on, and for the few pages that no charset fits, a full row says what was measured, against
which threshold, and for duplicates which document stands in. Kept documents have rows too, so the rows of
both kinds always add up to the records read.

    write_compact(out, compact_path("CC-MAIN-00000"), [(354, Rule.NOT_HTML)])
    write_full(out, full_path("CC-MAIN-00000"), rows)
    count_rules([...])  # {"kept": 41, "not_html": 12, ...}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from operator import attrgetter

import numpy as np
import pyarrow as pa

from storage.artifact import FileEntry
from storage.documents import read_documents, write_parquet

ROWS_PER_GROUP = 65536


class Rule(IntEnum):
    """What became of a record. The numbers are on disk: never reuse or change one."""

    KEPT = 0
    # Before the language decision: compact rows.
    TORN_MEMBER = 1
    BAD_STATUS = 2
    EMPTY_RECORD = 3
    PAGE_TOO_LARGE = 4
    NOT_HTML = 5
    NO_JAPANESE_BYTES = 6
    UNDECODABLE = 7
    EXTRACTION_FAILED = 8
    EXTRACTION_TIMEOUT = 9
    EMPTY_TEXT = 10
    EXTRACTION_MEMORY = 11
    MOJIBAKE = 12  # bytes that decode, but to no text in any language
    # Language.
    NOT_JAPANESE = 20
    # Quality, in the order in which the rules are asked.
    TOO_FEW_LETTERS = 30
    TOO_FEW_JAPANESE_LETTERS = 31
    NO_SENTENCE = 32
    DUPLICATE_PARAGRAPHS = 33
    DUPLICATE_PARAGRAPH_CHARACTERS = 34
    DUPLICATE_SENTENCES = 35
    DUPLICATE_SENTENCE_CHARACTERS = 36
    TOP_2GRAM = 37
    TOP_3GRAM = 38
    TOP_4GRAM = 39
    DUPLICATE_5GRAMS = 40
    DUPLICATE_6GRAMS = 41
    DUPLICATE_7GRAMS = 42
    DUPLICATE_8GRAMS = 43
    DUPLICATE_9GRAMS = 44
    DUPLICATE_10GRAMS = 45
    TOO_LITTLE_HIRAGANA = 46
    TOO_MUCH_KATAKANA = 47
    TOO_LITTLE_JAPANESE = 48
    SENTENCES_TOO_SHORT = 49
    SENTENCES_TOO_LONG = 50
    SENTENCE_TOO_LONG = 51
    TOO_MANY_ELLIPSES = 52
    NG_WORDS = 53
    LOW_QUALITY_SCORE = 54
    TOO_LITTLE_PROSE = 55  # asked before SENTENCES_TOO_SHORT
    # Duplicates; SAME_URL is decided before them.
    EXACT_DUPLICATE = 80
    NEAR_DUPLICATE = 81
    # Survivors refined as they are written (`tasks.refine`).
    BLOCKED_HOST = 82
    EMPTIED = 83  # nothing is left once boilerplate and footer are cut
    CONTAMINATED = 84
    SAME_URL = 85  # another document of its URL ranks better
    # Pages that would have been kept, but were taken down (`storage.tombstones`).
    TAKEDOWN = 90

    @property
    def label(self) -> str:
        """The name in counts and reports: `not_html`."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A full row; the fields are the columns of the file.

    `value` is what was measured and `threshold` what it was held against (None for kept documents). `twin_id`
    is the better-ranked document that a duplicate shares a bucket with, `survivor_id` what is kept of its
    cluster. `lines_removed` and `characters_removed` are the Japanese-line step's. `offset` leads back to the
    WARC record; it was decoded with `charset`, and `num_replaced` broken bytes became U+FFFD.
    """

    id: bytes
    url: str | None
    stage: str
    rule: Rule
    value: float | None = None
    threshold: float | None = None
    twin_id: bytes | None = None
    survivor_id: bytes | None = None
    lines_removed: int = 0
    characters_removed: int = 0
    offset: int | None = None
    charset: str | None = None
    num_replaced: int = 0


COMPACT_SCHEMA = pa.schema(
    [pa.field("offset", pa.uint64(), nullable=False), pa.field("rule", pa.uint8(), nullable=False)]
)
FULL_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("url", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("rule", pa.uint8(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("twin_id", pa.binary(16)),
        pa.field("survivor_id", pa.binary(16)),
        pa.field("lines_removed", pa.int64(), nullable=False),
        pa.field("characters_removed", pa.int64(), nullable=False),
        pa.field("offset", pa.uint64()),
        pa.field("charset", pa.string()),
        pa.field("num_replaced", pa.int64(), nullable=False),
    ]
)
_values = attrgetter(*FULL_SCHEMA.names)


def compact_path(shard: str) -> str:
    """Where a shard's compact rows are, relative to the artifact."""
    return f"ledger/{shard}.compact.parquet"


def full_path(shard: str) -> str:
    """Where a shard's full rows are, relative to the artifact."""
    return f"ledger/{shard}.parquet"


def write_compact(artifact: str, path: str, rows: Iterable[tuple[int, Rule]]) -> FileEntry:
    """Write (offset, rule) rows."""
    return write_parquet(artifact, path, _batches(rows, COMPACT_SCHEMA), COMPACT_SCHEMA, ROWS_PER_GROUP)


def write_full(artifact: str, path: str, rows: Iterable[LedgerRow]) -> FileEntry:
    """Write full rows."""
    return write_parquet(artifact, path, _batches(map(_values, rows), FULL_SCHEMA), FULL_SCHEMA, ROWS_PER_GROUP)


def read_compact(uri: str) -> Iterator[tuple[int, Rule]]:
    """(offset, rule) of every record refused before the language decision."""
    for batch in read_documents(uri, COMPACT_SCHEMA.names):
        for offset, rule in zip(batch.column("offset").to_pylist(), batch.column("rule").to_pylist(), strict=True):
            yield offset, Rule(rule)


def read_full(uri: str) -> Iterator[LedgerRow]:
    """Every full row, in the order of the records."""
    for batch in read_documents(uri, FULL_SCHEMA.names):
        for row in batch.to_pylist():
            yield LedgerRow(**{**row, "rule": Rule(row["rule"])})


def count_rules(uris: Iterable[str]) -> dict[str, int]:
    """How many rows each rule has over ledger files of either kind, `kept` included, in rule order."""
    counts = np.zeros(256, np.int64)
    for uri in uris:
        for batch in read_documents(uri, ["rule"]):
            counts += np.bincount(batch.column("rule").to_numpy(), minlength=256)
    return {rule.label: int(counts[rule]) for rule in Rule if counts[rule]}


def _batches(rows: Iterable[Sequence[object]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    rows = iter(rows)
    while chunk := list(islice(rows, ROWS_PER_GROUP)):
        columns = [pa.array(column, field.type) for column, field in zip(zip(*chunk, strict=True), schema, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
