"""Records of outside files, one by one: JSON lines, tab-separated lines, Parquet rows.

In: a file. Out: `(row from 0, record)`, the record a mapping of fields, of which some may hold mappings; a dotted
path such as `meta.pile_set_name` names a field in a field. A record that cannot be read is handed to the caller's
`refuse(row, problem)`, which raises or counts it.

JSON is read by orjson, 1.6 to 1.9 times as fast as the standard library's `json` on web text (530 and 320 MB/s of
Japanese); what it refuses is tried again with that, for Python writes NaN. A whole number over
64 bits is no id: orjson makes it a float.

    for row, record in json_records("en.jsonl.gz", "en.jsonl.gz", refuse): ...
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from storage.compressed import read_lines
from storage.stretches import Stretch
from storage.uri import filesystem, is_local, is_web, open_stream
from storage.web import serves_ranges

Record = dict[str, Any]
Refuse = Callable[[int, str], None]
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_BATCH_ROWS = 512  # which fit into the processor's cache at the length of a web page
_MAX_BATCH_BYTES = 8 << 20
_PARQUET_BUFFER = 1 << 20  # bytes read ahead of a column; without, the whole column of a row group is read at once
_PARQUET_REMOTE_BUFFER = 8 << 20


def field_at(record: Record, path: str) -> Any:
    """The value of a field, `a.b` that of field b in field a; None where there is none."""
    if "." not in path:
        return record.get(path)
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def json_records(uri: str, name: str, refuse: Refuse, stretch: Stretch | None = None) -> Iterator[tuple[int, Record]]:
    """The objects of a file of JSON lines; empty lines are passed over.

    Args:
        name: of the file; it says how it is compressed.
        stretch: the part of the file that is read, all of it when left out.

    Raises:
        FileNotFoundError, TornFileError: as `storage.compressed.read_lines`.
    """
    within = (stretch.first, stretch.end) if stretch else None
    first_row = stretch.row if stretch else 0
    for row, (_, line) in enumerate(read_lines(uri, name, within), first_row):
        if row == 0:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line or line.isspace():
            continue
        try:
            record = _parsed(line)
        except ValueError as error:
            refuse(row, f"not JSON in UTF-8 ({error})")
            continue
        if isinstance(record, dict):
            yield row, record
        else:
            refuse(row, f'expected {{"field": value, ...}}, got {type(record).__name__}')


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        record = json.loads(line)
        json.dumps(record, ensure_ascii=False).encode()  # half of a surrogate pair is no text
        return record


def tsv_records(uri: str, name: str, columns: Sequence[str], refuse: Refuse) -> Iterator[tuple[int, Record]]:
    """The lines of a tab-separated file, without any quoting.

    Args:
        columns: those wanted: their names in the first line, or, where all are numbers, their places from 1 in a file
            whose first line holds values like any other.

    Raises:
        FileNotFoundError, TornFileError: as `storage.compressed.read_lines`.
        ValueError: the first line names no such column.
    """
    numbered = all(column.isdecimal() for column in columns)
    places = {column: int(column) - 1 for column in columns} if numbered else None
    for number, line in read_lines(uri, name):
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        try:
            cells = line.removesuffix(b"\r").decode().split("\t")
        except UnicodeDecodeError as error:
            refuse(number - 1, f"not UTF-8 ({error})")
            continue
        if places is None:
            if missing := [column for column in columns if column not in cells]:
                raise ValueError(
                    f"{uri}: no column {', '.join(missing)} in the first line: {', '.join(cells)[:200]}; name the "
                    "columns by their numbers, from 1, where it holds no names"
                )
            places = {column: cells.index(column) for column in columns}
        elif len(cells) <= max(places.values()):
            refuse(number - 1, f"expected {max(places.values()) + 1} columns at least, got {len(cells)}")
        else:
            yield number - 1, {column: cells[place] for column, place in places.items()}


def parquet_records(
    uri: str,
    required: Sequence[Sequence[str]],
    optional: Sequence[str] | None,
    refuse: Refuse,
    stretch: Stretch | None = None,
) -> Iterator[tuple[int, Record]]:
    """The rows of a Parquet file, with no more columns than are asked for.

    Args:
        required: of each group of fields, the first that the file has; nested ones by dotted paths.
        optional: fields that may be missing; None: all that the file has.
        stretch: the part of the file that is read, all of it when left out.

    Raises:
        FileNotFoundError: nothing at `uri`.
        ValueError: no Parquet file, a damaged one, or one without a required field.
    """
    with _open_parquet(uri) as parquet:
        columns = _columns(uri, parquet.schema_arrow, required, optional)
        first = stretch.row if stretch else 0
        groups = range(stretch.first, stretch.end) if stretch else None
        try:
            for batch in parquet.iter_batches(_batch_rows(parquet, columns), groups, columns, use_threads=False):
                yield from _rows(batch, first, refuse)
                first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{uri}, after row {first}: broken Parquet ({error}); fetch the file again") from error


def _rows(batch: pa.RecordBatch, first: int, refuse: Refuse) -> Iterator[tuple[int, Record]]:
    try:
        yield from enumerate(batch.to_pylist(), first)
        return
    except UnicodeDecodeError:
        pass  # nothing was given out yet: which row is it?
    for number in range(batch.num_rows):
        try:
            (record,) = batch.slice(number, 1).to_pylist()
        except UnicodeDecodeError as error:
            refuse(first + number, f"not UTF-8 ({error})")
        else:
            yield first + number, record


@contextmanager
def _open_parquet(uri: str) -> Iterator[pq.ParquetFile]:
    with _open_anywhere(uri) as file:
        buffer = _PARQUET_BUFFER if is_local(uri) else _PARQUET_REMOTE_BUFFER
        try:
            parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=buffer)
        except pa.ArrowException as error:
            raise ValueError(f"{uri}: not a readable Parquet file ({error})") from error
        yield parquet


@contextmanager
def _open_anywhere(uri: str) -> Iterator[IO[bytes]]:
    """A file open for reading in any order; a temporary copy where its server gives no parts of it."""
    if is_web(uri) and not serves_ranges(uri):
        with tempfile.TemporaryFile(prefix="hibari-") as copy, open_stream(uri) as stream:
            shutil.copyfileobj(stream, copy, _PARQUET_BUFFER)
            yield copy
        return
    fs, path = filesystem(uri)
    # Columns are read in turns: a cache of fsspec's (50 MB on S3) would be thrown away at each turn.
    with fs.open(path, "rb", **({} if is_local(uri) else {"cache_type": "none"})) as file:
        yield file


def _columns(
    uri: str, schema: pa.Schema, required: Sequence[Sequence[str]], optional: Sequence[str] | None
) -> list[str]:
    optional = schema.names if optional is None else optional
    chosen = [next((path for path in paths if _has(schema, path)), None) for paths in required]
    for paths, column in zip(required, chosen, strict=True):
        if column is None:
            raise ValueError(
                f"{uri}: no column {' or '.join(f'`{path}`' for path in paths)}; there are {_told(schema)}"
            )
    return list(dict.fromkeys([*filter(None, chosen), *(path for path in optional if _has(schema, path))]))


def _has(schema: pa.Schema, path: str) -> bool:
    fields: Any = schema
    for name in path.split("."):
        names = fields.names if isinstance(fields, pa.Schema) else [field.name for field in fields.fields]
        if name not in names:
            return False
        found = fields.field(name).type
        fields = found if pa.types.is_struct(found) else pa.struct([])
    return True


def _told(schema: pa.Schema) -> str:
    """The columns, those of a nested one behind it in brackets."""
    nested = {
        field.name: [part.name for part in field.type.fields] for field in schema if pa.types.is_struct(field.type)
    }
    return ", ".join(f"{name} ({', '.join(nested[name])})" if name in nested else name for name in schema.names)


def _batch_rows(parquet: pq.ParquetFile, columns: Sequence[str]) -> int:
    """Rows of a batch that is no larger than `_MAX_BATCH_BYTES`, as far as the file's footer tells."""
    metadata = parquet.metadata
    num_bytes = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        parts = (group.column(index) for index in range(group.num_columns))
        num_bytes += sum(part.total_uncompressed_size for part in parts if part.path_in_schema in columns)
    return max(1, min(_MAX_BATCH_ROWS, _MAX_BATCH_BYTES * metadata.num_rows // max(1, num_bytes)))
