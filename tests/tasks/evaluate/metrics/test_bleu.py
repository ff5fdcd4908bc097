from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from tasks.evaluate.metrics.bleu import BLEU, COLUMNS, Tokenize, bleu_columns, words

TOKENIZERS: tuple[Tokenize, ...] = get_args(Tokenize)


def bleu(*pairs: tuple[str, str], tokenize: Tokenize = "ja-mecab") -> float:
    return BLEU.of([{"columns": bleu_columns(ours, reference, tokenize)} for ours, reference in pairs])


def test_each_way_of_cutting() -> None:
    text = "1989年にＡＢＣ 放送が、「始まった」。"
    assert words(text, "13a") == ["1989年にＡＢＣ", "放送が、「始まった」。"]
    assert " ".join(words(text, "ja-mecab")) == "1989 年 に ＡＢＣ 放送 が 、 「 始まっ た 」 。"
    assert " ".join(words(text, "nagisa-13a")) == "1 9 8 9 年 に ABC 放送 が 、 「 始まっ た 」 。"
    assert words("空が 青い\n", "char") == list("空が青い")
    assert words("It's $5.50, isn't it?", "13a") == ["It's", "$", "5.50", ",", "isn't", "it", "?"]


def test_counts_and_score_by_hand() -> None:
    pair = ("猫が好きです", "猫は好きです")  # 猫 が 好き です, 猫 は 好き です
    columns = bleu_columns(*pair, "ja-mecab")
    assert list(columns) == list(COLUMNS)
    assert list(columns.values()) == [3, 1, 0, 0, 4, 3, 2, 1, 4, 4]
    # 3/4, 1/3, and for the two orders without a match 1/(2 * 2) and 1/(4 * 1)
    assert bleu(pair) == pytest.approx((3 / 4 * 1 / 3 * 1 / 4 * 1 / 4) ** 0.25)


def test_short_hypotheses_are_penalised_by_the_sums_of_lengths() -> None:
    pair = ("あいうえお", "あいうえおかき")
    assert bleu(pair, tokenize="char") == pytest.approx(np.exp(1 - 7 / 5))
    longer = ("さしすせそたちつ", "さしすせそたちつ")
    assert bleu(pair, longer, tokenize="char") == pytest.approx(np.exp(1 - 15 / 13))
    assert bleu(pair, ("さしすせそたちつてと", "さしすせそたちつ"), tokenize="char") == pytest.approx(
        (13 / 15 * 11 / 13 * 9 / 11 * 7 / 9) ** 0.25
    )


def test_a_repeated_word_matches_no_more_often_than_it_stands_in_the_reference() -> None:
    columns = bleu_columns("ねねねね", "ねこ", "char")
    assert (columns["bleu_correct_1"], columns["bleu_total_1"]) == (1, 4)


def test_nothing_in_common_and_nothing_at_all_are_zero() -> None:
    assert bleu(("雨が降る日", "空は青い"), tokenize="char") == 0.0
    assert bleu(("", "空は青い")) == 0.0
    assert bleu(("", "")) == 0.0
    assert bleu(("空は青い", "")) == 0.0
    assert bleu(("東京", "東京")) == 0.0  # no hypothesis has four words; an order without n-grams has precision 0
    assert bleu(("東京", "東京"), ("あいうえ", "あいうえ"), tokenize="char") == 1.0
    assert BLEU.of([]) == 0.0


@pytest.mark.parametrize("tokenize", TOKENIZERS)
def test_a_text_equals_itself(tokenize: Tokenize) -> None:
    text = "the ferry leaves the harbour" if tokenize == "13a" else "朝の畑で雲雀が高く鳴いていた。"
    assert bleu((text, text), tokenize=tokenize) == pytest.approx(1.0)


@pytest.mark.parametrize("tokenize", TOKENIZERS)
@pytest.mark.parametrize("text", ["", " \n\u3000", "\x00", "朝\x00の畑", "\ud83d朝の畑\udc00", "İ", "<skipped>&amp;"])
def test_any_text_is_counted(text: str, tokenize: Tokenize) -> None:
    columns = bleu_columns(text, text, tokenize)
    assert columns["bleu_hypothesis"] == columns["bleu_reference"] == columns["bleu_correct_1"]
    assert "畑" not in text or "畑" in "".join(words(text, tokenize))  # nothing is cut off at a NUL


@pytest.mark.parametrize("tokenize", ["13a", "ja-mecab"])
def test_long_texts_are_counted(tokenize: Tokenize) -> None:
    text = "朝の畑で雲雀が高く鳴いていた。" * 2_300  # 103 kB
    assert bleu((text, text), tokenize=tokenize) == pytest.approx(0.0 if tokenize == "13a" else 1.0)


def test_a_resample_is_the_score_of_the_resampled_list() -> None:
    texts = ["空は青い。", "空が青かった。", "海は広いな大きいな。", "山", "", "川の水は冷たい。", "海は広い。"]
    rows = [{"columns": bleu_columns(ours, reference, "char")} for ours in texts for reference in texts]
    generator = np.random.default_rng(5)
    drawn = generator.integers(0, len(rows), (30, len(rows)))
    drawn[0] = texts.index("山") * len(texts)  # all of them without a bigram
    weights = np.stack([np.bincount(row, minlength=len(rows)) for row in drawn]).astype(float)
    values = BLEU.of_sums(weights @ BLEU.matrix(rows))
    assert values.shape == (30,)
    assert values == pytest.approx([BLEU.of([rows[i] for i in row]) for row in drawn], abs=1e-12)
    assert np.isfinite(values).all()
    assert len(set(values.tolist())) > 20
