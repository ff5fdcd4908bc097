"""Breaks when what is shown for a rule is not what the rule dropped the page for."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.ledger import Rule
from tasks.curate.metrics import measure
from tasks.curate.quality_config import NgWordsConfig, QualityConfig
from tasks.curate.rules import QUALITY_RULES
from tasks.curate.spans import offending_spans
from tests.tasks.curate.warc_files import JAPANESE

CONFIG = QualityConfig(max_sentence_length=12, max_mean_sentence_length=8, min_mean_sentence_length=4)


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        (Rule.DUPLICATE_PARAGRAPHS, "目次\n雲雀。\n目次\n目次", ["目次", "目次"]),
        (Rule.DUPLICATE_PARAGRAPH_CHARACTERS, "雲雀。空。\n雲雀。\n雲雀。空。", ["雲雀。空。"]),
        (Rule.DUPLICATE_SENTENCES, "雲雀。空。\n雲雀。\n海。", ["雲雀。"]),
        (Rule.DUPLICATE_SENTENCE_CHARACTERS, "雲雀。雲雀。", ["雲雀。"]),
        (Rule.TOP_2GRAM, "ああい、ああう、ああああ", ["ああ", "ああ", "ああああ"]),
        (Rule.TOP_3GRAM, "春夏秋、春夏秋。冬", ["春夏秋", "春夏秋"]),
        (Rule.TOP_4GRAM, "春夏", []),
        (Rule.DUPLICATE_5GRAMS, "春夏秋冬朝、昼。春夏秋冬朝。夜", ["春夏秋冬朝", "春夏秋冬朝"]),
        (Rule.DUPLICATE_10GRAMS, "一二三四五六七八九十百、一二三四五六七八九十百。", ["一二三四五六七八九十百"] * 2),
        (Rule.TOO_LITTLE_PROSE, "目次\n雲雀が鳴く。\n一　春\n「春」", ["目次", "一　春"]),
        (Rule.SENTENCES_TOO_SHORT, "春。雲雀が鳴く。\n夏", ["春。", "夏"]),
        (Rule.SENTENCES_TOO_LONG, "春。雲雀が麦畑の上で鳴く。", ["雲雀が麦畑の上で鳴く。"]),
        (
            Rule.SENTENCE_TOO_LONG,
            "雲雀が鳴く。\n雲雀が麦畑の上で高く鳴いている。",
            ["雲雀が麦畑の上で高く鳴いている。"],
        ),
        (Rule.TOO_MANY_ELLIPSES, "春は…\n夏は・\n秋は。", ["春は…", "夏は・"]),
        (Rule.TOO_FEW_LETTERS, "春", []),
        (Rule.TOO_LITTLE_HIRAGANA, "春", []),
        (Rule.LOW_QUALITY_SCORE, "春", []),
    ],
)
def test_spans(rule: Rule, text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in offending_spans(text, rule, CONFIG)] == expected


def test_ng_words(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("雲雀\n雲雀の巣\n", encoding="utf-8")
    config = QualityConfig(ng_words=NgWordsConfig(files=[str(path)]))
    text = "春の雲雀の巣と雲雀"
    assert [text[start:end] for start, end in offending_spans(text, Rule.NG_WORDS, config)] == ["雲雀の巣", "雲雀"]
    off = QualityConfig(ng_words=NgWordsConfig(files=[]))
    assert offending_spans(text, Rule.NG_WORDS, off) == []


@pytest.mark.parametrize("text", [JAPANESE + "\n" + JAPANESE[:200], "", "。\n。"])
@pytest.mark.parametrize("rule", sorted({rule.rule for rule in QUALITY_RULES}), ids=lambda rule: rule.label)
def test_spans_are_in_order_and_apart(rule: Rule, text: str) -> None:
    spans = offending_spans(text, rule, QualityConfig())
    places = [place for span in spans for place in span]
    assert places == sorted(places)
    assert all(start < end <= len(text) for start, end in spans)


def test_spans_of_repeated_ngrams_are_what_is_measured() -> None:
    text = JAPANESE + "\n" + JAPANESE[:100]
    for n in range(5, 11):
        spans = offending_spans(text, Rule[f"DUPLICATE_{n}GRAMS"], QualityConfig())
        num_places = sum(end - start - n + 1 for start, end in spans)
        measured = getattr(measure(text), f"repeated_{n}gram_fraction") * (len(text) - n + 1)
        assert num_places >= round(measured)  # spans that touch are shown as one
        assert spans[-1][1] == len(text)
