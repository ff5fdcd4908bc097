from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.evaluate.benchmark import Files, Items, MissingDataError
from tasks.evaluate.suite.xwinograd import XWINOGRAD_EN, XWINOGRAD_JA, token_spans
from tests.tasks.evaluate.suite.suite_cases import judged, lines_file, prompt_of, requests_of, scored


def raw(
    code: str, sentence: str, tokens: list[str], pronoun: tuple[int, int], candidates: list[tuple[str, bool]]
) -> str:
    written: list[Any] = [
        tokens,
        [" ".join(tokens[slice(*pronoun)]), list(pronoun), tokens[slice(*pronoun)]],
        [[text, [0, 1], [text], right] for text, right in candidates],
    ]
    return "\t".join([code, "test", "?", sentence, *(json.dumps(part) for part in written)])


LARK = raw(
    "en",
    'The lark feared the hawk because it was "fast".',
    ["The", "lark", "feared", "the", "hawk", "because", "it", "was", "``", "fast", "''", "."],
    (6, 7),
    [("The lark", False), ("the hawk", True)],
)
BOAT = raw(
    "en",
    "Ann sold the boat since it's old.",
    ["Ann", "sold", "the", "boat", "since", "it", "'s", "old", "."],
    (5, 6),
    [("Ann", False), ("the boat", True)],
)
HIBARI = raw(
    "jp",
    "雲雀は鷹を恐れた。それは速かったからだ。",
    ["雲雀", "は", "鷹", "を恐れた。", "それ", "は速かったからだ。"],
    (4, 5),
    [("雲雀", False), ("鷹", True)],
)
FUNE = raw(
    "jp",
    "兄は船を売った。それが古いからだ。",
    ["兄", "は船を売った。", "それ", "が古いからだ。"],
    (2, 3),
    [("兄", False), ("船", True)],
)


def tsv(path: Path, *lines: str) -> Files:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return Files((str(path),))


@pytest.fixture
def english(tmp_path: Path) -> Items:
    return XWINOGRAD_EN.read(tsv(tmp_path / "dataset.tsv", LARK, HIBARI, BOAT))


@pytest.fixture
def japanese(tmp_path: Path) -> Items:
    return XWINOGRAD_JA.read(tsv(tmp_path / "dataset.tsv", LARK, HIBARI, FUNE))


def test_the_pronoun_is_found_with_and_without_spaces(english: Items, japanese: Items) -> None:
    """Quotation marks that the tokens write in another way, and words without spaces between them."""
    assert [item.parts for item in english.items] == [
        {"before": "The lark feared the hawk because ", "after": ' was "fast".', "options": ["The lark", "the hawk"]},
        {"before": "Ann sold the boat since ", "after": "'s old.", "options": ["Ann", "the boat"]},
    ]
    assert [(item.parts["before"], item.parts["after"], item.gold) for item in japanese.items] == [
        ("雲雀は鷹を恐れた。", "は速かったからだ。", 1),
        ("兄は船を売った。", "が古いからだ。", 1),
    ]


def test_tokens_of_another_sentence() -> None:
    assert token_spans(["it", "'s", "."], " it's .") == [(1, 3), (3, 5), (6, 7)]
    with pytest.raises(ValueError, match="token 'she' does not stand at character 0"):
        token_spans(["she"], "he")


def test_rows_of_the_hub(tmp_path: Path) -> None:
    row = {"sentence": "The lark saw that _ was late.", "option1": "the hawk", "option2": "the lark", "answer": "2"}
    (item,) = XWINOGRAD_EN.read(lines_file(tmp_path / "en.jsonl", [row])).items

    assert item.parts == {"before": "The lark saw that ", "after": " was late.", "options": ["the hawk", "the lark"]}
    assert item.gold == 1
    assert item.text == "The lark saw that the lark was late."


def test_lines_that_are_none_and_missing_files(tmp_path: Path) -> None:
    broken = [
        "en\tonly two columns",
        LARK.replace('["The"', '["A"', 1),
        LARK.replace("true", "false"),
        LARK.replace('["it", [6, 7]', '["it", [40, 41]'),
        LARK.replace('[["The lark"', "not JSON", 1),
    ]
    items = XWINOGRAD_EN.read(tsv(tmp_path / "en.tsv", *broken, BOAT))

    assert len(items.items) == 1
    assert [message.split(": ")[0] for message in items.malformed] == [f"en.tsv:{number}" for number in range(1, 6)]
    with pytest.raises(MissingDataError, match=r"Yandex.*language jp as xwinograd_ja/jp\.tsv"):
        XWINOGRAD_JA.read(Files((str(tmp_path / "missing.tsv"),)))


def test_swallow_english_scores_the_words_behind(english: Items) -> None:
    """A space is put before them, also where the sentence has none."""
    shot = 'The lark feared the hawk because the hawk was "fast".\n\n'

    assert [prompt_of(request) for request in requests_of(XWINOGRAD_EN, "swallow-2023", english, 1)] == [
        f"{shot}Ann sold the boat since Ann| 's old.",
        f"{shot}Ann sold the boat since the boat| 's old.",
    ]


def test_swallow_japanese_compares_whole_sentences(japanese: Items) -> None:
    requests = requests_of(XWINOGRAD_JA, "swallow-2023", japanese, 0)

    assert [prompt_of(request) for request in requests] == [
        "|雲雀は鷹を恐れた。雲雀は速かったからだ。",
        "|雲雀は鷹を恐れた。鷹は速かったからだ。",
    ]


def test_strict_asks_with_our_shots(english: Items, japanese: Items) -> None:
    assert prompt_of(requests_of(XWINOGRAD_EN, "strict", english, 1)[1]) == (
        "Each sentence below makes sense.\n\n"
        "Anna burned her tongue on the soup because the soup was too hot.\n\n"
        "Tom lent Ben an umbrella because Ben had left his own at home.\n\n"
        "The goalkeeper thanked the doctor because the doctor had treated his knee.\n\n"
        "The hen ran from the fox because the hen was frightened.\n\n"
        "Ann sold the boat since the boat|'s old."
    )
    assert prompt_of(requests_of(XWINOGRAD_JA, "strict", japanese, 0)[0]) == (
        "次の文は、どれも意味が通っています。\n\n"
        "兄は弟に傘を貸した。弟が傘を家に忘れてきたからだ。\n\n"
        "猫が花びんを倒した。花びんは床に落ちて割れてしまった。\n\n"
        "先生は生徒をほめた。生徒が毎日欠かさず練習したからだ。\n\n"
        "めんどりはきつねを見て逃げ出した。めんどりは怖かったからだ。\n\n"
        "雲雀は鷹を恐れた。雲雀|は速かったからだ。"
    )


def test_right_wrong_and_equal(english: Items, japanese: Items) -> None:
    for profile in ("strict", "swallow-2023"):
        for benchmark, item in ((XWINOGRAD_EN, english.items[0]), (XWINOGRAD_JA, japanese.items[0])):
            right = judged(benchmark, profile, item, *scored(-5.0, -4.0))
            assert (right.columns["accuracy"], right.output) == (1.0, item.parts["options"][1])
            assert judged(benchmark, profile, item, *scored(-4.0, -5.0)).columns["accuracy"] == 0.0


def test_equal_sentences_are_wrong_in_the_japanese_harness_even_where_the_first_is_right(japanese: Items) -> None:
    item = japanese.items[0]
    turned = replace(item, parts={**item.parts, "options": ["鷹", "雲雀"]}, gold=0)

    judgement = judged(XWINOGRAD_JA, "swallow-2023", turned, *scored(-4.0, -4.0))
    assert (judgement.columns["accuracy"], judgement.flags) == (0.0, ("tied",))
    assert judged(XWINOGRAD_JA, "strict", turned, *scored(-4.0, -4.0)).columns["accuracy"] == 1.0


def test_only_the_english_one_counts_towards_an_average() -> None:
    assert (XWINOGRAD_EN.averaged, XWINOGRAD_JA.averaged) == (True, False)


def test_the_published_files_hold_what_is_said(shared_data: Path) -> None:
    english = XWINOGRAD_EN.read(Files((str(shared_data / "eval/xwinograd_en/en.tsv"),)))
    japanese = XWINOGRAD_JA.read(Files((str(shared_data / "eval/xwinograd_ja/jp.tsv"),)))

    assert (len(english.items), len(english.malformed)) == (2_325, 0)
    assert (len(japanese.items), len(japanese.malformed)) == (959, 0)
    assert all(item.parts["after"].strip() for item in (*english.items, *japanese.items))
