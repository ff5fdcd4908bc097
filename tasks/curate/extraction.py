"""The extractors, and the loop of the child process that runs them.

In: pages as UTF-8 in frames on standard input. Out: their texts, or why there is none, in frames on standard output. A
frame is a status byte, a length of eight bytes, and as many bytes.

The child watches itself. A timer of the kernel's on its CPU time, set for each page, ends it wherever it is, in native
code too, and a limit on its address space makes allocation fail. Both depend on the page alone, not on how busy the
machine is. This module imports little, for it is imported anew with each child.

    python -S -c "from tasks.curate.extraction import serve; serve('resiliparse', 4711, 20.0, 384 << 20)"
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import sys

from storage.parent import die_with_parent

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all else here
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

TEXT, FAILED, OUT_OF_MEMORY = range(3)
_FRAME = struct.Struct("<BQ")
_NEAR_LIMIT = 0.9  # of the address space; what failed there failed for want of it
_LEXBOR_OUT_OF_MEMORY = "(Error 2)"  # resiliparse's parser raises no MemoryError


def load_extractor(name: str) -> Callable[[str], str]:
    """The function from a page to its main text, "" where there is none."""
    if name == "trafilatura":
        import trafilatura  # an optional dependency, half a second to import

        return lambda html: trafilatura.extract(html, include_comments=False, include_tables=False) or ""
    from resiliparse.extract.html2text import extract_plain_text

    return lambda html: extract_plain_text(html, main_content=True, list_bullets=False, alt_texts=False)


def serve(extractor: str, parent: int, max_seconds: float, max_memory_bytes: int) -> None:
    """The child's loop, until the input or the parent ends.

    Args:
        max_seconds: CPU time for a page; SIGPROF ends the process after that.
        max_memory_bytes: address space beyond what the process has when it starts.
    """
    die_with_parent(signal.SIGKILL, parent)  # a page that takes minutes would outlive a killed parent by as much
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the frames
    extract = load_extractor(extractor)
    limit = limit_memory(max_memory_bytes)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    while True:
        try:
            _, page = receive(source)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, max_seconds)
        try:
            status, text = TEXT, extract(page.decode())
        except MemoryError:
            status, text = OUT_OF_MEMORY, "MemoryError"
        except Exception as error:  # any page may break any parser: the parent counts it
            status, text = FAILED, f"{type(error).__name__}: {error}"
            if _LEXBOR_OUT_OF_MEMORY in text:
                status = OUT_OF_MEMORY
        signal.setitimer(signal.ITIMER_PROF, 0)
        if status != TEXT or not text:
            # libxml2 gives an empty document, or any error, where it could not allocate.
            status = OUT_OF_MEMORY if peak_memory() > _NEAR_LIMIT * limit else status
        send(sink, status, text.encode("utf-8", "replace"))


def limit_memory(max_bytes: int) -> float:
    """Let this process have so much more address space than it has now; returns the limit (none but on Linux)."""
    if sys.platform != "linux":
        return float("inf")
    limit = peak_memory() + max_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    return limit


def peak_memory() -> int:
    """Bytes of address space that this process has had at most; 0 where there is no /proc."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/status", "rb") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(b"VmPeak"))


def send(stream: IO[bytes], status: int, payload: bytes) -> None:
    """Write a frame."""
    stream.write(_FRAME.pack(status, len(payload)))
    stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[int, bytes]:
    """Read a frame: status and payload.

    Raises:
        EOFError: the stream ended before the frame did.
    """
    header = stream.read(_FRAME.size)
    if len(header) < _FRAME.size:
        raise EOFError
    status, length = _FRAME.unpack(header)
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError
    return status, payload
