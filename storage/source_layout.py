"""How files of other origin are laid out: which fields hold what, and what a file's name says of its format.

layout = SourceLayout(where={"meta.pile_set_name": ["ArXiv"]})
file_format("pile/00.jsonl.zst", layout.layout)  # "jsonl"
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from storage.compressed import compression
from storage.uri import is_web

Layout = Literal["auto", "jsonl", "parquet", "wikipedia", "refinedweb", "pile", "parallel"]
Format = Literal["jsonl", "parquet", "tsv", "wiki"]
Value = str | int | float | bool

PILE_SET = "meta.pile_set_name"
SIDES = ("ja", "en")
# What a name says without its compression: JSON lines; a dump, a part of one, a file of WikiExtractor's.
_FORMAT_OF_NAME: tuple[tuple[str, Format], ...] = (
    (r".*\.(jsonl|ndjson|json)", "jsonl"),
    (r".*\.parquet", "parquet"),
    (r".*\.tsv", "tsv"),
    (r".*\.xml(-p\d+p\d+)?|wiki_\d+", "wiki"),
)
_FORMATS: dict[Layout, tuple[Format, ...]] = {  # the first is that of a name which says nothing
    "jsonl": ("jsonl",),
    "parquet": ("parquet",),
    "wikipedia": ("wiki", "jsonl", "parquet"),
    "refinedweb": ("jsonl", "parquet"),
    "pile": ("jsonl", "parquet"),
    "parallel": ("tsv", "jsonl", "parquet"),
}


@dataclass(frozen=True)
class SourceLayout:
    """How the files of a source are read.

    Attributes:
        layout: `auto` goes by the files' names; the others are what they are called, or are published as: `jsonl`,
            `parquet`, `wikipedia` (a dump, WikiExtractor's files, or Hugging Face's rows of id, url, title and text),
            `refinedweb` (`content`), `pile` (`text` with a `meta.pile_set_name`), `parallel` (pairs of sentences).
        text_field, id_field, url_field: `a.b` for field b in field a. Left out: `text`, else `content`; `id` and `url`
            where there are any. An `id_field` that is named must be in every record.
        where: field -> values; records with another value are not chosen.
        title: whether an article of Wikipedia begins with its title, as a first line followed by an empty one.
        fields: of parallel text: `ja` and `en` -> field, or column of a tab-separated file by name or number from 1.
        pairs_per_document: of parallel text: consecutive pairs that make a document.
        template: of parallel text; see `storage.parallel_text`.
        max_bad_record_ratio: share of a file's records that may be unreadable; 0 makes the first one an error.
    """

    layout: Layout = "auto"
    text_field: str | None = None
    id_field: str | None = None
    url_field: str | None = None
    where: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    title: Literal["first_line", "leave_out"] = "first_line"
    fields: Mapping[str, str] = field(default_factory=lambda: {side: side for side in SIDES})
    pairs_per_document: int = 1
    template: Literal["concatenation", "instruction"] = "concatenation"
    max_bad_record_ratio: float = 0.0

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The fields of which the first that a record has is its text."""
        if self.text_field:
            return (self.text_field,)
        published: dict[Layout, tuple[str, ...]] = {
            "refinedweb": ("content",),
            "pile": ("text",),
            "wikipedia": ("text",),
        }
        return published.get(self.layout, ("text", "content"))


def file_name(uri: str) -> str:
    """The last part of a path or address, without the query of a web address."""
    path = uri.split("?", 1)[0] if is_web(uri) else uri
    return path.rsplit("/", 1)[-1]


def file_format(uri: str, layout: Layout) -> Format:
    """The format of a file, by its name, or by its layout where the name says nothing.

    Raises:
        ValueError: the name says nothing either, or a format that the layout does not have.
    """
    plain = file_name(uri)
    plain = plain.removesuffix(compression(plain))
    named = next((kind for pattern, kind in _FORMAT_OF_NAME if re.fullmatch(pattern, plain)), None)
    if layout == "auto":
        if named is None:
            raise ValueError(
                f"{uri}: expected a file ending in .jsonl, .json, .tsv or .xml, plain or with .gz, .zst, .bz2 or .xz "
                "behind it, or in .parquet; or say what it is with `layout`"
            )
        return named
    allowed = _FORMATS[layout]
    if named is not None and named not in allowed:
        raise ValueError(f"{uri}: a file of this name is no `layout: {layout}`, which is {' or '.join(allowed)}")
    return named or allowed[0]
