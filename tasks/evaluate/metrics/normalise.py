"""Texts as the metrics compare them.

first_line(nfkc("１９８９年\\n質問：")) == "1989年"
"""

from __future__ import annotations

import re
import unicodedata

_SURROGATE = re.compile("[\ud800-\udfff]")


def nfkc(text: str) -> str:
    """One spelling of what differs in width or composition only: ｗｅｂ and web, ㈱ and (株), か with U+3099 and が."""
    return unicodedata.normalize("NFKC", text)


def first_line(text: str) -> str:
    """What stands before the first newline; nothing where the text begins with one."""
    return text.partition("\n")[0]


def encodable(text: str) -> str:
    """Text that has a UTF-8 form: half of a surrogate pair becomes U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def for_c_library(text: str) -> str:
    """Text that MeCab reads to its end: encodable, and NUL, which ends a string in C, is a space."""
    return encodable(text).replace("\x00", " ")
