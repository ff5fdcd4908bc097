r"""The number that an answer to a mathematics question comes to.

`last_number` is ours, for the profile `strict`: it reads a number as a reader would. The other two do what the
harnesses of 2023 did, for `swallow-2023`: their regular expressions take periods and commas wherever they stand.

    last_number("答えは、１，２３４．５０ドルです。") == Decimal("1234.50")
    last_number("合わせて8万5千円。") == Decimal(85000)
    harness_mgsm_number("8万5千円") == 5
"""

from __future__ import annotations

import re
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext

# Full-width ASCII, the minus sign and the full-width yen sign. Not NFKC: that makes 5m2 of 5m² and 18m2 of 18㎡.
_ASCII = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x2212: "-", 0xFFE5: "¥"}

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9A-Za-z_])\.[0-9]+"
_UNIT = "(?:[百千][万億兆]?|[万億兆])"
_AMOUNT = re.compile(
    r"(?<![A-Za-z_])[A-Za-z_]++[0-9]+(?:\.[0-9]+)*"  # a name with a number in it, which is none: m2, CO2, v1.5
    r"|(?P<minus>(?<![0-9A-Za-z)\]])-[$€£¥]?)?"  # no sign between digits: 12-5
    rf"(?P<terms>(?:{_DIGITS})(?:{_UNIT}(?:{_DIGITS}))*{_UNIT}?)"
    r"(?:/(?P<divisor>[0-9]+))?"
)
_TERM = re.compile(rf"({_DIGITS})([百千]?)([万億兆]?)")
_UNITS = {"": 1, "百": 10**2, "千": 10**3, "万": 10**4, "億": 10**8, "兆": 10**12}
_CONTEXT = Context(prec=100, Emax=MAX_EMAX, Emin=MIN_EMIN)

_HARNESS_NUMBER = re.compile(r"(\-?[0-9\.\,]+)")
_HARNESS_ANSWER = re.compile(r"#### (\-?[0-9\.\,]+)")


def last_number(text: str) -> Decimal | None:
    """The last number of a text, None where there is none.

    Digits of either width, with commas between thousands, a decimal part, a minus (also the typographic one, also
    before a currency sign), and 百, 千, 万, 億, 兆 after digits (8万5千 is 85,000). A period or 。 at the end does not
    belong to it. A fraction `3/4` is one number. Digits that end a name (`m2`, `CO2`) are none; numbers in Chinese
    digits alone are not read.
    """
    last = None
    for match in _AMOUNT.finditer(text.translate(_ASCII)):
        last = match if match["terms"] else last
    return None if last is None else _value(last)


def _value(match: re.Match[str]) -> Decimal:
    with localcontext(_CONTEXT):
        total = section = Decimal(0)  # a section is what 万, 億 or 兆 multiplies
        for digits, small, large in _TERM.findall(match["terms"]):
            section += Decimal(digits.replace(",", "")) * _UNITS[small]
            if large:
                total, section = total + section * _UNITS[large], Decimal(0)
        value = (total + section) / (Decimal(match["divisor"] or 1) or 1)
        return -value if match["minus"] else value


def gsm8k_gold(answer: str) -> Decimal | None:
    """The number after `####`, where a worked solution of GSM8K ends; None where there is none."""
    return last_number(answer.rpartition("####")[2]) if "####" in answer else None


def harness_mgsm_number(text: str) -> int | None:
    r"""The answer as the Japanese harness of 2023 reads it (`mgsm.py` of lm-evaluation-harness-jp).

    The last match of `(\-?[0-9\.\,]+)`, without periods around it and commas anywhere, if that is a whole number. So a
    period or comma that stands alone after the number ("18 dollars.") is the last match, and there is no answer; `12-5`
    ends in -5, `1,5` is 15, 8万 is 8; digits of full width are not seen.
    """
    found = _HARNESS_NUMBER.findall(text)
    if not found:
        return None
    try:
        number = float(found[-1].strip(".").replace(",", ""))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def harness_gsm8k_answer(text: str) -> str | None:
    """What the harness of 2023 compares, of output and gold alike, as a string: what follows the first `#### `.

    Commas are taken off, nothing else: `18.` and `18.0` are not `18`.
    """
    found = _HARNESS_ANSWER.search(text)
    return found[1].replace(",", "") if found else None
