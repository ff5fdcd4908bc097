from __future__ import annotations

import pytest
import sacrebleu

from tasks.evaluate.metrics.chrf import SENTENCE_CHRF, sentence_chrf


def test_chrf_is_sacrebleu_s() -> None:
    expected = sacrebleu.sentence_chrf("雲雀が高く鳴く。", ["雲雀が鳴いている。"]).score
    assert sentence_chrf("雲雀が高く鳴く。", "雲雀が鳴いている。") == pytest.approx(expected / 100)
    assert sentence_chrf("\ud800", "雲") == 0.0


def test_a_text_without_characters_or_with_half_of_one_shares_nothing() -> None:
    assert sentence_chrf("", "雲雀") == 0.0
    assert sentence_chrf("雲雀が鳴く。", "雲雀が鳴く。") == pytest.approx(1.0)


def test_the_metric_is_the_mean_over_sentences() -> None:
    rows = [{"columns": {"chrf": value}} for value in (0.25, 0.75)]

    assert (SENTENCE_CHRF.of(rows), SENTENCE_CHRF.per_example) == (0.5, True)
