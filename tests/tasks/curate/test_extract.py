"""Breaks when navigation enters the text, or when one bad page stops or hangs a shard."""

from __future__ import annotations

import importlib.util
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from storage.processes import Process, family
from tasks.curate import extract
from tasks.curate.extract import (
    ExtractionFailedError,
    ExtractionMemoryError,
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


def test_the_limit_is_on_cpu_time_not_on_the_clock() -> None:
    """A child that is stopped for as long as its limit, as on a machine that does much else, goes on afterwards."""
    with Extractor("resiliparse", max_seconds=0.5) as extractor:
        extractor.extract("<p>first")
        assert extractor._child is not None
        extractor._child.send_signal(signal.SIGSTOP)
        waker = threading.Timer(1.2, extractor._child.send_signal, [signal.SIGCONT])
        waker.start()
        assert extractor.extract(html(*PARAGRAPHS)) == "\n".join(PARAGRAPHS)
        waker.join()


def test_a_child_that_only_waits_is_given_up_by_the_clock() -> None:
    with Extractor("resiliparse", max_seconds=20) as extractor:
        extractor.extract("<p>first")
        extractor.max_clock_seconds = 0.3
        assert extractor._child is not None
        extractor._child.send_signal(signal.SIGSTOP)
        with pytest.raises(ExtractionTimeoutError, match=r"did nothing for 0\.3 s"):
            extractor.extract(html(*PARAGRAPHS))
        extractor.max_clock_seconds = 60
        assert extractor.extract(html(*PARAGRAPHS)) == "\n".join(PARAGRAPHS)


EXPLODING = "<p>" + "".join(f"<b id={number}>" for number in range(2000)) + "<p>x" * 50_000


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
@pytest.mark.parametrize("name", ["resiliparse", "trafilatura"])
def test_a_page_that_asks_for_gigabytes_is_given_up_and_the_next_one_read(name: str) -> None:
    """Each of the 50,000 paragraphs opens all the 2,000 unclosed elements again."""
    if name == "trafilatura":
        pytest.importorskip("trafilatura")
    with Extractor(name, max_seconds=20, max_memory_mib=128) as extractor:
        if name == "resiliparse":
            with pytest.raises(ExtractionMemoryError, match="over 128 MiB in resiliparse"):
                extractor.extract(EXPLODING)
        else:  # libxml2 opens nothing again: but a long page is more than its memory
            with pytest.raises(ExtractionMemoryError, match="over 128 MiB in trafilatura"):
                extractor.extract("<p>雲雀</p>" * 1_000_000)
        assert extractor.extract(html(*PARAGRAPHS)) == "\n".join(PARAGRAPHS)


def test_what_the_process_says_as_it_dies_is_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    dying = "import os, sys; sys.stdin.buffer.read(9); print('a fine reason', file=sys.stderr); os.abort()"
    monkeypatch.setattr(extract, "_CHILD", [sys.executable, "-c", dying])
    with Extractor("resiliparse", max_seconds=20) as extractor:
        with pytest.raises(ExtractionFailedError, match="died of the page: SIGABRT a fine reason"):
            extractor.extract("<p>")
        no_memory = dying.replace("a fine reason", "memory allocation of 64 bytes failed")
        monkeypatch.setattr(extract, "_CHILD", [sys.executable, "-c", no_memory])
        with pytest.raises(ExtractionMemoryError):
            extractor.extract("<p>")


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
    assert tidy("雲\ud800雀\x7f") == "雲雀"
    assert tidy(" " * 1_000_000 + "。") == " " * 1_000_000 + "。"
