"""Post codes in a text, with the address after each.

A post code is seven digits after 〒 or 郵便番号, or three and four of them before the name of a prefecture. An address
after it is masked from below the prefecture to the block, the building and the room, which lead to a door; the
prefecture stays, because it says where a text is from and the 47 names are a closed list, while
where a municipality's name ends cannot be told by its characters (四日市市, 郡上市, 市川市). Without a
block number a place name after the code stays: it is that of a town.

    find_post_codes("〒100-0000 東京都千代田区雲雀町1-2-3", 0, 11)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PREFECTURES = """
    北海道 青森県 岩手県 宮城県 秋田県 山形県 福島県 茨城県 栃木県 群馬県 埼玉県 千葉県
    東京都 神奈川県 新潟県 富山県 石川県 福井県 山梨県 長野県 岐阜県 静岡県 愛知県 三重県 滋賀県
    京都府 大阪府 兵庫県 奈良県 和歌山県 鳥取県 島根県 岡山県 広島県 山口県 徳島県 香川県 愛媛県
    高知県 福岡県 佐賀県 長崎県 熊本県 大分県 宮崎県 鹿児島県 沖縄県
"""
PREFECTURES = tuple(_PREFECTURES.split())

_CODE = re.compile(r"[0-9]{3} ?- ?[0-9]{4}|[0-9]{7}")
_MARKED = re.compile(r"(?:〒 ?|郵便番号[ :]{0,3})\Z")
_IN_NAME = r"[^0-9\s、。,:;!?()<>\[\]「」『』|〒]"
_KANJI = "[一二三四五六七八九十]{1,3}"
_BUILDING = "ビル|ビルディング|マンション|ハイツ|コーポ|荘|会館|棟|タワー|プラザ|ハウス"
_ADDRESS = re.compile(
    rf"""
    [ ]?\n?[ ]? (?P<prefecture>{"|".join(PREFECTURES)})? [ ]?
    (?:(?P<street> {_IN_NAME}{{1,12}}?[市区町村郡島] {_IN_NAME}{{0,30}}? [ ]?
        (?: [0-9]{{1,5}} | {_KANJI} (?=丁目|番|条) )
        (?: (?: 丁目|番地?|号|条[東西南北]?|の|ノ|-) [ ]? (?: [0-9]{{1,5}} | {_KANJI} (?=番|号|丁) )? ){{0,6}}
        (?: [ ]? {_IN_NAME}{{1,20}}? (?:{_BUILDING}) )?
        (?: [ ]? [A-Z]?[0-9]{{1,4}} (?:号室?|階|F) )?
    ))?
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class PostCode:
    """Spans of a post code, its 〒 included, and of the street below the prefecture (None where there is none)."""

    code: tuple[int, int]
    street: tuple[int, int] | None


def find_post_codes(plain: str, start: int, end: int) -> Iterator[PostCode]:
    """The post codes in a stretch of a `tasks.refine.plain` text; their addresses may reach beyond it."""
    for match in _CODE.finditer(plain, start, end):
        first, last = match.span()
        if plain[first - 1 : first].isdigit() or re.match(r"-?[0-9]", plain[last : last + 2]):
            continue  # a piece of a longer number
        mark = _MARKED.search(plain[max(0, first - 8) : first])
        address = _ADDRESS.match(plain, last)
        prefecture = address["prefecture"] if address else None
        if not mark and (prefecture is None or "-" not in match.group() or plain[first - 1 : first] in ("-", ".")):
            continue
        if mark and mark.group().startswith("〒"):
            first -= len(mark.group())
        yield PostCode((first, last), address.span("street") if address and address["street"] else None)
