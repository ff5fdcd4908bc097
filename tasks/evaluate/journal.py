"""What a model has answered so far, kept as it answers: a killed evaluation goes on behind the last whole batch.

A journal belongs to one model, benchmark and profile. It is a file of JSON lines that only grows: the first names the
requests by a digest over their token ids and limits; each other holds what came of an item's requests in one batch,

    {"id": "q17", "results": {"0": {"log_likelihood": -3.25, "is_greedy": false, "num_tokens": 4}}}

keyed by the request's place among the item's. All lines of a batch are written at once, when it has been computed. A
batch one of whose results is missing is computed again, whole: batches depend on the requests only
(`tasks.evaluate.batching.plan_batches`), so what a resumed evaluation ends with is, bit for bit, what an undisturbed
one does. A journal of other requests is not used.

    with Journal.open(path, asked, fitted) as journal:
        for batch in journal.missing(batches):
            journal.add(batch, answer(batch))
        results = journal.results
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from storage.artifact import canonical_json
from storage.rows import json_line, mend_rows
from storage.uri import write_bytes
from tasks.evaluate.requests import Fitted, Generate, Generated, Result, Scored
from tasks.evaluate.suite_plan import AskedTask

logger = logging.getLogger(__name__)


class Journal:
    """The results of one model, benchmark and profile, by the place of their requests in `AskedTask.flat`."""

    def __init__(self, file: IO[bytes], asked: AskedTask, found: dict[int, Result]) -> None:
        self._file = file
        self._places = [
            (item.id, part)
            for item, requests in zip(asked.items, asked.requests, strict=True)
            for part in range(len(requests))
        ]
        self._found = found

    @classmethod
    def open(cls, path: Path, asked: AskedTask, fitted: Sequence[Fitted]) -> Journal:
        """Go on with the journal at `path`, or begin one where there is none of these requests.

        Args:
            fitted: the requests of `asked.flat`, as token ids of the model.
        """
        begins = {"asked": requests_digest(fitted)}
        rows = mend_rows(path)
        if rows[:1] != [begins]:
            if rows:
                logger.info("%s holds answers to other requests, and begins anew", path)
            rows = [begins]
            write_bytes(str(path), json_line(begins))
        place_of = dict(zip((item.id for item in asked.items), asked.starts[:-1], strict=True))
        found = {
            place_of[row["id"]] + int(part): _result(fields)
            for row in rows[1:]
            for part, fields in row["results"].items()
        }
        return cls(open(path, "ab"), asked, found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def missing(self, batches: Iterable[Sequence[int]]) -> list[int]:
        """Numbers of the batches that have to be computed: those whose results are not all here."""
        return [number for number, batch in enumerate(batches) if not all(place in self._found for place in batch)]

    def add(self, batch: Sequence[int], results: Sequence[Result]) -> None:
        """Keep what came of one batch; returns when the lines have left this process.

        Raises:
            ValueError: a log-likelihood is not finite.
        """
        rows: dict[str, dict[str, Any]] = {}
        for place, result in zip(batch, results, strict=True):
            identity, part = self._places[place]
            if isinstance(result, Scored) and not math.isfinite(result.log_likelihood):
                raise ValueError(f"item {identity}: its log-likelihood is {result.log_likelihood}, not finite")
            rows.setdefault(identity, {})[str(part)] = asdict(result)
        self._file.write(b"".join(json_line({"id": identity, "results": parts}) for identity, parts in rows.items()))
        self._file.flush()
        self._found.update(zip(batch, results, strict=True))

    @property
    def results(self) -> list[Result]:
        """Of all requests, in their order; none may be missing."""
        return [self._found[place] for place in range(len(self._places))]


def requests_digest(fitted: Sequence[Fitted]) -> str:
    """What stands for the requests of one task to one model: their ids and limits, in their order."""
    digest = hashlib.sha256()
    for each in fitted:
        request = each.request
        limits = (
            [list(request.stops), request.max_tokens, request.max_characters] if isinstance(request, Generate) else []
        )
        kind = type(request).__name__
        digest.update(canonical_json([kind, list(map(int, each.context)), list(map(int, each.continuation)), limits]))
        digest.update(b"\n")
    return digest.hexdigest()


def _result(fields: dict[str, Any]) -> Result:
    return Generated(**fields) if "ended_by" in fields else Scored(**fields)
