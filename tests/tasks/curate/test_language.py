"""Breaks when Chinese passes for Japanese, when mixed pages are lost, or when their English is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.curate.config import JapaneseLinesConfig, LanguageConfig
from tasks.curate.language import LanguageJudge, keep_japanese_lines, script_score
from tests.tasks.curate.warc_files import ENGLISH, JAPANESE, PARAGRAPHS

CHINESE = "今天天气很好，我们去公园散步，然后回家吃晚饭。晚上看了一部关于历史的电影，非常有意思。"
KOREAN = "오늘은 날씨가 좋아서 공원에 산책하러 갑니다. 저녁에는 영화를 보았습니다."
LINES = JapaneseLinesConfig()
NO_LINES = JapaneseLinesConfig(enabled=False)


def kept(*lines: str) -> list[str]:
    return keep_japanese_lines("\n".join(lines), LINES)[0].split("\n")


def test_script_score_of_languages() -> None:
    assert script_score(JAPANESE, 0.1) > 0.99
    for other in (ENGLISH, CHINESE, KOREAN, "", "12 + 3 = 15"):
        assert script_score(other, 0.1) == 0
    assert script_score("雲雀 lark がなく", 0.1) == 5 / 9


def test_kana_share_just_each_side_of_its_threshold() -> None:
    assert script_score("あ" + "漢" * 9, 0.1) == 1
    assert script_score("あ" + "漢" * 10, 0.1) == 0


def test_score_just_each_side_of_its_threshold() -> None:
    judge = LanguageJudge(LanguageConfig(min_score=0.3), NO_LINES)
    assert judge("あ" * 30 + "a" * 70).is_japanese
    assert not judge("あ" * 29 + "a" * 71).is_japanese


def test_lines_just_each_side_of_each_threshold() -> None:
    kana_1_in_10 = "かabcdefghi"
    kana_1_in_11 = "かabcdefghij"
    kanji_1_in_4 = "漢字漢abcdefghi"
    kanji_1_in_5 = "漢字abcdefgh"
    assert kept(PARAGRAPHS[0], kana_1_in_10, kana_1_in_11, kanji_1_in_4, kanji_1_in_5) == [
        PARAGRAPHS[0],
        kana_1_in_10,
        kanji_1_in_4,
    ]


def test_neutral_lines_follow_their_neighbours() -> None:
    one, two, _, _, five = PARAGRAPHS
    assert kept(one, "", "2024-03-01", two) == [one, "", "2024-03-01", two]
    assert kept(one, "SmolLM", two) == [one, "SmolLM", two]
    assert kept(one, "12", ENGLISH, "34", two) == [one, two]
    assert kept("Menu", one, "Next") == [one]
    assert kept(one, "abcdefgh", two, "abcdefghi", five) == [one, "abcdefgh", two, five]


def test_what_was_removed_is_counted() -> None:
    text = "\n".join([PARAGRAPHS[0], ENGLISH, "", ENGLISH, PARAGRAPHS[1]])
    judged = LanguageJudge(LanguageConfig(), LINES)(text)
    assert judged.text == f"{PARAGRAPHS[0]}\n{PARAGRAPHS[1]}"
    assert judged.lines_removed == 2
    assert judged.characters_removed == len(text) - len(judged.text)


def test_mixed_pages_survive_with_their_japanese_and_are_refused_whole_without_the_step() -> None:
    mixed = "\n".join([ENGLISH] * 20 + [PARAGRAPHS[0]])
    assert script_score(mixed, 0.1) < 0.3
    judged = LanguageJudge(LanguageConfig(), LINES)(mixed)
    assert (judged.is_japanese, judged.text, judged.score) == (True, PARAGRAPHS[0], 1.0)
    whole = LanguageJudge(LanguageConfig(), NO_LINES)(mixed)
    assert (whole.is_japanese, whole.text, whole.lines_removed) == (False, mixed, 0)


def test_share_of_japanese_lines_just_each_side_of_its_threshold() -> None:
    judge = LanguageJudge(LanguageConfig(min_mixed_share=0.05), LINES)
    assert judge("か" * 5 + "\n" + "x" * 95).is_japanese
    assert not judge("か" * 4 + "\n" + "x" * 96).is_japanese


@pytest.mark.parametrize("text", [CHINESE, KOREAN, ENGLISH, f"{CHINESE * 5}\nお問い合わせ"])
def test_other_languages_are_refused_with_the_line_step_too(text: str) -> None:
    assert not LanguageJudge(LanguageConfig(), LINES)(text).is_japanese


def test_fasttext_judges_whole_pages_and_the_japanese_lines_of_mixed_ones(shared_data: Path) -> None:
    language = LanguageConfig(method="fasttext", model=str(shared_data / "models" / "lid.176.ftz"), min_score=0.5)
    judge = LanguageJudge(language, LINES)
    assert judge(JAPANESE).score > 0.9
    for other in (CHINESE, KOREAN, ENGLISH):
        assert not judge(other).is_japanese
    assert judge("\n".join([ENGLISH] * 20 + list(PARAGRAPHS[:2]))).is_japanese


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    language = LanguageConfig(method="fasttext", model=str(tmp_path / "none.ftz"))
    with pytest.raises(ValueError, match=r"language\.model: cannot load .*none\.ftz"):
        LanguageJudge(language, LINES)
