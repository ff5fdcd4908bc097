"""E-mail addresses in a text, also with the sign spelt out: `hibari[at]example.jp`, `hibari（アット）example.jp`.

An address ends in a country's domain or a generic one in use, so `getty@tty1.service` and `icon@2x.png` are none; nor
are `git@example.com:hibari/nest.git`, a place on a server, and `@tori@example.social`, a name on a network.

    list(find_emails("窓口 hibari@example.jp", spelt=False))  # [(3, 20)]
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Those of two letters are countries.
_LONG_DOMAINS = (
    "com|net|org|info|biz|edu|gov|mil|int|name|pro|mobi|asia|xyz|online|site|shop|store|tokyo|osaka|kyoto|nagoya|"
    "yokohama|okinawa|app|dev|blog|cloud|tech|email|jobs|club|life|live|link|space|work|world|page|moe|art|design|"
    "studio|company|family|house|inc|media|news|school|support|team|today|clinic|cafe|coop|museum"
)
_SIGN = re.compile(r"@")
_ANY_SIGN = re.compile(r"@| ?[\[({<] ?(?:[aA][tT]|アット)")
_SPELT_SIGN = re.compile(r"[\[({<（［｛＜][ \u3000]?(?:[aAａＡ][tTｔＴ]|アット)")
_LOCAL_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.%+-]{0,63}\Z")
_SIGN_AND_DOMAIN = re.compile(
    rf"""
    (?: @ | [ ]?[\[({{<][ ]? (?:at|アット|アットマーク) [ ]?[\])}}>][ ]? )
    (?: [A-Z0-9] [A-Z0-9-]{{0,62}} \. ){{1,8}} (?: {_LONG_DOMAINS} | [A-Z]{{2}} )
    (?! [A-Z0-9_-] | \.[A-Z0-9] | :[A-Z0-9_~/] )
    """,
    re.IGNORECASE | re.VERBOSE,
)


def has_spelt_sign(text: str) -> bool:
    """Whether a text as it stands, full-width or not, may have an `[at]` in it."""
    return _SPELT_SIGN.search(text) is not None


def find_emails(plain: str, *, spelt: bool) -> Iterator[tuple[int, int]]:
    """Spans of the addresses in a `tasks.refine.plain` text; `spelt`: look for `[at]` too, not for `@` alone."""
    for sign in (_ANY_SIGN if spelt else _SIGN).finditer(plain):
        local = _LOCAL_PART.search(plain[max(0, sign.start() - 64) : sign.start()])
        domain = _SIGN_AND_DOMAIN.match(plain, sign.start()) if local else None
        if local and domain:
            first = sign.start() - len(local[0])
            if first == 0 or plain[first - 1] != "@":
                yield first, domain.end()
