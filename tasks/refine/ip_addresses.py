"""IPv4 and IPv6 addresses in a text.

The trap are versions and section numbers of four parts. What follows a word such as version or a product's name
(`Chrome/100.20.30.40`) is none, nor is what has only one part from 20 on (1.2.3.4, 5.6.31.2): 499 of 500 addresses have
two. Times, hardware addresses and `std::vector` are no IPv6 addresses by its grammar (RFC 4291), of which at least
three groups must be written.

    list(find_ipv4("接続元 100.20.30.40", 4, 16, keep_reserved=True))  # [(4, 16)]
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

_SMALL_PART = 20
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_VERSION_WORD = re.compile(
    r"(?:version|ver|rev|release|build|バージョン|リリース|ビルド|版)[ .:]{0,2}\Z", re.IGNORECASE
)
# A letter, digit or dot; one slash (two open a URL); a hyphen that does not join it to another address.
_BAD_BEFORE_IPV4 = re.compile(r"[0-9A-Za-z_.]\Z|(?<!/)/\Z|(?<!\.[0-9])(?<!\.[0-9]{2})(?<!\.[0-9]{3})-\Z")
_BAD_AFTER_IPV4 = re.compile(r"[0-9A-Za-z_]|\.[0-9]|-(?![0-9]+\.)\w")

_INSIDE_IPV6 = re.compile(r":(?::|(?:[0-9A-Fa-f]{1,4}:){6})")  # what every address has, and little else
_LEFT_OF_IT, _RIGHT_OF_IT = re.compile(r"[0-9A-Fa-f:]*\Z"), re.compile(r"[0-9A-Fa-f:]*")
_LONGEST_IPV6 = 39
_BAD_BEFORE_IPV6 = re.compile(r"[0-9A-Za-z_.]")
_BAD_AFTER_IPV6 = re.compile(r"[0-9A-Za-z_]|\.[0-9]")


def find_ipv4(plain: str, start: int, end: int, *, keep_reserved: bool) -> Iterator[tuple[int, int]]:
    """Spans of the IPv4 addresses in a stretch of a `tasks.refine.plain` text."""
    for match in _IPV4.finditer(plain, start, end):
        first, last = match.span()
        before, after = plain[max(0, first - 10) : first], plain[last : last + 5]
        if _BAD_BEFORE_IPV4.search(before) or _BAD_AFTER_IPV4.match(after) or _VERSION_WORD.search(before):
            continue
        num_large = sum(int(part) >= _SMALL_PART for part in match[0].split("."))
        if num_large > 1 and _is_address(match[0], keep_reserved):
            yield first, last


def may_have_ipv6(text: str) -> bool:
    """Whether a text has the colons of an address."""
    return "::" in text or text.count(":") >= 7


def find_ipv6(plain: str, *, keep_reserved: bool) -> Iterator[tuple[int, int]]:
    """Spans of the IPv6 addresses in a `tasks.refine.plain` text."""
    last = 0
    for inside in _INSIDE_IPV6.finditer(plain):
        if inside.start() < last:
            continue
        left = _LEFT_OF_IT.search(plain[max(0, inside.start() - _LONGEST_IPV6) : inside.start()])
        right = _RIGHT_OF_IT.match(plain, inside.end(), inside.end() + _LONGEST_IPV6)
        first, last = inside.start() - len(left[0] if left else ""), right.end() if right else inside.end()
        if _BAD_BEFORE_IPV6.match(plain[max(0, first - 1) : first]) or _BAD_AFTER_IPV6.match(plain[last : last + 2]):
            continue
        written = plain[first:last]
        if len(re.findall(r"[0-9A-Fa-f]+", written)) > 2 and _is_address(written, keep_reserved):
            yield first, last


def _is_address(written: str, keep_reserved: bool) -> bool:
    """Whether it is an IP address that is to be masked."""
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    return not keep_reserved or (address.is_global and not address.is_multicast)
