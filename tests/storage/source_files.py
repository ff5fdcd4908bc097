"""Files of outside sources for tests: lines in every compression, a dump of a small wiki, its cleaned pages."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import zstandard

from storage.source_layout import SourceLayout
from storage.sources import Tally, read_batches

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".zst": zstandard.ZstdCompressor().compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
INFOBOX = "{{生物分類表\n|名称 = ヒバリ\n|画像 = [[ファイル:Lark.jpg|200px]]\n}}\n"
LARK = f"""{INFOBOX}'''雲雀'''（ひばり、{{{{Lang-en-short|skylark}}}}）は、[[スズメ目]]の[[鳥類|鳥]]である。
&lt;ref&gt;図鑑。&lt;/ref&gt;

== 生態 ==
* 麦畑で&amp;nbsp;鳴く。

== 脚注 ==
&lt;references /&gt;

[[Category:鳥]]
[[en:Skylark]]"""


def lines(records: Sequence[Any]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def page(number: int, title: str, text: str, namespace: int = 0, more: str = "", model: str = "wikitext") -> str:
    """A page of a dump; its text is escaped already."""
    return (
        f"<page><title>{title}</title><ns>{namespace}</ns><id>{number}</id>{more}<revision><id>{number + 900}</id>"
        f"<contributor><username>書き手</username><id>7</id></contributor><model>{model}</model>"
        f'<text bytes="1" xml:space="preserve">{text}</text></revision></page>'
    )


def dump(*pages: str, first: str = "") -> bytes:
    """An export of a wiki."""
    info = "<siteinfo><sitename>試し</sitename><base>https://ja.example.org/wiki/%E8%A1%A8</base></siteinfo>"
    return f'{first}<mediawiki xml:lang="ja">{info}{"".join(pages)}</mediawiki>'.encode()


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def read(file: str, layout: SourceLayout | None = None, tally: Tally | None = None) -> list[dict[str, Any]]:
    """The rows of a file."""
    batches = read_batches(file, "web", layout or SourceLayout(), tally=tally)
    return pa.Table.from_batches(list(batches)).to_pylist()


def texts(file: str, layout: SourceLayout | None = None, tally: Tally | None = None) -> list[str]:
    return [row["text"] for row in read(file, layout, tally)]
