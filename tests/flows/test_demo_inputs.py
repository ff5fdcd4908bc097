"""The demo's inputs: pages of unpacked packages become WARC files and English text; what is missing is said."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from flows.demo_inputs import (
    InputsUnavailableError,
    fetch_packages,
    html_pages,
    prepare_inputs,
    write_english,
    write_warcs,
)
from tasks.curate.sources import list_warcs
from tasks.curate.warc import WarcReader
from tests.flows.pages import english, html, japanese


def unpacked(folder: Path) -> list[Path]:
    """Two made-up packages: a manual in three languages, and one whose name says it is Japanese."""
    manual = folder / "manual" / "usr" / "share" / "doc" / "manual" / "html"
    for language, text in (
        ("ja-JP", japanese(1)),
        ("en-US", english(1) + "\n雲雀が鳴く。"),
        ("de-DE", "Die Lerche steigt."),
    ):
        (manual / language).mkdir(parents=True)
        (manual / language / "index.html").write_bytes(html(text, language[:2]))
    (manual / "en-US" / "short.html").write_bytes(html("Too short.", "en"))
    faq = folder / "faq-ja" / "usr" / "share"
    faq.mkdir(parents=True)
    (faq / "faq.html").write_bytes(html(japanese(2), "ja"))
    (faq / "link.html").symlink_to(faq / "faq.html")
    return [folder / "manual", folder / "faq-ja"]


def test_pages_know_their_language_and_links_are_left_out(tmp_path: Path) -> None:
    pages = [page for package in unpacked(tmp_path) for page in html_pages(package)]
    assert [(page.language, page.path.name) for page in pages] == [
        ("other", "index.html"),
        ("en", "index.html"),
        ("en", "short.html"),
        ("ja", "index.html"),
        ("ja", "faq.html"),
    ]


def test_warcs_hold_every_page_once_and_are_the_same_bytes_again(tmp_path: Path) -> None:
    pages = [page for package in unpacked(tmp_path) for page in html_pages(package)]
    write_warcs(pages, tmp_path / "one")
    write_warcs(pages, tmp_path / "two")
    (warc,) = list_warcs([str(tmp_path / "one" / "*.warc.gz")])
    read = {page.url: page.body for page in WarcReader(Path(warc.uri), max_page_bytes=1 << 20)}
    assert read == {page.url: page.path.read_bytes() for page in pages}
    name = Path(warc.uri).name
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_english_text_is_what_is_long_enough(tmp_path: Path) -> None:
    pages = [page for package in unpacked(tmp_path) for page in html_pages(package)]
    write_english(pages, tmp_path / "en.jsonl.gz")
    with gzip.open(tmp_path / "en.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert [row["id"].rsplit("/", 2)[-2:] for row in rows] == [["en-US", "index.html"]]
    assert english(1)[:60] in rows[0]["text"]
    assert "雲雀" not in rows[0]["text"]


def test_without_apt_the_message_says_what_else_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputsUnavailableError, match=r"no apt-get and dpkg-deb; .* hibari demo --warc PATH"):
        fetch_packages(tmp_path / "packages")


def test_given_warcs_and_english_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "web-en.jsonl.gz").touch()
    (tmp_path / "smollm2-135m-instruct").mkdir()
    (tmp_path / "smollm2-135m-instruct" / "done").touch()
    inputs = prepare_inputs(tmp_path, warcs=["mine/*.warc.gz"])
    assert inputs.english == tmp_path / "web-en.jsonl.gz"
    assert not (tmp_path / "packages").exists()
