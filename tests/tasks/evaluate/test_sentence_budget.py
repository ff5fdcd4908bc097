from __future__ import annotations

from pathlib import Path

import pytest

from tasks.evaluate.encoding import fit
from tasks.evaluate.requests import Context, Generate, LogLikelihood
from tasks.evaluate.sentence_budget import cut_articles
from tests.tasks.evaluate.suite.suite_cases import CHARACTERS
from tokenizer.encoder import load_encoder

CONTEXT = Context(
    head="短く。\n\n",
    shots=("記事:港に船が着いた。荷を下ろした。\n要約:船が着いた。\n\n",),
    before="記事:",
    passage="雲雀が戻った。春が来た。花が咲いた。",
    after="\n要約:",
    overlong="sentences",
    start=False,
    reference="春。",
)  # 5 + 30 + 25 = 60 characters


def test_a_prompt_that_fits_beside_its_reference_stays() -> None:
    assert len(CONTEXT.text) == 60
    assert cut_articles(CONTEXT, CHARACTERS, max_length=60 + 2 + 10) == CONTEXT.text


def test_every_article_gets_the_same_share_and_ends_with_a_sentence() -> None:
    """Labels and line breaks count: 33 / 2 = 16 each hold one sentence of the shot (11 with its full stop, 17 with the
    next) and two of the article (15, then 20)."""
    assert cut_articles(CONTEXT, CHARACTERS, max_length=33 + 2 + 10) == (
        "短く。\n\n記事:港に船が着いた。\n要約:船が着いた。\n\n記事:雲雀が戻った。春が来た。\n要約:"
    )


def test_summaries_do_not_count_so_a_prompt_that_is_too_long_may_stay() -> None:
    """59 / 2 = 29 each, and the articles have 19 and 22: nothing is cut, and ids will go at the left."""
    assert cut_articles(CONTEXT, CHARACTERS, max_length=59 + 2 + 10) == CONTEXT.text


def test_a_first_sentence_that_does_not_fit_is_cut_in_the_middle() -> None:
    assert cut_articles(CONTEXT, CHARACTERS, max_length=10 + 2 + 10) == (
        "短く。\n\n記事:港に\n要約:船が着いた。\n\n記事:雲雀\n要約:"
    )


def test_the_reference_decides_how_much_is_cut() -> None:
    longer = Context(**{**vars(CONTEXT), "reference": "春" * 30})

    assert len(cut_articles(longer, CHARACTERS, 70)) < len(cut_articles(CONTEXT, CHARACTERS, 70))


def test_generating_takes_its_room_at_the_left(byte_level_folder: Path) -> None:
    """What is left of the articles keeps its end, the label; the instruction goes first."""
    encoder = load_encoder(str(byte_level_folder))
    whole = fit(encoder, Generate(CONTEXT, max_tokens=8), max_length=400)
    ids = encoder.encode(CONTEXT.text)
    assert (list(whole.context), whole.characters_cut, whole.ids_cut) == (ids, 0, 0)

    cut = fit(encoder, Generate(CONTEXT, max_tokens=40), max_length=80)

    text = encoder.decode(cut.context)
    assert len(cut.context) == 80 - 40
    assert cut.characters_cut > 0
    assert cut.ids_cut > 0
    assert text.endswith("\n要約:")
    assert "短く" not in text


def test_without_bos_an_empty_context_is_the_end_of_texts(sentencepiece_folder: Path) -> None:
    """The harnesses put `eot_token_id` before a text that is scored as a whole, even of models that have a BOS."""
    encoder = load_encoder(str(sentencepiece_folder))
    bare = fit(encoder, LogLikelihood(Context(after="", overlong="left", start=False), "雲雀"), 64)
    started = fit(encoder, LogLikelihood(Context(after=""), "雲雀"), 64)

    assert list(bare.context) == [encoder.eos_id] == [2]
    assert list(started.context) == [encoder.bos_id] == [1]
    assert pytest.approx(len(bare.continuation)) == len(started.continuation)
