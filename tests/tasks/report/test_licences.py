"""Whose licence is stated, and by whom: the run file first, then Common Crawl's terms or the folder itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.report.licences import COMMON_CRAWL_TERMS, RUN_FILE, folder_licence, licences


def run_of(folder: Path, **curate: Any) -> dict[str, Any]:
    return {
        "curate": {"sources": ["warc/*.warc.gz"], **curate},
        "expand": {"base": str(folder / "tokenizer.model")},
        "initialize": {"base_model": str(folder)},
        "sources": [
            {"name": "corpus", "documents": None},
            {"name": "web-en", "documents": ["en.jsonl"], "licence": "CC0", "url": "https://larks.example.org"},
        ],
    }


def test_the_run_file_comes_first(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Model\n")
    run = run_of(tmp_path, licence="CC-BY-4.0", attribution="the larks")
    run["initialize"]["licence"] = "Apache-2.0"
    rows = {row["what"]: row for row in licences(run)}
    assert list(rows) == ["WARC files", "documents of web-en", "base tokenizer", "base model"]
    assert (rows["WARC files"]["licence"], rows["WARC files"]["attribution"]) == ("CC-BY-4.0", "the larks")
    assert rows["documents of web-en"]["url"] == "https://larks.example.org"
    assert (rows["base model"]["licence"], rows["base model"]["stated_by"]) == ("Apache-2.0", RUN_FILE)


def test_nobody_says_is_none_and_not_a_guess(tmp_path: Path) -> None:
    rows = licences(run_of(tmp_path))
    assert {
        row["what"]: (row["licence"], row["stated_by"]) for row in rows if row["what"] != "documents of web-en"
    } == {
        "WARC files": (None, None),
        "base tokenizer": (None, None),
        "base model": (None, None),
    }


def test_common_crawl_has_its_terms_unless_the_run_file_says_more(tmp_path: Path) -> None:
    sources = {"sources": ["commoncrawl:CC-MAIN-2024-10:8"]}
    first = licences(run_of(tmp_path, **sources))[0]
    assert (first["licence"], first["stated_by"]) == (COMMON_CRAWL_TERMS, "Common Crawl")
    assert licences(run_of(tmp_path, **sources, licence="CC0 pages only"))[0]["licence"] == "CC0 pages only"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"README.md": "---\nlanguage: ja\nlicense: llama2\n---\n# A model\n"}, ("llama2", "README.md")),
        ({"README.md": "---\nlicense: 'apache-2.0'\n---\n", "LICENSE": "MIT"}, ("apache-2.0", "README.md")),
        ({"README.md": "# Model\nlicense: below\n", "LICENSE": "\n  MIT License \n."}, ("MIT License", "LICENSE")),
        ({"README.md": "---\nlicense:\ntags: []\n---\n"}, None),
        ({"config.json": "{}"}, None),
    ],
    ids=["card", "card before file", "file", "empty", "silent"],
)  # fmt: skip
def test_a_folder_is_asked(files: dict[str, str], found: tuple[str, str] | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert folder_licence(str(tmp_path)) == found


def test_a_random_base_model_has_no_licence(tmp_path: Path) -> None:
    run = run_of(tmp_path) | {"initialize": {"base_model": {"random": {}}}}
    assert [row["what"] for row in licences(run)] == ["WARC files", "documents of web-en", "base tokenizer"]
    assert licences({}) == []
