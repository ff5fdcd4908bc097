"""The installation guides of one distribution for three kinds of machine: natural near-duplicates."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from storage.documents import read_documents
from storage.ledger import read_full
from tasks.curate.config import CurateConfig
from tasks.curate.curate import curate
from tasks.curate.members import inflate
from tasks.curate.record import parse_record
from tasks.deduplicate.config import DeduplicateConfig
from tasks.deduplicate.deduplicate import deduplicate
from tasks.shards import ExecutorConfig
from tests.tasks.deduplicate.corpora import UNREFINED

GUIDE = re.compile(r"https://www\.debian\.org/releases/bookworm/(amd64|i386|arm64)/(.*)\.ja\.html")
ONE = ExecutorConfig(workers=1)


def write_guides(warcs: Path, target: Path) -> None:
    """One WARC file of the Japanese pages of the guides."""
    with open(target, "wb") as sink:
        for path in sorted(warcs.glob("*.warc.gz")):
            data, offset = path.read_bytes(), 0
            while member := inflate(data, offset, limit=1 << 12):
                record = parse_record(member.data, 0)
                if record and record.is_response and GUIDE.fullmatch(record.url or ""):
                    sink.write(data[offset : member.end])
                offset = member.end


def shingles(text: str) -> set[str]:
    return {text[first : first + 5] for first in range(max(1, len(text) - 4))}


def jaccard(left: set[str], right: set[str]) -> float:
    return len(left & right) / len(left | right)


@pytest.mark.usefixtures("shards_in_threads")
def test_guides_collapse_as_their_similarity_says(tmp_path: Path, shared_data: Path) -> None:
    write_guides(shared_data / "warc", tmp_path / "guides.warc.gz")
    curated = curate(CurateConfig(sources=(str(tmp_path / "guides.warc.gz"),)), out=str(tmp_path / "c"), executor=ONE)
    documents = [str(tmp_path / "c" / file.path) for file in curated.files if file.path.startswith("documents/")]
    deduplicate(documents, DeduplicateConfig(), UNREFINED, out=str(tmp_path / "out"), executor=ONE, pairs_per_bin=0)
    names: dict[bytes, str] = {}
    texts: dict[bytes, set[str]] = {}
    for batch in (batch for uri in documents for batch in read_documents(uri, ["id", "url", "text"])):
        for row in batch.to_pylist():
            guide = GUIDE.fullmatch(row["url"])
            assert guide is not None
            names[row["id"]], texts[row["id"]] = guide[2], shingles(row["text"])
    ledger = [row for path in (tmp_path / "out" / "ledger").iterdir() for row in read_full(str(path))]
    cluster = {row.id: row.survivor_id or row.id for row in ledger}
    pairs = list(combinations(sorted(names), 2))
    similar = [
        (left, right)
        for left, right in pairs
        if names[left] == names[right] and jaccard(texts[left], texts[right]) >= 0.95
    ]
    assert len(similar) > 40
    assert not [pair for pair in similar if cluster[pair[0]] != cluster[pair[1]]]
    joined = [jaccard(texts[left], texts[right]) for left, right in pairs if cluster[left] == cluster[right]]
    assert len(joined) >= len(similar)
    assert min(joined) >= 0.5
