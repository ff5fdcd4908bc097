"""How outside sources are read is part of a run's identity, and takedowns read them in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.digests import files_digest
from flows.takedown_search import OutsideSource, search
from storage.documents import document_id
from storage.sources import SourceLayout
from storage.tombstones import Tombstones, parse_pattern
from storage.uri import write_bytes
from tests.flows.test_plan import after, plan_of, values
from tests.storage.source_files import dump, lines, page, write
from tests.storage.test_s3 import s3_root
from tests.storage.web_server import Site, serve

__all__ = ["s3_root", "values"]  # fixtures


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ({"where": {"set": "a"}}, after("binarize")),
        ({"layout": "jsonl"}, after("binarize")),
        ({"text_field": "body"}, after("binarize")),
        ({"title": "first_line"}, set()),  # as it is by default
        ({"max_bad_record_ratio": 0.1}, set()),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_decides_the_documents_decides_binarize(values: dict[str, Any], change: Any, stages: set[str]) -> None:
    before = plan_of(values)
    values["sources"][1] |= change
    moved = {a.stage for a, b in zip(before, plan_of(values), strict=True) if a.fingerprint != b.fingerprint}
    assert moved == stages


def test_a_takedown_searches_sources_in_their_layouts(tmp_path: Path) -> None:
    wiki = write(tmp_path / "jawiki.xml", dump(page(5, "雲雀", "鳥。"), page(6, "燕", "鳥。")))
    web = write(tmp_path / "a.jsonl", lines([{"content": "x", "meta": {"url": "https://a.org/1"}}]))
    nested = SourceLayout(url_field="meta.url")
    sources = [
        OutsideSource("wiki", (wiki,), SourceLayout(layout="wikipedia")),
        OutsideSource("web", (web,), nested),
        OutsideSource("web", (web,), nested),  # of another run
        OutsideSource("gone", (str(tmp_path / "gone.jsonl"),), nested),
    ]
    taken_down = Tombstones.of(map(parse_pattern, ["https://ja.example.org/wiki/雲雀", "host:a.org"]))
    found = search([], taken_down, sources)
    assert found.sources == {"wiki": {document_id("wiki", "5")}, "web": {document_id("web", "a.jsonl:1")}}
    (problem,) = found.problems
    assert problem.startswith("source gone (")


def test_the_digest_of_a_web_source_is_that_of_its_content_and_name() -> None:
    with serve(Site({"/a.jsonl": b"lark", "/b/a.jsonl": b"lark", "/b.jsonl": b"lark"})) as site:
        first = files_digest([f"{site.uri}/a.jsonl"])
        assert files_digest([f"{site.uri}/b/a.jsonl"]) == first, "where it lies is no part of it"
        assert files_digest([f"{site.uri}/b.jsonl"]) != first
        site.files["/a.jsonl"], site.etag = b"lork", '"2"'
        assert files_digest([f"{site.uri}/a.jsonl"]) != first


@pytest.mark.slow
def test_the_digest_of_a_source_on_s3_follows_its_content(s3_root: str) -> None:
    write_bytes(f"{s3_root}/sources/a.jsonl", b"lark")
    first = files_digest([f"{s3_root}/sources/*.jsonl"])
    assert files_digest([f"{s3_root}/sources/*.jsonl"]) == first
    write_bytes(f"{s3_root}/sources/a.jsonl", b"lork")
    assert files_digest([f"{s3_root}/sources/*.jsonl"]) != first
