"""Breaks when Chinese passes for Japanese, when mixed pages are lost, or when their English is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.curate.config import JapaneseLinesConfig, LanguageConfig
from tasks.curate.language import LanguageJudge, japanese_share, keep_japanese_lines, script_score
from tasks.curate.ngram_model import NgramModel, write_model
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


def test_script_score_just_each_side_of_its_threshold() -> None:
    judge = LanguageJudge(LanguageConfig(method="script", min_score=0.3), NO_LINES)
    assert judge("あ" * 31 + "a" * 69).is_japanese
    assert not judge("あ" * 30 + "a" * 70).is_japanese, "a score has to be above min_score"


def test_ngram_score_just_each_side_of_its_threshold(tmp_path: Path) -> None:
    write_model(tmp_path / "model.json", NgramModel({"か": 3, "x": -3}, 1.0))
    language = LanguageConfig(model=str(tmp_path / "model.json"))
    judge = LanguageJudge(language, NO_LINES)
    assert judge("かかxyか").is_japanese
    assert not judge("かかかxxxy").is_japanese, "the sum is 0"
    assert not judge("漢字").is_japanese, "no n-gram of it is known"
    assert not LanguageJudge(language.model_copy(update={"min_score": 4.0}), NO_LINES)("かかxyか").is_japanese


@pytest.mark.parametrize(
    "text",
    [
        *PARAGRAPHS,
        "お問い合わせはこちら",
        "次のページへ進む",
        "カテゴリー別のアーカイブ",
        "ﾎﾟｲﾝﾄが10倍になります",
        "関数 sum() は引数の合計を返します。",
        "\U00020b9f\U00020b9fと\U00020bb7野家",
        "吾輩ハ猫デアル名前ハマダ無イ",
        "本日は休業日です。\nOpen 10:00-18:00",
    ],
)
def test_the_shipped_model_takes_japanese(text: str) -> None:
    assert LanguageJudge(LanguageConfig(), NO_LINES)(text).is_japanese


CHINESE_WITH_KANA_IN_ITS_MENU = (
    f"首页 / 动漫新闻 / の / アニメ / 论坛\n{CHINESE}\n本站收录：けいおん、となりのトトロ\n{CHINESE}"
)


@pytest.mark.parametrize(
    "text",
    [
        CHINESE,
        CHINESE_WITH_KANA_IN_ITS_MENU,
        "今天天氣很好，我們去公園散步，然後回家吃晚飯。晚上看了一部關於歷史的電影，非常有意思。",
        "全球新聞中心　最新消息",
        "选择要删除的文件",
        KOREAN,
        "다음 페이지로 이동",
        ENGLISH,
        "Die Lerche singt hoch über dem Weizenfeld, wenn der Frühling kommt.",
        "Жаворонок поёт высоко над полем.",
        "นกร้องเพลงบนท้องฟ้า",
        "def lark(sky):\n    return [note for note in sky if note.pitch > 440]",
        "12 + 3 = 15; 2026-11-22",
        " *  o  *\n / \\ | / \\\n-----------",
        "",
        "\n \n",
    ],
)
@pytest.mark.parametrize("lines", [NO_LINES, LINES], ids=["whole", "lines"])
def test_the_shipped_model_refuses_what_is_not_japanese(text: str, lines: JapaneseLinesConfig) -> None:
    assert not LanguageJudge(LanguageConfig(), lines)(text).is_japanese


def test_the_shipped_model_weighs_letters() -> None:
    score = LanguageJudge(LanguageConfig(), NO_LINES).score
    english = " ".join([ENGLISH] * 8)
    for paragraph in PARAGRAPHS:
        assert score(f"{paragraph}\n{english[: len(paragraph) // 2]}") > 0
        assert score(f"{english[: len(paragraph) * 3]}\n{paragraph}") < 0


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
    mixed = "\n".join([ENGLISH] * 3 + [PARAGRAPHS[0]])
    assert LanguageJudge(LanguageConfig(), NO_LINES)(mixed).text == mixed
    assert not LanguageJudge(LanguageConfig(), NO_LINES)(mixed).is_japanese
    judged = LanguageJudge(LanguageConfig(), LINES)(mixed)
    assert (judged.is_japanese, judged.text, judged.lines_removed) == (True, PARAGRAPHS[0], 3)
    assert judged.score > 0


def test_pages_that_tell_little_in_japanese_are_taken_only_when_asked_for() -> None:
    mixed = "\n".join([ENGLISH] * 20 + [PARAGRAPHS[0]])
    assert not LanguageJudge(LanguageConfig(), LINES)(mixed).is_japanese
    judged = LanguageJudge(LanguageConfig(min_mixed_share=0.05), LINES)(mixed)
    assert (judged.is_japanese, judged.text) == (True, PARAGRAPHS[0])


def test_a_mixed_line_without_breaks_is_taken_too() -> None:
    feed = " ".join(f"http://blog.example/entries/{number}.html {PARAGRAPHS[0][:40]} Posted" for number in range(9))
    assert LanguageJudge(LanguageConfig(), LINES)(feed).text == feed
    assert LanguageJudge(LanguageConfig(), LINES)(feed).is_japanese


def test_what_a_text_tells_in_japanese() -> None:
    assert japanese_share("雲雀が鳴く") == 1
    assert japanese_share("") == japanese_share("12 + 3 = 15") == japanese_share("plain English words here") == 0
    assert japanese_share("雲雀" * 9 + "\n" + "ab cde fgh " * 5) == pytest.approx(18 / (18 + 0.45 * 40))
    assert japanese_share("雲雀" * 9 + "\n" + "жар" * 10) == pytest.approx(18 / (18 + 0.45 * 30))


@pytest.mark.parametrize(
    "aside",
    ["for (int i = 0; i < n; i++) sum += a[i];", "$ apt-get install --yes mozc-utils-gui", "LibreOffice Calc", "a.b.c"],
)
def test_code_and_names_tell_nothing(aside: str) -> None:
    assert japanese_share(f"雲雀が鳴く\n{aside}\n" * 3) == 1


def test_a_megabyte_of_one_word_takes_no_longer_than_its_length() -> None:
    """With a quantifier that is not possessive this takes hours."""
    assert japanese_share("あ" + "a" * 1_000_000) == 1
    assert japanese_share("あ" + "a, " * 300_000 + "!") < 0.01


def test_share_of_what_is_told_just_each_side_of_its_threshold() -> None:
    judge = LanguageJudge(LanguageConfig(min_mixed_share=0.5), LINES)
    english = "the lark sings high above the field and is gone"  # 38 letters weigh as 17.1 kana and kanji
    for japanese, taken in (
        ("雲雀が高い空の上で鳴いている時" + "だよ", False),
        ("雲雀が高い空の上で鳴いている時" + "だよね", True),
    ):
        judged = judge(f"{japanese}\n{english}")
        assert LanguageJudge(LanguageConfig(), NO_LINES)(f"{japanese}\n{english}").score < 0
        assert judged.is_japanese == taken


def test_fasttext_judges_whole_pages_and_the_japanese_lines_of_mixed_ones(shared_data: Path) -> None:
    language = LanguageConfig(method="fasttext", model=str(shared_data / "models" / "lid.176.ftz"))
    judge = LanguageJudge(language, LINES)
    assert judge(JAPANESE).score > 0.9
    for other in (CHINESE, KOREAN, ENGLISH):
        assert not judge(other).is_japanese
    assert judge("\n".join([ENGLISH] * 4 + list(PARAGRAPHS[:2]))).text == "\n".join(PARAGRAPHS[:2])


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    language = LanguageConfig(method="fasttext", model=str(tmp_path / "none.ftz"))
    with pytest.raises(ValueError, match=r"language\.model: cannot load .*none\.ftz"):
        LanguageJudge(language, LINES)
