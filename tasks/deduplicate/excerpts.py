"""Single documents by their row: the few that a report names, out of shards that hold millions.

In: rows numbered over all shards, and the document shard of each index shard. Out: the columns asked for, and the
beginning of a text as a report shows it.

Memory: one row group of the columns at a time (about 12 MB with the text).

    found = documents_at([17, 900_004], shards, documents, ["url", "text"])
    found[17]["url"], excerpt(found[17]["text"], PiiConfig())
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from storage.documents import take_documents
from storage.uri import exists
from tasks.deduplicate.index import IndexShard
from tasks.refine.pii import mask
from tasks.refine.pii_config import PiiConfig

EXCERPT_CHARACTERS = 120


def documents_at(
    rows: Collection[int], shards: Sequence[IndexShard], documents: Mapping[str, str], columns: Sequence[str]
) -> dict[int, dict[str, Any]]:
    """Row -> its columns; rows whose document shard is not given, or is gone, are left out.

    Args:
        rows: numbered over all shards.
        documents: key of an index shard -> URI of its document shard.
    """
    wanted = np.unique(np.array(sorted(rows), np.int64))
    found: dict[int, dict[str, Any]] = {}
    for shard in shards:
        first, last = np.searchsorted(wanted, [shard.first, shard.first + shard.documents])
        uri = documents.get(shard.key)
        if first < last and uri is not None and exists(uri):
            here = wanted[first:last]
            taken = (row for batch in take_documents(uri, here - shard.first, columns) for row in batch.to_pylist())
            found.update(zip(here.tolist(), taken, strict=True))
    return found


def excerpt(text: str, pii: PiiConfig) -> str:
    """The beginning of a text on one line, with the personal information masked that refinement masks."""
    line = " ".join(mask(text, pii).text.split())
    return line if len(line) <= EXCERPT_CHARACTERS else line[: EXCERPT_CHARACTERS - 1].rstrip() + "…"
