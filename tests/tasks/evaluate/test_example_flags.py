from __future__ import annotations

import pytest

from tasks.evaluate.benchmark import Judgement
from tasks.evaluate.example_flags import example_flags, is_other_language, loops
from tasks.evaluate.requests import Context, Fitted, Generate, Generated, LogLikelihood, Scored

CONTEXT = Context(
    head="次の質問に答えてください。\n\n",
    shots=("質問：雲雀が鳴くのはどの季節ですか。\n答え：春のはじめ\n\n",),
    before="文章：",
    passage="港の市場では、漁師が今朝とれた魚を並べて売っている。\n",
    after="質問：市場で魚を売っているのは誰ですか。\n答え：",
)


def _flags(
    output: str, gold: str = "漁師たち", own: tuple[str, ...] = (), max_tokens: int | None = None, **fields: object
) -> tuple[str, ...]:
    ended_by = fields.pop("ended_by", "stop")
    judged = Judgement(output, output, gold, {}, flags=own)
    fitted = Fitted(Generate(CONTEXT, max_tokens=max_tokens), [1], **fields)  # type: ignore[arg-type]
    return example_flags(judged, [fitted], [Generated(output, 5, ended_by)])  # type: ignore[arg-type]


def test_an_ordinary_answer_has_no_flags() -> None:
    assert _flags("港の漁師") == ()
    assert _flags("漁師が今朝とれた魚を並べて売っている") == (), "what stands in the passage may be the answer"


@pytest.mark.parametrize(
    ("output", "flag"),
    [
        ("", "empty_output"),
        (" \n", "empty_output"),
        ("はいはいはいはいはい", "loop"),
        ("the fisherman", "wrong_language"),
        ("春のはじめ", "copied_shot"),
        ("市場で魚を売っているのは誰ですか。", "copied_prompt"),
        ("次の質問に答えてください。", "copied_prompt"),
    ],
)
def test_what_is_odd_about_an_answer(output: str, flag: str) -> None:
    assert _flags(output) == (flag,)


def test_the_right_answer_is_no_copy() -> None:
    assert _flags("春のはじめ", gold="春のはじめ") == ()
    assert _flags("はじめ", gold="漁師") == (), "shorter than chance"


def test_a_part_of_a_shots_answer_is_no_copy() -> None:
    """鳴くのはどの… ends with the text, but as part of a longer word."""
    context = Context(after="", shots=("答え：富士山麓一帯\n",))
    judged = Judgement("山麓一帯", "山麓一帯", "湖", {})
    assert example_flags(judged, [Fitted(Generate(context), [1])], [Generated("山麓一帯", 3, "stop")]) == ()


def test_limits_count_where_an_answer_could_be_shorter() -> None:
    assert _flags("漁師で", ended_by="tokens", max_tokens=15) == ("token_limit",)
    assert _flags("漁", ended_by="tokens", max_tokens=1) == (), "a label is meant to end there"
    assert _flags("漁師で", ended_by="characters") == ("character_limit",)
    assert _flags("漁師で", ended_by="end_of_text") == ()


def test_what_did_not_fit() -> None:
    found = _flags("漁師", shots_dropped=2, characters_cut=40, ids_cut=7)
    assert found == ("shots_dropped", "passage_cut", "prompt_cut")


def test_the_forms_own_flags_come_first_and_once() -> None:
    assert _flags("", own=("tied", "empty_output", "unparsable")) == ("tied", "empty_output", "unparsable")


def test_choices_by_log_likelihood_have_prompts_only() -> None:
    judged = Judgement("a boat", "a boat", "船", {}, predicted="0")
    fitted = [Fitted(LogLikelihood(CONTEXT, choice), [1], [2], shots_dropped=1) for choice in ("a boat", "船")]
    assert example_flags(judged, fitted, [Scored(-1.0, True, 1), Scored(-2.0, False, 1)]) == ("shots_dropped",)


@pytest.mark.parametrize(
    "text",
    [
        "ああああああああ",
        "それは猫です。それは猫です。それは猫です。それは猫です。",
        "答えは次のとおり。わかりません、わかりません、わかりません、わかりません、わか",  # cut within a round
        "".join(f"{number}番目の人が同じ列に並んでいます。" for number in (1, 2, 3, 4, 5, 6, 7, 8)),
    ],
)
def test_texts_that_go_round_in_circles(text: str) -> None:
    assert loops(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "はい、はい",
        "100000000000",  # a number
        "ははは、と祖母は縁側で笑った。",
        "雨の日は図書館で古い地図を眺めるのが楽しみです。晴れの日は港まで歩き、漁師が並べた魚を見てから、市場のそばの店で温かい"
        "お茶を飲みます。夕方には川沿いの道を通って家へ帰り、その日に見た鳥の名前を小さな手帳に書いておきます。",
    ],
)
def test_texts_that_do_not(text: str) -> None:
    assert not loops(text)


@pytest.mark.parametrize(
    ("output", "gold", "other"),
    [
        ("Tokyo", "東京", True),
        ("東京 (Tokyo)", "東京", False),
        ("1945", "1945年", False),  # digits belong to no language
        ("NHK", "NHK", False),
        ("東京", "Tokyo", True),  # of a translation into English
        ("東京 Tower", "Tokyo Tower", False),
        ("ｶﾀｶﾅ", "カタカナ", False),
        ("", "東京", False),
        ("だいたい18個です", "18", False),
    ],
)
def test_the_language_of_an_answer_is_that_of_the_right_one(output: str, gold: str, other: bool) -> None:
    assert is_other_language(output, gold) is other
