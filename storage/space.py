"""A full disk, told from other errors, however it comes: an errno, or the text of another process's log.

if full := no_space(error, "runs/curate/demo-0123"):
    raise StageError(full) from error
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from storage.uri import is_local, local_path

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
# Below this, an error that says nothing of space is still taken for one: what would have said it was not written.
MIN_FREE_BYTES = 1 << 20


def no_space(error: BaseException, uri: str) -> str | None:
    """What to tell the user about an error that a full disk caused: which folder, how much is free.

    Args:
        uri: where things were being written; it is named unless the error names a file itself.

    Returns:
        None where the error has nothing to do with space.
    """
    errors = list(_chain(error))
    full = next((e for e in errors if isinstance(e, OSError) and e.errno in FULL), None)
    said = next((number for number in FULL for e in errors if os.strerror(number) in str(e)), None)
    number = full.errno if full is not None and full.errno is not None else said
    named = full.filename if full is not None and isinstance(full.filename, str) else None
    path = Path(named) if named else local_path(uri) if is_local(uri) else None
    if path is None:
        return None if number is None else f"{FULL[number]} (while writing for {uri})"
    folder = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    usage = shutil.disk_usage(folder)
    if number is None and usage.free >= MIN_FREE_BYTES:
        return None
    reason = FULL[number if number is not None else errno.ENOSPC]
    return f"{reason}: {folder} has {usage.free / 1e6:,.1f} MB free of {usage.total / 1e6:,.1f} MB"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
