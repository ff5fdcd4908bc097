"""Masking of personal information: e-mail, telephone, My Number, IP and postal addresses.

In: a text. Out: the text with a mask (`<電話番号>`) in place of each, and how many each rule found. Rules go by shape
and by what can be checked (numbering plan, check digit, address registries), so that dates, prices, versions and order
numbers stay. What is masked holds nothing that any rule finds: masking twice changes nothing.

Full-width digits and every kind of hyphen are read as ASCII (`plain.py`). All patterns are bounded, so time is linear
in the text; a text without `@` and six digits is left after one look.

    mask("連絡先は hibari@example.jp まで", PiiConfig())  # ("連絡先は <メールアドレス> まで", {"masked_emails": 1})
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from tasks.refine.emails import find_emails, has_spelt_sign
from tasks.refine.ip_addresses import find_ipv4, find_ipv6, may_have_ipv6
from tasks.refine.phones import find_phones
from tasks.refine.pii_config import PiiConfig
from tasks.refine.plain import num_digits, plain
from tasks.refine.postal import find_post_codes

PII_COUNTS = (
    "masked_emails",
    "masked_phones",
    "masked_my_numbers",
    "masked_ip_addresses",
    "masked_post_codes",
    "masked_streets",
)
# A find can set free what stood against it (a@example.jp+819012345678). Two rounds do for all but texts made for it.
_MAX_ROUNDS = 8
_MIN_DIGITS = 6  # of the shortest IP address that is no version; other numbers have more
_STRETCH = re.compile(r"[+(0-9][0-9()+. -]{6,}")
_MY_NUMBER = re.compile(r"[0-9]{4}([ -]?)[0-9]{4}\1[0-9]{4}")
_SAYS_MY_NUMBER = re.compile(r"(?:マイナンバー|個人番号|my ?number)[ :=はが「(]{0,4}\Z", re.IGNORECASE)
_YEARS = re.compile(r"(?:(?:19|20)[0-9]{2}[ -]?){3}")
_CHECK_WEIGHTS = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)


class Found(NamedTuple):
    """What a rule found: the characters `start` to `end` of the text, for which `mask` stands.

    `rule` is one of PII_COUNTS.
    """

    start: int
    end: int
    rule: str
    mask: str


class Masked(NamedTuple):
    """The masked text, and how often each rule found something (rules that found nothing left out)."""

    text: str
    counts: dict[str, int]


def mask(text: str, config: PiiConfig) -> Masked:
    """Mask what the rules switched on find, until they find nothing more."""
    counts: Counter[str] = Counter()
    for _ in range(_MAX_ROUNDS):
        found = find(text, config)
        if not found:
            break
        parts, end = [], 0
        for piece in found:
            parts += [text[end : piece.start], piece.mask]
            end = piece.end
        text = "".join([*parts, text[end:]])
        counts.update(piece.rule for piece in found)
    return Masked(text, {rule: counts[rule] for rule in PII_COUNTS if counts[rule]})


def find(text: str, config: PiiConfig) -> list[Found]:
    """What the rules find in one round, in the order of the text, nothing overlapping."""
    if not config.enabled:
        return []
    spelt = config.email and has_spelt_sign(text)
    with_emails = spelt or (config.email and ("@" in text or "＠" in text))
    with_ipv6 = config.ip_address and may_have_ipv6(text)
    with_numbers = num_digits(text) >= _MIN_DIGITS
    if not (with_emails or with_ipv6 or with_numbers):
        return []
    narrow = plain(text)
    found: list[Found] = []
    if with_emails:
        found += [Found(*span, "masked_emails", config.email_mask) for span in find_emails(narrow, spelt=spelt)]
    if with_ipv6:
        spans = find_ipv6(narrow, keep_reserved=config.keep_reserved_ip_addresses)
        found += [Found(*span, "masked_ip_addresses", config.ip_address_mask) for span in spans]
    for stretch in _STRETCH.finditer(narrow) if with_numbers else ():
        found += _find_in_stretch(narrow, *stretch.span(), config)
    kept: list[Found] = []
    for piece in sorted(found, key=lambda piece: (piece.start, -piece.end)):
        if not kept or piece.start >= kept[-1].end:
            kept.append(piece)
    return kept


def _find_in_stretch(narrow: str, start: int, end: int, config: PiiConfig) -> Iterator[Found]:
    """The rules for numbers, on a stretch of digits and what separates them."""
    if config.phone:
        for span in find_phones(narrow, start, end):
            yield Found(*span, "masked_phones", config.phone_mask)
    if config.my_number:
        for span in _find_my_numbers(narrow, start, end):
            yield Found(*span, "masked_my_numbers", config.my_number_mask)
    if config.ip_address:
        for span in find_ipv4(narrow, start, end, keep_reserved=config.keep_reserved_ip_addresses):
            yield Found(*span, "masked_ip_addresses", config.ip_address_mask)
    if config.postal_address:
        for post in find_post_codes(narrow, start, end):
            yield Found(*post.code, "masked_post_codes", config.post_code_mask)
            if post.street:
                yield Found(*post.street, "masked_streets", config.street_mask)


def _find_my_numbers(narrow: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Twelve digits in fours with a valid check digit; without separators after the words only.

    One in eleven numbers has a valid check digit, and bare twelve digits are mostly product codes, orders or times.
    """
    for match in _MY_NUMBER.finditer(narrow, start, end):
        first, last = match.span()
        longer = re.search(r"[0-9A-Za-z_]\Z|[0-9][ .-]\Z", narrow[max(0, first - 2) : first])
        longer = longer or re.match(r"[0-9A-Za-z_]|[ .-][0-9]", narrow[last : last + 2])
        named = bool(_SAYS_MY_NUMBER.search(narrow[max(0, first - 16) : first]))
        likely = named or (match[1] and not _YEARS.fullmatch(match[0]))
        if likely and not longer and has_check_digit(match[0]):
            yield first, last


def has_check_digit(number: str) -> bool:
    """Whether the last of 12 digits is the check digit of the first 11 (ordinance 85 of 2014, article 5)."""
    *digits, check = (int(character) for character in number if character.isdigit())
    rest = sum(digit * weight for digit, weight in zip(digits, _CHECK_WEIGHTS, strict=True)) % 11
    return check == (0 if rest <= 1 else 11 - rest)
