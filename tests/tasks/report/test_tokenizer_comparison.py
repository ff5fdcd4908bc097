"""The comparison of tokenizers as a reader meets it: right figures, nothing loaded, text out of data escaped."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tasks.report.tokenizer_comparison import bounds, flops, headlines, kind_of_text, render
from tasks.report.tokenizer_comparison_markdown import COSTS, FERTILITY, cost_rows, fertility_rows, markdown
from tests.tasks.report.test_report import Page

MEASURES: dict[str, Any] = {
    "tokens": 12_000,
    "tokens_per_character": {"value": 1.2, "low": 1.1, "high": 1.3},
    "bytes_per_token": {"value": 2.5, "low": 2.4, "high": 2.6},
    "tokens_change": {"value": 0.0, "low": 0.0, "high": 0.0},
    "part_of_character_tokens": 3000,
    "part_of_character_share": 0.25,
    "new_piece_tokens": 0,
    "new_piece_share": 0.0,
    "pieces_used": 800,
    "new_pieces_used": 0,
    "entropy_bits": 7.5,
    "renyi_efficiency": 0.61,
    "lossy_documents": 0,
    "round_trip_failures": 0,
}
EXPANDED = MEASURES | {
    "tokens": 6_600,
    "tokens_per_character": {"value": 0.66, "low": None, "high": None},
    "tokens_change": {"value": -0.45, "low": -0.47, "high": -0.43},
    "new_piece_share": 0.4,
    "new_pieces_used": 321,
    "part_of_character_share": 0.0123,
}
PIECE = {"id": 32_000, "text": "雲雀", "count": 17, "base_tokens": 5, "tokens_saved": 68}
TOKENIZER = {"kind": "sentencepiece", "vocab": 32_000, "new_pieces": 0, "pieces_used": 900, "new_pieces_used": 0}
TOKENIZER |= {"new_pieces_unused": 0, "most_useful": [], "longest": [], "unused": []}


def costs(steps: float, change: float) -> dict[str, Any]:
    cell: dict[str, Any] = {"training_flops_per_byte": 1.57e10, "decoding_flops_per_character": 6.4e9}
    cell |= {"steps_per_1000_characters": steps}
    cell["change"] = dict.fromkeys(cell, change)
    row: dict[str, Any] = {
        "parameters": 6_700_000_000,
        "vocabulary_parameters": 262_144_000,
        "vocabulary_bytes": 524_288_000,
    }
    row |= {"training_flops_per_token": 4.6e10, "decoding_flops_per_token": 1.5e10}
    return row | {"texts": {"corpus": cell, "code": cell, "the mixture": cell}}


@pytest.fixture
def facts() -> dict[str, Any]:
    """A base and its expansion on a Japanese text and on code; the expansion comes first."""
    new = {"new_pieces": 11_176, "vocab": 43_176, "new_pieces_used": 321, "new_pieces_unused": 10_855}
    text = {"language": "ja", "origin": "held out <of> training", "documents": 9, "characters": 10_000, "bytes": 30_000}
    runs = [{"text": "雲雀", "tokens": 1, "new": True}, {"text": "鳴", "tokens": 3, "new": False}]
    return {
        "name": "made up",
        "reference": "none",
        "max_characters": 10_000_000,
        "tokenizers": [
            TOKENIZER | {"name": "16k", "most_useful": [PIECE], "longest": [PIECE], "unused": ["麦畑"]} | new,
            TOKENIZER | {"name": "none", "longest": [PIECE | {"text": "<|im_start|>"}]},
        ],
        "texts": [
            text | {"name": "corpus", "weight": 0.9, "measures": {"16k": EXPANDED, "none": MEASURES}},
            text
            | {"name": "code", "language": "code", "weight": None, "measures": {"16k": MEASURES, "none": MEASURES}},
        ],
        "without_documents": ["web-en"],
        "models": [
            {
                "name": "tiny",
                "context": 512,
                "tied": True,
                "tokenizers": {"16k": costs(660, -0.44), "none": costs(1200, 0)},
            }
        ],
        "sentences": [
            {
                "text": "corpus",
                "sentence": "雲雀鳴",
                "cuts": [{"tokenizers": ["16k", "none"], "runs": runs, "tokens": 4}],
            }
        ],
    }


def test_the_page_shows_the_figures_and_loads_nothing(facts: dict[str, Any]) -> None:
    page = Page(render(facts))
    for shown in (
        "16k : 45.0 % fewer tokens of Japanese (corpus); as many of Code",
        "−47.0 to −43.0 %",
        "1.100 to 1.300",
        "15.7 GFLOP",
        "−44.0 %",
        "The mixture",
        "Of web-en no document is held out",
        "16k, none: 4 tokens (1.33 per character)",
        "麦畑",
        "Every document decodes to its text under every tokenizer.",
    ):
        assert shown in page.text, shown
    assert "&lt;of&gt;" in page.html
    assert "&lt;|im_start|&gt;" in page.html
    assert not page.tags & {"script", "link", "img"}
    assert all(reference.startswith("#") for reference in page.references)
    assert len(page.ids) == len(set(page.ids))
    assert page.html == render(facts), "the same bytes again"


def test_a_broken_round_trip_is_not_overlooked(facts: dict[str, Any]) -> None:
    broken = deepcopy(facts)
    broken["texts"][0]["measures"]["16k"] |= {"lossy_documents": 3, "round_trip_failures": 2}
    text = Page(render(broken)).text
    assert "2 documents decode to something else than with the base tokenizer." in text
    lossy = deepcopy(facts)
    lossy["texts"][0]["measures"]["none"] |= {"lossy_documents": 3}
    text = Page(render(lossy)).text
    assert "or to what the base tokenizer makes of it" in text
    assert "Japanese (corpus) by none 3" in text


def test_a_comparison_without_models_or_sentences_is_a_page(facts: dict[str, Any]) -> None:
    thin = facts | {"models": [], "sentences": [], "without_documents": []}
    page = Page(render(thin))
    assert "What models save" not in page.text
    assert "Operations" not in markdown(thin)


def test_tables_have_a_row_per_text_and_tokenizer(facts: dict[str, Any]) -> None:
    rows = fertility_rows(facts)
    assert [tuple(row) for row in rows] == [FERTILITY] * 4
    assert list(rows[0].values()) == [
        "Japanese (corpus)", "16k", "0.660", "2.500", "−45.0\u00a0%", "−47.0 to −43.0\u00a0%",
        "40.0\u00a0%", "1.23\u00a0%",
    ]  # fmt: skip
    assert list(rows[1].values())[4:6] == ["", ""], "the reference is not compared with itself"
    rows = cost_rows(facts)
    assert [tuple(row) for row in rows] == [COSTS] * 6
    assert [row["text"] for row in rows[::2]] == ["Japanese (corpus)", "Code", "the mixture"]
    assert rows[0]["steps per 1,000 characters"] == "660 (−44.0\u00a0%)"
    assert "| Japanese (corpus) | 16k | 0.660 |" in markdown(facts)


def test_a_bar_in_a_piece_does_not_end_its_cell(facts: dict[str, Any]) -> None:
    facts["texts"][0]["origin"] = "a|b"
    assert "a\\|b" in markdown(facts)


def test_small_words() -> None:
    assert kind_of_text({"language": "ja", "name": "ja"}) == "Japanese"
    assert kind_of_text({"language": "code", "name": "code"}) == "Code"
    assert [flops(value) for value in (None, 950, 4.6e10, 1.2e13)] == [
        "–", "950\u00a0FLOP", "46\u00a0GFLOP", "12\u00a0TFLOP",
    ]  # fmt: skip
    assert bounds(None) == bounds({"value": 1, "low": None, "high": None}) == ""


def test_headlines_say_more_too(facts: dict[str, Any]) -> None:
    facts["texts"][1]["measures"]["16k"] = MEASURES | {"tokens_change": {"value": 0.111, "low": None, "high": None}}
    assert headlines(facts) == [
        {"tokenizer": "16k", "says": "45.0\u00a0% fewer tokens of Japanese (corpus); 11.1\u00a0% more tokens of Code"}
    ]
