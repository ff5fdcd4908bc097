"""The items of benchmarks, out of the files in which benchmarks are published.

In: what the run file says of a benchmark. Out: its texts, each with an id. A field is a path: lists on the way are
gone through, so `data.paragraphs.qas.question` names every question of a file in SQuAD's form.

    for item in read_items(BenchmarkConfig(name="mgsm", files=("mgsm_ja.tsv",), fields=("0",))): ...
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.uri import expand_glob, read_bytes
from tasks.refine.contamination_config import BenchmarkConfig


@dataclass(frozen=True, slots=True)
class Item:
    """A text of a benchmark; `id` is the benchmark's own, or the file's name and the text's number in it."""

    id: str
    text: str


def read_items(benchmark: BenchmarkConfig) -> Iterator[Item]:
    """Every text of a benchmark, in the order of its files.

    Raises:
        FileNotFoundError: a path that matches nothing.
        ValueError: a file is not what its name says, or has none of the fields; the message names it.
    """
    for uri in (file for pattern in benchmark.files for file in expand_glob(pattern)):
        name = uri.rsplit("/", 1)[-1]
        number = 0
        for number, (id, text) in enumerate(_read_file(uri, benchmark), 1):
            yield Item(f"{name}:{number}" if id is None else str(id), text)
        if not number:
            raise ValueError(
                f"refine.decontamination: benchmark {benchmark.name}: no text in {uri}; {_wanted(benchmark)}"
            )


def _wanted(benchmark: BenchmarkConfig) -> str:
    return f"expected the fields {', '.join(benchmark.fields)}" if benchmark.fields else "expected a text a line"


def _read_file(uri: str, benchmark: BenchmarkConfig) -> Iterator[tuple[Any, str]]:
    data = read_bytes(uri)
    name = uri.removesuffix(".gz")
    kind = name.rsplit(".", 1)[-1].lower()
    try:
        data = gzip.decompress(data) if uri.endswith(".gz") else data
        if not benchmark.fields:
            yield from _read_lines(data.decode(), kind)
        elif kind in ("tsv", "csv"):
            yield from _read_table(data.decode(), kind, benchmark)
        else:
            for record in _records(data, kind):
                for field in benchmark.fields:
                    yield from _texts(record, field.split("."), benchmark.id)
    except (ValueError, OSError, EOFError, pa.ArrowInvalid) as error:  # ValueError: JSON and UTF-8 errors too
        raise ValueError(f"refine.decontamination: benchmark {benchmark.name}: {uri}: {error}") from error


def _read_lines(text: str, kind: str) -> Iterator[tuple[None, str]]:
    if kind in ("jsonl", "json", "parquet", "tsv", "csv"):
        raise ValueError(f"a .{kind} file has fields; name in `fields` which of them are texts")
    yield from ((None, line) for line in text.splitlines() if line.strip())


def _read_table(text: str, kind: str, benchmark: BenchmarkConfig) -> Iterator[tuple[Any, str]]:
    """The columns named; by numbers where there are no names of columns in the first row."""
    lines = io.StringIO(text, newline="")
    rows = csv.reader(lines, "excel") if kind == "csv" else csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    names = [*benchmark.fields, *([benchmark.id] if benchmark.id else [])]
    header = [] if all(name.isdigit() for name in names) else next(rows, [])
    if missing := [name for name in names if header and name not in header]:
        raise ValueError(f"no column {', '.join(missing)}; the first row has {', '.join(header)}")
    column = {name: header.index(name) if header else int(name) for name in names}
    for number, row in enumerate(rows, 1 + bool(header)):
        if row and max(column.values()) >= len(row):
            raise ValueError(f"line {number}: expected more than {max(column.values())} columns, got {len(row)}")
        id = row[column[benchmark.id]] if row and benchmark.id else None
        yield from ((id, row[column[field]]) for field in benchmark.fields if row and row[column[field]].strip())


def _records(data: bytes, kind: str) -> Iterator[Any]:
    if kind == "jsonl":
        yield from (json.loads(line) for line in data.splitlines() if line.strip())
    elif kind == "json":
        value = json.loads(data)
        yield from value if isinstance(value, list) else [value]
    elif kind == "parquet":
        yield from pq.read_table(pa.BufferReader(data)).to_pylist()
    else:
        raise ValueError(
            "with `fields`, expected a file ending in .jsonl, .json, .tsv, .csv or .parquet, or these and .gz"
        )


def _texts(value: Any, path: list[str], id_field: str | None, id: Any = None) -> Iterator[tuple[Any, str]]:
    """(id, text) of every string at the end of a path; the id is that of the innermost object that has one."""
    if isinstance(value, list):
        for entry in value:
            yield from _texts(entry, path, id_field, id)
    elif path:
        if isinstance(value, dict) and path[0] in value:
            id = value.get(id_field, id) if id_field else id
            yield from _texts(value[path[0]], path[1:], id_field, id)
    elif isinstance(value, str) and value.strip():
        yield id, value
