"""Breaks when a metric is no longer what Swallow's thresholds, or ours, were set on."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from storage.ledger import Rule
from tasks.curate.config import CurateConfig
from tasks.curate.metrics import Metrics, measure, metric_fields
from tasks.curate.ngrams import REPEATED_SIZES, TOP_SIZES
from tasks.curate.ngwords import NgWords
from tasks.curate.rules import decide
from tests.tasks.curate.warc_files import JAPANESE

SWALLOW = CurateConfig(sources=["a.warc.gz"], profile="swallow-v1").quality
RENAMED = {
    "avg_sentence_length": "mean_sentence_length",
    "max_sentence_length": "longest_sentence_length",
    "duplicate_paragraph_fraction_in_character": "duplicate_paragraph_character_fraction",
    "duplicate_sentence_fraction_in_character": "duplicate_sentence_character_fraction",
}
RENAMED |= {f"top_{n}gram_character_fraction": f"top_{n}gram_fraction" for n in TOP_SIZES}
RENAMED |= {f"duplicate_{n}gram_character_fraction": f"duplicate_{n}gram_fraction" for n in REPEATED_SIZES}


def released(metrics: Metrics, name: str) -> float:
    """The value that the released code has under this name; some follow from others of ours."""
    if name == "num_sentences_ending_with_ellipsis":
        return metrics.ellipsis_fraction * metrics.num_sentences
    if name in ("kuten_fraction", "toten_fraction"):
        return getattr(metrics, f"num_{name.removesuffix('_fraction')}") / max(1, metrics.num_japanese_letters)
    return getattr(metrics, RENAMED.get(name, name))


def test_metrics_and_decisions_equal_the_released_code(shared_data: Path) -> None:
    with gzip.open(shared_data / "oracles" / "oracle_quality_shared.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 2000
    disagreements = []
    num_crashed = num_compared = 0
    for row in rows:
        metrics = measure(row["text"])
        decision = decide(metrics, SWALLOW)
        if "error" in row:  # the released code crashes on these; ours drops them by a rule
            num_crashed += 1
            assert decision.rule in (Rule.TOO_FEW_LETTERS, Rule.NO_SENTENCE)
            continue
        differs = [name for name, value in row["metrics"].items() if abs(released(metrics, name) - value) > 1e-6]
        disagreements += differs + ["accept"] * (decision.keep != row["accept"])
        num_compared += len(row["metrics"])
    assert disagreements == []
    assert num_crashed == 6
    assert num_compared == 1994 * 30


def test_counts_of_letters() -> None:
    metrics = measure("雲雀がナク、ー𠮷。a")
    assert (metrics.num_hiragana_letters, metrics.num_katakana_letters, metrics.num_kanji_letters) == (1, 2, 2)
    assert (metrics.num_toten, metrics.num_kuten, metrics.num_japanese_letters, metrics.num_letters) == (1, 1, 7, 10)
    assert metrics.hiragana_fraction == 1 / 7
    assert metrics.japanese_fraction == 7 / 10


@pytest.mark.parametrize("letter", ["〻", "䷀", "々", "〇", "㐀", "豈"])
def test_what_the_released_code_calls_kanji(letter: str) -> None:
    assert measure(letter).num_kanji_letters == 1


@pytest.mark.parametrize(
    ("text", "signs", "rare", "katakana"),
    [
        ("サーバー", 2, 0, 4),  # the released code sees two katakana, and half a text of something else
        ("ｻｰﾊﾞ", 4, 0, 4),
        ("ヽヾゝ", 3, 0, 3),
        ("𠮷野𩸽", 0, 2, 0),
        ("abc", 0, 0, 0),
    ],
)
def test_all_japanese_letters(text: str, signs: int, rare: int, katakana: int) -> None:
    metrics = measure(text)
    assert (metrics.num_kana_signs, metrics.num_rare_kanji) == (signs, rare)
    assert metrics.num_full_japanese_letters == metrics.num_japanese_letters + signs + rare
    assert metrics.full_japanese_fraction == metrics.num_full_japanese_letters / len(text)
    assert metrics.full_katakana_fraction == katakana / max(1, metrics.num_full_japanese_letters)


def test_sentences() -> None:
    metrics = measure("雲雀が鳴く。空は青い。\n続く…\n！？春だ！？")
    assert metrics.num_sentences == 4
    assert metrics.mean_sentence_length == (6 + 5 + 3 + 3) / 4
    assert metrics.longest_sentence_length == 6
    assert metrics.ellipsis_fraction == 1 / 4


def test_an_ellipsis_may_be_followed_by_space() -> None:
    assert measure("雲雀は… \n空は・　\n春だ。").ellipsis_fraction == 2 / 3


def test_lines_of_a_list_are_no_prose() -> None:
    prose = "麦畑の上で雲雀が鳴いている。"
    metrics = measure(f"目次\n一　春\n{prose}\n「おはよう」\n二　夏")
    assert metrics.prose_fraction == (len(prose) + 6) / (2 + 3 + len(prose) + 6 + 3)
    assert metrics.prose_sentence_length == (len(prose) + 6) / 2
    assert metrics.mean_sentence_length == (2 + 3 + len(prose) + 6 + 3) / 5


@pytest.mark.parametrize("end", ["。", "．", "！", "?", "…", "」", "』", "♪"])
def test_what_ends_prose(end: str) -> None:
    assert measure(f"雲雀が鳴く{end}").prose_fraction == 1


def test_sentences_that_lines_break_are_not_called_short() -> None:
    """Broken at a fixed width, only the last piece of a sentence ends as prose does, and it is short."""
    sentence = "麦畑の上を高く舞い上がった雲雀は、姿が見えなくなるほどの高さでいつまでも鳴いている。"
    metrics = measure("\n".join([sentence[:34], sentence[34:]] * 3))
    assert len(sentence[34:]) < 20 < metrics.mean_sentence_length
    assert metrics.prose_sentence_length == metrics.mean_sentence_length


def test_a_tenth_of_the_text_may_be_in_longer_sentences() -> None:
    long = "春" * 99 + "。"
    short = ["夏" * 29 + "。"] * 30
    assert measure("\n".join([long, *short])).long_sentence_length == 30
    assert measure("\n".join([long, *short[:29]])).long_sentence_length == 100
    assert measure("\n".join([long, *short])).longest_sentence_length == 100


def test_duplicates_are_units_that_occurred_before() -> None:
    metrics = measure("一行目。\n二行目。\n一行目。\n一行目。")
    assert metrics.duplicate_paragraph_fraction == 2 / 4
    assert metrics.duplicate_sentence_character_fraction == 8 / 16


def test_what_no_sentence_claims_is_no_part_of_a_paragraph() -> None:
    metrics = measure("春だ！\n春だ！？\n。春だ！\n！？")
    assert metrics.duplicate_paragraph_fraction == 2 / 4
    assert metrics.duplicate_paragraph_character_fraction == 6 / 9


def test_ng_words_are_measured_in_japanese_letters() -> None:
    words = NgWords(["雲雀", "雲雀の巣"])
    assert measure("春の雲雀の巣と雲雀。ab", words).ng_word_fraction == 6 / 10
    assert measure("春の雲雀の巣と雲雀。ab").ng_word_fraction == 0
    assert measure("ab", NgWords(["ab"])).ng_word_fraction == 0


def test_columns_are_the_metrics() -> None:
    metrics = measure(JAPANESE, quality_score=0.25)
    assert [field.name for field in metric_fields()] == list(Metrics.__dataclass_fields__)
    assert [field.name for field in metric_fields() if field.nullable] == ["quality_score"]
    assert metrics.quality_score == 0.25


@pytest.mark.parametrize("text", ["", "\n", "。。。", "あ", "あい", "あいう", "\ud800", "\x00\x00"])
def test_texts_of_nearly_nothing_are_measured(text: str) -> None:
    metrics = measure(text)
    assert metrics.num_letters == len(text)
    assert all(value is None or value == value for value in map(metrics.__getattribute__, Metrics.__slots__))
