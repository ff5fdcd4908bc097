from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest

from tasks.evaluate.metrics.numbers import gsm8k_gold, harness_gsm8k_answer, harness_mgsm_number, last_number
from tests.tasks.evaluate.metrics.texts import ALPHABETS, random_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("答えは18です", "18"),
        ("3個ずつ6人に配るので、18。", "18"),
        ("合計は18.", "18"),
        ("18ドル", "18"),
        ("$1,234.50", "1234.50"),
        ("１，２３４．５０円", "1234.50"),
        ("12,34", "34"),  # no thousands
        ("差は-5度", "-5"),
        ("差は−５度", "-5"),  # the typographic minus
        ("-$20の赤字", "-20"),
        ("12-5", "5"),
        ("(8+4)-3", "3"),
        ("8万ドル", "80000"),
        ("8万5千円", "85000"),
        ("1億2千万3,400人", "120003400"),
        ("2.5万", "25000"),
        ("面積は18㎡、つまり18m²", "18"),
        ("CO2は40トン", "40"),
        ("容積は3/4", "0.75"),
        ("6/0", "6"),
        ("$.50", "0.5"),
        ("No.7", "7"),
        ("50%", "50"),
    ],
)
def test_the_last_number_as_a_reader_reads_it(text: str, expected: str) -> None:
    assert last_number(text) == Decimal(expected)


@pytest.mark.parametrize("text", ["", "分かりません。", "A4", "十八", "-", "...,,,", "²", "万"])
def test_no_number(text: str) -> None:
    assert last_number(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5+6=11。答えは11です。", 11),
        ("答えは1,234です", 1234),
        ("答えは18.0", 18),
        ("答えは18.", 18),
        ("答えは１８です", None),  # full width
        ("答えは18.5", None),
        ("18 dollars.", None),  # the period is the last match
        ("18 ...", None),
        ("1.2.3", None),
        ("12-5", -5),
        ("1,5", 15),
        ("8万", 8),
        ("", None),
    ],
)
def test_the_japanese_harness_takes_the_last_run_of_digits_periods_and_commas(text: str, expected: int | None) -> None:
    assert harness_mgsm_number(text) == expected


def test_the_english_harness_compares_what_follows_the_first_mark_as_a_string() -> None:
    assert harness_gsm8k_answer("2 + 3 = 5\n#### 1,005\n#### 7") == "1005"
    assert harness_gsm8k_answer("#### 18.") == "18."
    assert harness_gsm8k_answer("#### -3") == "-3"
    assert harness_gsm8k_answer("####18") is None
    assert harness_gsm8k_answer("#### $18") is None
    assert harness_gsm8k_answer("The answer is 18") is None


def test_gold_of_a_worked_solution() -> None:
    assert gsm8k_gold("16 - 3 = <<16-3=13>>13\n#### 2,125") == 2125
    assert gsm8k_gold("16 - 3 = 13") is None
    assert gsm8k_gold("#### none") is None


def test_gold_answers_of_the_benchmarks_are_read(shared_data: Path) -> None:
    lines = (shared_data / "eval/mgsm_ja/mgsm_ja.tsv").read_text(encoding="utf-8").splitlines()
    golds = [line.split("\t")[1] for line in lines]
    assert len(golds) == 250
    for gold in golds:
        assert last_number(gold) == harness_mgsm_number(gold) == int(gold.replace(",", ""))


def test_every_whole_number_is_found() -> None:
    generator = random.Random(4)
    for _ in range(300):
        number = generator.randint(-(10 ** generator.randint(1, 15)), 10 ** generator.randint(1, 15))
        wide = f"{number:,}".translate({ord(digit): ord(digit) + 0xFEE0 for digit in "-,0123456789"})
        assert last_number(f"1つ目は3で、答えは{wide}です。") == number
        assert harness_mgsm_number(f"答えは{number:,}です。") == number


def test_any_text_is_read() -> None:
    generator = random.Random(5)
    for _ in range(1000):
        text = random_text(generator, (*ALPHABETS, ".,-/$0123456789百千万億A"))
        value = last_number(text)
        assert value is None or value.is_finite()
        assert last_number(text + "\n答えは7です") == harness_mgsm_number(text + "\n答えは7です") == 7
        assert harness_gsm8k_answer(text) is None


@pytest.mark.parametrize("text", ["9" * 100_000, "A" * 100_000, "1,222" * 25_000, "1万" * 50_000, ".-," * 33_000])
def test_long_texts_are_read(text: str) -> None:
    last_number(text)
    harness_mgsm_number(text)
