"""Breaks when navigation enters the text, or when one bad page stops or hangs a shard."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import pytest

from storage.processes import Process, family
from tasks.curate.extract import (
    ExtractionFailedError,
    ExtractionTimeoutError,
    Extractor,
    require_extractor,
    tidy,
)
from tests.killing import kill_parent, started, wait_until, wait_until_gone
from tests.tasks.curate.warc_files import PARAGRAPHS, html

NAVIGATION = '<nav><ul><li><a href="/">ホーム</a></li><li><a href="/news">お知らせ</a></li></ul></nav>'


@pytest.mark.parametrize("name", ["resiliparse", "trafilatura"])
def test_main_text_is_one_line_a_paragraph_without_navigation(name: str) -> None:
    if name == "trafilatura":
        pytest.importorskip("trafilatura")
    page = html(*PARAGRAPHS).replace("<body>", f"<body>{NAVIGATION}<script>var a = 1;</script>")
    with Extractor(name, max_seconds=20) as extractor:
        assert extractor.extract(page).split("\n") == list(PARAGRAPHS)
        assert extractor.extract("") == ""


def test_a_page_that_takes_too_long_is_given_up_and_the_next_one_read() -> None:
    nested = "<div>" * 30_000 + "雲雀" + "</div>" * 30_000
    with Extractor("resiliparse", max_seconds=0.5) as extractor:
        started = time.monotonic()
        with pytest.raises(ExtractionTimeoutError, match=r"over 0\.5 s in resiliparse"):
            extractor.extract(nested)
        assert time.monotonic() - started < 5
        extractor.max_seconds = 20
        assert extractor.extract(html(*PARAGRAPHS)) == "\n".join(PARAGRAPHS)


def test_a_page_that_kills_the_extractor_is_given_up_and_the_next_one_read() -> None:
    with Extractor("resiliparse", max_seconds=20) as extractor:
        extractor.extract(html(*PARAGRAPHS))
        assert extractor._child is not None
        extractor._child.kill()
        with pytest.raises(ExtractionFailedError, match="the process of resiliparse died"):
            extractor.extract(html(*PARAGRAPHS))
        assert extractor.extract(html(*PARAGRAPHS)) == "\n".join(PARAGRAPHS)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death on Linux only")
def test_an_extractor_busy_with_a_bad_page_dies_with_its_killed_shard() -> None:
    program = """
from tasks.curate.extract import Extractor
with Extractor("resiliparse", max_seconds=600) as extractor:
    extractor.extract("<p>first")
    print("ready", flush=True)
    extractor.extract("<div>" * 200_000)
"""
    shard = started(program)
    (child,) = family(shard[1])[1:]
    begun = cpu_ticks(child)
    wait_until(lambda: cpu_ticks(child) > begun + 50, "half a second of work on the page")
    assert kill_parent(*shard) == [child]
    wait_until_gone([child])


def cpu_ticks(process: Process) -> int:
    """Hundredths of a second that a process has computed."""
    return int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11])


def test_an_extractor_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install trafilatura lxml_html_clean"):
        require_extractor("trafilatura")


def test_tidy() -> None:
    assert tidy("一行目 \r\n\r\n \t\r二行目\x00\n\u3000三行目\u3000\n") == "一行目\n二行目\n\u3000三行目"
    assert tidy(" " * 1_000_000 + "。") == " " * 1_000_000 + "。"
