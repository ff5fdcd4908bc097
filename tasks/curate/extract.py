"""Main text of a page: HTML in, plain text out, one line per paragraph.

`resiliparse` (default) walks the parsed tree with heuristics for what is main content; `trafilatura` is what
the Swallow Corpus used (`include_comments=False, include_tables=False`). Both are other people's parsers
meeting the whole web: resiliparse 2.0.1 takes 1.3 s for 8,000 nested `div`s and grows with their square, and
no signal interrupts it. So they run in a child process of the shard's, which is killed and replaced when a
page takes too long or breaks it. Passing a page there and back costs 0.05 ms, under 1 ms for 75 kB (2 cores).

    with Extractor("resiliparse", max_seconds=20) as extractor:
        text = extractor.extract("<html>…")
"""

from __future__ import annotations

import importlib.util
import os
import re
import select
import signal
import struct
import subprocess
import sys
from types import TracebackType
from typing import IO

from storage.processes import die_with_parent

_LENGTH = struct.Struct("<BQ")  # status (0: text, 1: error message), bytes that follow
_CHILD = "import sys; from tasks.curate.extract import serve; serve(sys.argv[1], int(sys.argv[2]))"
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class ExtractionFailedError(RuntimeError):
    """The extractor raised on this page, or its process died of it."""


class ExtractionTimeoutError(RuntimeError):
    """The page took longer than `max_seconds`."""


def require_extractor(name: str) -> None:
    """Check that an extractor is installed.

    Raises:
        ValueError: it is not; says what to install.
    """
    needed = {"resiliparse": ["resiliparse"], "trafilatura": ["trafilatura", "lxml_html_clean"]}[name]
    if missing := [module for module in needed if importlib.util.find_spec(module) is None]:
        raise ValueError(
            f"curate.extractor {name} needs {' and '.join(missing)}, which is not installed; "
            f"run `pip install {' '.join(needed)}` or choose extractor: resiliparse"
        )


def extract_main_text(html: str, extractor: str) -> str:
    """Main text of a page, in this process."""
    if extractor == "trafilatura":
        import trafilatura  # an optional dependency, half a second to import

        return trafilatura.extract(html, include_comments=False, include_tables=False) or ""
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(html, main_content=True, list_bullets=False, alt_texts=False)


def tidy(text: str) -> str:
    """One line per paragraph: no blank lines, no space at line ends, no control characters.

    Blank lines would all be duplicate paragraphs to Swallow's rules, which were set on text without them:
    with them, the rule drops 773 of the shared WARCs' pages instead of 21.
    """
    text = _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    # rstrip line by line: a pattern like ` +$` takes quadratic time on a megabyte of spaces.
    lines = (line.rstrip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


class Extractor:
    """A child process that extracts, one page at a time; started when first needed."""

    def __init__(self, name: str, max_seconds: float) -> None:
        require_extractor(name)
        self.name = name
        self.max_seconds = max_seconds
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Extractor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def extract(self, html: str) -> str:
        """Main text of a page, tidied.

        Raises:
            ExtractionFailedError: the page broke the extractor.
            ExtractionTimeoutError: it took longer than `max_seconds`.
        """
        child = self._child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            _send(child.stdin, 0, html.encode("utf-8", "replace"))
            answering = select.poll()
            answering.register(child.stdout, select.POLLIN)
            if not answering.poll(self.max_seconds * 1000):
                self._stop()
                raise ExtractionTimeoutError(f"over {self.max_seconds:g} s in {self.name}")
            status, payload = _receive(child.stdout)
        except (EOFError, BrokenPipeError) as error:
            self._stop()
            raise ExtractionFailedError(f"the process of {self.name} died of the page") from error
        if status:
            raise ExtractionFailedError(payload.decode())
        return tidy(payload.decode())

    def _start(self) -> subprocess.Popen[bytes]:
        # The child finds our modules where this process found them, installed or not.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)) or os.getcwd()}
        command = [sys.executable, "-c", _CHILD, self.name, str(os.getpid())]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, pipesize=1 << 20
        )

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def serve(extractor: str, parent: int) -> None:
    """The child's loop: pages from standard input, texts to standard output, until the input or the parent ends."""
    die_with_parent(signal.SIGKILL, parent)  # a page that takes minutes would outlive a killed parent by as much
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the frames
    while True:
        try:
            _, page = _receive(source)
        except EOFError:
            return
        try:
            status, text = 0, extract_main_text(page.decode(), extractor)
        except Exception as error:  # any page may break any parser: the parent counts it
            status, text = 1, f"{type(error).__name__}: {error}"
        _send(sink, status, text.encode("utf-8", "replace"))


def _send(stream: IO[bytes], status: int, payload: bytes) -> None:
    stream.write(_LENGTH.pack(status, len(payload)))
    stream.write(payload)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[int, bytes]:
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    status, length = _LENGTH.unpack(header)
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError
    return status, payload
