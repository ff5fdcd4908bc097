"""Main text of a page: HTML in, plain text out, one line per paragraph.

`resiliparse` (default) walks the parsed tree with heuristics for what is main content; `trafilatura` is what
the Swallow Corpus used (`include_comments=False, include_tables=False`). Both are other people's parsers
meeting the whole web: resiliparse 2.0.1 takes 1.3 s for 8,000 nested `div`s and grows with their square, and a page of
400 kB with 2,000 unclosed `b`s asks for gigabytes. So they run in a child process of the shard's
(`extraction.py`), which has a limit on CPU time for each page and one on memory, and is replaced when a page breaks it.
Passing a page there and back costs 0.05 ms, under 1 ms for 75 kB (2 cores).

    with Extractor("resiliparse", max_seconds=20, max_memory_mib=384) as extractor:
        text = extractor.extract("<html>…")
"""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from tasks.curate.extraction import OUT_OF_MEMORY, TEXT, receive, send

# -S: what `site` does on start-up (0.02 s) is not needed, the path is given.
_CHILD = [
    sys.executable,
    "-S",
    "-c",
    "import sys; from tasks.curate.extraction import serve; "
    "serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))",
]
_ROOT = str(Path(__file__).resolve().parents[2])
_CONTROLS = bytes([*range(9), 11, 12, *range(14, 32), 127])
# CPU time is what is limited. The clock is for a child that waits for something: it must not decide on a busy machine.
_CLOCK_FACTOR = 20
_LARGE_PAGE_BYTES = 1 << 20  # after a larger one, which is rare, there is a new child
_OUT_OF_MEMORY_SIGNS = (b"memory allocation of", b"MemoryError", b"bad_alloc", b"ut of memory")


class ExtractionFailedError(RuntimeError):
    """The extractor raised on this page, or its process died of it."""


class ExtractionTimeoutError(RuntimeError):
    """The page took more CPU time than `max_seconds`."""


class ExtractionMemoryError(RuntimeError):
    """The page asked for more memory than `max_memory_mib`."""


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


def tidy(text: str) -> str:
    """One line per paragraph: no blank lines, no space at line ends, no control characters.

    Blank lines would all be duplicate paragraphs to Swallow's rules, which were set on text without them:
    with them, the rule drops 773 of the shared WARCs' pages instead of 21.
    """
    # As bytes, which takes a tenth of a regular expression's time; `ignore` is for lone surrogates.
    return _tidy_utf8(text.encode("utf-8", "ignore"))


def _tidy_utf8(encoded: bytes) -> str:
    text = encoded.replace(b"\r\n", b"\n").replace(b"\r", b"\n").translate(None, _CONTROLS).decode()
    # rstrip line by line: a pattern like ` +$` takes quadratic time on a megabyte of spaces.
    return "\n".join([line for line in map(str.rstrip, text.split("\n")) if line])


class Extractor:
    """A child process that extracts, one page at a time; started when first needed.

    Args:
        max_seconds: CPU seconds for a page.
        max_memory_mib: mebibytes of memory for a page, and for what earlier ones left.
    """

    def __init__(self, name: str, max_seconds: float, max_memory_mib: int = 384) -> None:
        require_extractor(name)
        self.name = name
        self.max_seconds = max_seconds
        self.max_memory_mib = max_memory_mib
        self.max_clock_seconds = _CLOCK_FACTOR * max_seconds + 10
        self._child: subprocess.Popen[bytes] | None = None
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - the child's standard error, as long as we live

    def __enter__(self) -> Extractor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._messages.close()

    def extract(self, html: str) -> str:
        """Main text of a page; resiliparse's is tidied, trafilatura's left as Swallow's rules were given it.

        Raises:
            ExtractionFailedError: the page broke the extractor.
            ExtractionTimeoutError: it took longer than `max_seconds`.
            ExtractionMemoryError: it asked for more than `max_memory_mib`.
        """
        child = self._child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        page = html.encode("utf-8", "replace")
        try:
            send(child.stdin, TEXT, page)
            answering = select.poll()
            answering.register(child.stdout, select.POLLIN)
            if not answering.poll(self.max_clock_seconds * 1000):
                self._stop()
                raise ExtractionTimeoutError(f"{self.name} did nothing for {self.max_clock_seconds:g} s")
            status, payload = receive(child.stdout)
        except (EOFError, BrokenPipeError):
            raise self._death() from None
        if status == OUT_OF_MEMORY or len(page) > _LARGE_PAGE_BYTES:
            self._stop()  # the next page is not held to what this one took
        if status == TEXT:
            return _tidy_utf8(payload) if self.name == "resiliparse" else payload.decode()
        if status == OUT_OF_MEMORY:
            raise ExtractionMemoryError(f"over {self.max_memory_mib} MiB in {self.name}")
        raise ExtractionFailedError(payload.decode())

    def _start(self) -> subprocess.Popen[bytes]:
        # The child finds our modules where this process found them, installed or not.
        path = os.pathsep.join([_ROOT, *filter(None, sys.path)])
        limits = [str(self.max_seconds), str(self.max_memory_mib << 20)]
        return subprocess.Popen(
            [*_CHILD, self.name, str(os.getpid()), *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env={**os.environ, "PYTHONPATH": path},
            pipesize=1 << 20,
        )

    def _death(self) -> ExtractionFailedError | ExtractionTimeoutError | ExtractionMemoryError:
        """What the child died of; the next page gets a new one."""
        assert self._child is not None
        code = self._child.wait()
        self._stop()
        self._messages.seek(0)
        said = self._messages.read(1 << 16).strip()
        self._messages.seek(0)
        self._messages.truncate()
        if code == -signal.SIGPROF:
            return ExtractionTimeoutError(f"over {self.max_seconds:g} s in {self.name}")
        if any(sign in said for sign in _OUT_OF_MEMORY_SIGNS):
            return ExtractionMemoryError(f"over {self.max_memory_mib} MiB in {self.name}")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        last = said.rpartition(b"\n")[2].decode(errors="replace")
        return ExtractionFailedError(f"the process of {self.name} died of the page: {how} {last}".rstrip())

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
