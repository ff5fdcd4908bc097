from __future__ import annotations

import random
from pathlib import Path

import pytest

from tasks.evaluate.metrics.rouge import Rouge, mecab_tokens, rouge_2, rouge_l, rouge_n, subword_tokens
from tokenizer.encoder import load_encoder


def test_by_hand() -> None:
    ours = ["猫", "が", "椅子", "で", "寝", "た", "。"]
    theirs = ["猫", "は", "椅子", "で", "寝", "た"]
    assert rouge_n(ours, theirs, 2) == pytest.approx((3 / 6, 3 / 5, 6 / 11))  # 椅子-で, で-寝, 寝-た
    assert rouge_2(ours, theirs) == pytest.approx(6 / 11)
    assert rouge_n(ours, theirs, 1) == pytest.approx((5 / 7, 5 / 6, 10 / 13))
    assert rouge_l(["海", "空", "青い"], ["空", "は", "青い", "海"]) == pytest.approx((2 / 3, 2 / 4, 4 / 7))


def test_a_repeated_bigram_counts_as_often_as_in_the_other_text() -> None:
    assert rouge_2(list("ねねねね"), list("ねねこ")) == pytest.approx(2 * 1 / (3 + 2))


@pytest.mark.parametrize("other", [[], ["空"], ["空", "は"]])
def test_without_a_common_bigram_there_is_nothing(other: list[str]) -> None:
    assert rouge_n(other, [], 2) == rouge_n(["海"], other, 2) == rouge_l([], other) == Rouge(0.0, 0.0, 0.0)
    assert rouge_2(["空"], ["空"]) == 0.0  # one word has no bigram


def test_symmetric_bounded_and_one_for_the_same() -> None:
    generator = random.Random(7)
    for _ in range(500):
        first, second = (generator.choices(["空", "は", "青い", "。"], k=generator.randint(0, 12)) for _ in range(2))
        assert rouge_2(first, second) == rouge_2(second, first)
        assert 0.0 <= rouge_2(first, second) <= 1.0
        assert rouge_2(first, first) == (1.0 if len(first) > 1 else 0.0)
        assert rouge_l(first, second).f1 == rouge_l(second, first).f1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ﾃﾚﾋﾞの２０２４年", "テレビ の 2024 年"),
        ("😀空が青い☀!❤🇯🇵", "空 が 青い !"),
        ("❤\ufe0f", "\ufe0f"),  # emoji are looked for character by character, so what only modifies one stays
        ("〜〜すごーーーい〜", "すごーい"),
        ("　雪 と　氷\n", "雪 と 氷"),
        ("", ""),
        ("😀", ""),
        ("雪\x00と\ud800氷", "雪 と \ufffd 氷"),
    ],
)
def test_words_by_mecab(text: str, expected: str) -> None:
    assert mecab_tokens(text) == expected.split()


def test_long_texts_are_cut() -> None:
    assert len(mecab_tokens("空が青い。" * 6_700)) == 4 * 6_700  # 100 kB


def test_a_models_own_pieces_make_the_score_depend_on_its_vocabulary(
    byte_level_folder: Path, wider_folder: Path
) -> None:
    pair = ("雨の日は図書館で手紙を眺める。", "雨の日は縁側で地図を眺めるのが楽しみです。")
    scores = []
    for folder in (byte_level_folder, wider_folder):
        encoder = load_encoder(str(folder))
        ours, theirs = (subword_tokens(text, encoder) for text in pair)
        assert [int(token) for token in theirs] == encoder.encode(pair[1])
        assert rouge_2(theirs, theirs) == 1.0
        scores.append(rouge_2(ours, theirs))
    assert scores[0] != pytest.approx(scores[1], abs=0.01)
    assert all(0.1 < score < 0.9 for score in scores)


def test_half_a_character_has_pieces(byte_level_folder: Path) -> None:
    assert subword_tokens("雨\ud83d\x00", load_encoder(str(byte_level_folder)))
