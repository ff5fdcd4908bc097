"""Breaks when a ledger row is lost or read back as another, or when a rule's number on disk changes."""

from __future__ import annotations

from pathlib import Path

from storage.ledger import (
    ROWS_PER_GROUP,
    LedgerRow,
    Rule,
    compact_path,
    count_rules,
    full_path,
    read_compact,
    read_full,
    write_compact,
    write_full,
)


def test_numbers_on_disk_stay_what_they_are() -> None:
    assert {rule.name: int(rule) for rule in Rule if rule < 30 or rule >= 80} == {
        "KEPT": 0,
        "TORN_MEMBER": 1,
        "BAD_STATUS": 2,
        "EMPTY_RECORD": 3,
        "PAGE_TOO_LARGE": 4,
        "NOT_HTML": 5,
        "NO_JAPANESE_BYTES": 6,
        "UNDECODABLE": 7,
        "EXTRACTION_FAILED": 8,
        "EXTRACTION_TIMEOUT": 9,
        "EMPTY_TEXT": 10,
        "EXTRACTION_MEMORY": 11,
        "MOJIBAKE": 12,
        "NOT_JAPANESE": 20,
        "EXACT_DUPLICATE": 80,
        "NEAR_DUPLICATE": 81,
        "BLOCKED_HOST": 82,
        "EMPTIED": 83,
        "CONTAMINATED": 84,
        "SAME_URL": 85,
        "TAKEDOWN": 90,
    }
    assert (Rule.TOO_FEW_LETTERS, Rule.DUPLICATE_5GRAMS, Rule.TOO_MANY_ELLIPSES) == (30, 40, 52)
    assert (Rule.NG_WORDS, Rule.LOW_QUALITY_SCORE) == (53, 54)
    assert max(Rule) < 256


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    compact = [(0, Rule.TORN_MEMBER), (2**40, Rule.NOT_HTML)]
    full = [
        LedgerRow(b"a" * 16, "https://example.jp/", "curate", Rule.KEPT, lines_removed=2, characters_removed=31),
        LedgerRow(b"b" * 16, None, "curate", Rule.TOO_FEW_LETTERS, 120.0, 400.0, offset=354, charset="cp932"),
        LedgerRow(b"f" * 16, None, "curate", Rule.MOJIBAKE, offset=400, charset="utf-8", num_replaced=17),
        LedgerRow(b"c" * 16, "u", "deduplicate", Rule.NEAR_DUPLICATE, 0.93, 0.8, b"d" * 16, b"e" * 16),
    ]
    write_compact(str(tmp_path), compact_path("x"), compact)
    entry = write_full(str(tmp_path), full_path("x"), iter(full))
    assert entry.path == "ledger/x.parquet"
    assert list(read_compact(str(tmp_path / compact_path("x")))) == compact
    assert list(read_full(str(tmp_path / full_path("x")))) == full


def test_counts_cover_both_kinds_and_more_than_one_batch(tmp_path: Path) -> None:
    write_compact(str(tmp_path), "c.parquet", ((n, Rule.NOT_HTML) for n in range(ROWS_PER_GROUP + 5)))
    write_full(str(tmp_path), "f.parquet", [LedgerRow(b"a" * 16, None, "curate", Rule.KEPT)] * 3)
    write_full(str(tmp_path), "empty.parquet", [])
    uris = [str(tmp_path / name) for name in ("c.parquet", "f.parquet", "empty.parquet")]
    assert count_rules(uris) == {"kept": 3, "not_html": ROWS_PER_GROUP + 5}
