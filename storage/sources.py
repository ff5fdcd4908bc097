"""Documents of other origin than our own crawl: web text, Wikipedia, the Pile, parallel text; as Arrow batches.

In: files on a disk, behind HTTPS or on S3, as a `SourceLayout` says they are laid out: JSON lines and tab-separated
lines (plain, `.gz`, `.zst`, `.bz2`, `.xz`), Parquet, Wikipedia's XML. Out: record batches of the columns

- `id` binary(16): `storage.documents.document_id` of the source's name and the record's own id, else its file's name
  and its row from 1;
- `url` string, null where there is none; `text` string;
- `row` int64: place of the record in its file from 0: line, Parquet row, page of a dump; of several that make one
  document, the first.

A record that cannot be read is an error that names file and place, or is counted up to a stated share of its file. A
compressed file that is cut off is always an error, for nobody knows what it has lost.

Memory: one batch, of 512 documents or as many as reach 4 million characters, and what its format needs
(`storage.compressed`, `storage.source_records`), whatever the size of the file.

    for batch in read_batches("pile/00.jsonl.zst", "arxiv", SourceLayout(where={"meta.pile_set_name": ["ArXiv"]})): ...
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from storage.source_file import Document, SourceFile, Tally
from storage.source_layout import SourceLayout
from storage.stretches import Stretch
from storage.uri import expand_glob

__all__ = ["SOURCE_SCHEMA", "SourceLayout", "Tally", "read_batches", "read_source", "read_source_with_urls"]

SOURCE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.binary(16), nullable=False),
        pa.field("url", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
    ]
)
AUTO = SourceLayout()
_BATCH_ROWS = 512
_BATCH_CHARACTERS = 4_000_000


def read_batches(
    file: str,
    source: str,
    layout: SourceLayout = AUTO,
    *,
    tally: Tally | None = None,
    with_urls: bool = True,
    stretch: Stretch | None = None,
) -> Iterator[pa.RecordBatch]:
    """The documents of one file, in their order, as batches of `SOURCE_SCHEMA`.

    Args:
        source: the source's name; with a record's own id it makes the document's.
        tally: where records are counted, those of this file added to what it holds.
        with_urls: whether the column `url` is filled; else it is null throughout, and not read.
        stretch: the part of the file that is read (`storage.stretches`), all of it when left out.

    Raises:
        FileNotFoundError: nothing at `file`.
        ValueError: a file of another kind, damaged or cut off; or more records than allowed that cannot be read.
    """
    counted = tally or Tally()
    documents = SourceFile(file, source, layout, counted, with_urls=with_urls, stretch=stretch).documents()
    for some in _in_batches(documents):
        ids, urls, texts, rows = zip(*some, strict=True)
        columns = [
            pa.array(ids, pa.binary(16)),
            pa.array(urls, pa.string()),
            pa.array(texts, pa.string()),
            pa.array(rows, pa.int64()),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=SOURCE_SCHEMA)


def read_source(uris: Sequence[str], source: str, layout: SourceLayout = AUTO) -> Iterator[tuple[bytes, str]]:
    """(id, text) of every document of an outside source, in the order of the files.

    Args:
        uris: paths, globs or URIs.
        source: the source's name; with a record's own id it makes the document's.

    Raises:
        FileNotFoundError: a path that matches nothing.
        ValueError: as `read_batches`, and for two files of one name whose documents have no ids to tell them apart.
    """
    return ((document.id, document.text) for document in _documents(uris, source, layout, with_urls=False))


def read_source_with_urls(
    uris: Sequence[str], source: str, layout: SourceLayout = AUTO
) -> Iterator[tuple[bytes, str | None, str]]:
    """(id, url, text) of every document of an outside source, as `read_source`; the url None where it has none.

    Raises:
        FileNotFoundError, ValueError: as `read_source`, and for a `url` that is no string.
    """
    return (document[:3] for document in _documents(uris, source, layout, with_urls=True))


def _documents(uris: Sequence[str], source: str, layout: SourceLayout, *, with_urls: bool) -> Iterator[Document]:
    found = [file for uri in uris for file in expand_glob(uri)]
    files = [SourceFile(file, source, layout, Tally(), with_urls=with_urls) for file in found]
    same_name = Counter(file.name for file in files)
    for file in files:
        for document in file.documents():
            if not file.has_ids and same_name[file.name] > 1:
                raise ValueError(f"{file.uri}: documents without `id` in two files of the same name; rename one file")
            yield document


def _in_batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    some: list[Document] = []
    num_characters = 0
    for document in documents:
        some.append(document)
        num_characters += len(document.text)
        if len(some) == _BATCH_ROWS or num_characters >= _BATCH_CHARACTERS:
            yield some
            some, num_characters = [], 0
    if some:
        yield some
