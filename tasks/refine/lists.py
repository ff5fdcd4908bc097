"""Word and host lists: plain text, an entry a line, `#` at the start of a line or after a space begins a comment.

for line in read_entries("builtin", HOSTS): ...
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from storage.uri import expand_glob, filesystem
from tasks.refine.config import BUILTIN

HOSTS = "hosts.txt"
FOOTER_KEYWORDS = "footer_keywords.txt"
_COMMENT = re.compile(r"(?:^|\s)#.*")


def list_files(files: Sequence[str], builtin: str) -> list[str]:
    """The files that a setting names, globs expanded; `builtin` names the one that comes with Hibari.

    Raises:
        FileNotFoundError: nothing at one of them.
    """
    shipped = str(Path(__file__).parent / "data" / builtin)
    return [found for file in files for found in ([shipped] if file == BUILTIN else expand_glob(file))]


def read_entries(file: str) -> Iterator[str]:
    """The entries of a list, stripped.

    Raises:
        ValueError: the file is not UTF-8 text, or a broken .gz.
    """
    fs, path = filesystem(file)
    with fs.open(path, "rb") as raw:
        lines = gzip.GzipFile(fileobj=raw) if file.endswith(".gz") else raw
        number = 0
        try:
            for number, line in enumerate(lines, 1):
                entry = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if entry := (_COMMENT.sub("", entry) if "#" in entry else entry).strip():
                    yield entry
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}, line {number}: expected text in UTF-8 ({error})") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{file}, after line {number}: broken gzip ({error}); fetch the file again") from error
