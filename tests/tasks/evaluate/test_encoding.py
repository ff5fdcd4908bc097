from __future__ import annotations

from pathlib import Path

import pytest

from tasks.evaluate.encoding import fit, fit_all
from tasks.evaluate.requests import Context, Generate, LogLikelihood, Rolling
from tests.tasks.evaluate.characters import BOS, EOS, CharacterEncoder
from tokenizer.encoder import load_encoder

SHOTS = ("問：一\n答：二\n", "問：三\n答：四\n", "問：五\n答：六\n")  # eight characters each
LONG = Context(
    head="答えよ。\n",  # 5
    shots=SHOTS,  # 24
    before="文：",  # 2
    passage="雲雀が鳴く。空は青い。畑は広い。",  # 6 + 5 + 5
    after="\n問：何が鳴く\n答：",  # 10
)


def text_of(encoder: CharacterEncoder, ids: object) -> str:
    return encoder.decode(ids)  # type: ignore[arg-type]


@pytest.mark.parametrize("folder", ["byte_level_folder", "sentencepiece_folder"])
def test_a_pair_is_tokenised_as_the_harness_does(folder: str, request: pytest.FixtureRequest) -> None:
    """Space moves to the continuation; its ids are those of the whole text after as many as the context has."""
    encoder = load_encoder(request.getfixturevalue(folder))
    fitted = fit(encoder, LogLikelihood(Context(after="The ferry leaves the "), "harbour at noon"), 1024)
    context = encoder.encode("The ferry leaves the")
    whole = encoder.encode("The ferry leaves the harbour at noon")
    assert fitted.context == [*encoder.policy.prefix, *context]
    assert fitted.continuation == whole[len(context) :]
    assert encoder.decode([*context, *fitted.continuation]) == "The ferry leaves the harbour at noon"


def test_a_continuation_that_melts_into_the_context_is_encoded_by_itself() -> None:
    class Melting(CharacterEncoder):
        def encode(self, text: str) -> list[int]:
            return super().encode(text.replace("雲雀", "鶯"))

    encoder = Melting()
    fitted = fit(encoder, LogLikelihood(Context(after="雲", start=False), "雀"), 64)
    assert text_of(encoder, fitted.context) == "雲"
    assert text_of(encoder, fitted.continuation) == "雀"


@pytest.mark.parametrize(("bos", "start", "expected"), [(True, True, [BOS]), (False, True, []), (True, False, [])])
def test_the_document_prefix_precedes_where_there_is_one(bos: bool, start: bool, expected: list[int]) -> None:
    encoder = CharacterEncoder(bos=bos)
    fitted = fit(encoder, Generate(Context(after="空", start=start), max_tokens=4), 64)
    assert fitted.context == [*expected, *encoder.encode("空")]


@pytest.mark.parametrize(("bos", "expected"), [(True, [BOS]), (False, [EOS])])
def test_an_empty_context_is_what_precedes_a_document(bos: bool, expected: list[int]) -> None:
    encoder = CharacterEncoder(bos=bos)
    assert fit(encoder, Generate(Context(after=""), max_tokens=4), 64).context == expected
    assert fit(encoder, LogLikelihood(Context(after=" "), "空"), 64).context == expected
    assert fit(encoder, LogLikelihood(Context(after="", start=False), "空"), 64).context == [EOS]
    rolled = fit(encoder, Rolling("空は青い"), 2)
    assert rolled.context == expected
    assert text_of(encoder, rolled.continuation) == "空は青い"


def test_what_fits_is_left_alone() -> None:
    encoder = CharacterEncoder()
    fitted = fit(encoder, Generate(LONG, max_tokens=10), 1 + len(LONG.text) + 10)
    assert text_of(encoder, fitted.context) == LONG.text
    assert (fitted.shots_dropped, fitted.characters_cut, fitted.ids_cut) == (0, 0, 0)


@pytest.mark.parametrize(
    ("room", "left", "counts"),
    [
        (56, LONG.text.replace(SHOTS[0], ""), (1, 0, 0)),
        (48, LONG.text.replace("".join(SHOTS[:2]), ""), (2, 0, 0)),
        (40, LONG.text.replace("".join(SHOTS), ""), (3, 0, 0)),
        (32, "答えよ。\n文：雲雀が鳴く。空は青い。\n問：何が鳴く\n答：", (3, 5, 0)),
        (28, "答えよ。\n文：雲雀が鳴く。空は青い。\n問：何が鳴く\n答：", (3, 5, 0)),
        (27, "答えよ。\n文：雲雀が鳴く。\n問：何が鳴く\n答：", (3, 10, 0)),
        (20, "答えよ。\n文：雲雀が\n問：何が鳴く\n答：", (3, 13, 0)),
        (17, "答えよ。\n文：\n問：何が鳴く\n答：", (3, 16, 0)),
        (16, "答えよ。\n：\n問：何が鳴く\n答：", (3, 16, 1)),
        (13, "答えよ\n問：何が鳴く\n答：", (3, 16, 4)),
        (10, "\n問：何が鳴く\n答：", (3, 16, 7)),
    ],
)
def test_shots_go_first_then_the_passage_and_never_the_question(
    room: int, left: str, counts: tuple[int, int, int]
) -> None:
    encoder = CharacterEncoder()
    assert len(LONG.text) == 57
    fitted = fit(encoder, Generate(LONG, max_tokens=10), 1 + room + 10)
    assert text_of(encoder, fitted.context) == left
    assert fitted.context[0] == BOS
    assert (fitted.shots_dropped, fitted.characters_cut, fitted.ids_cut) == counts


def test_on_the_left_ids_go_but_not_the_document_prefix() -> None:
    encoder = CharacterEncoder()
    context = Context(head="あいうえお", shots=("かきくけこ",), after="さしすせそ", overlong="left")
    fitted = fit(encoder, Generate(context, max_tokens=3), 1 + 7 + 3)
    assert text_of(encoder, fitted.context) == "けこさしすせそ"
    assert fitted.context[0] == BOS
    assert (fitted.shots_dropped, fitted.characters_cut, fitted.ids_cut) == (0, 0, 8)


def test_choices_of_one_context_are_cut_alike_for_the_longest() -> None:
    """Else a long choice would be judged after fewer shots than a short one."""
    encoder = CharacterEncoder()
    requests = [LogLikelihood(LONG, choice) for choice in ("畑", "雲雀が鳴く畑の上", "空")]
    fitted = fit_all(encoder, requests, 1 + 50 + 8)
    assert {text_of(encoder, each.context) for each in fitted} == {LONG.text.replace(SHOTS[0], "")}
    assert [text_of(encoder, each.continuation) for each in fitted] == ["畑", "雲雀が鳴く畑の上", "空"]
    assert all(each.num_tokens <= 59 for each in fitted)


def test_choices_cut_on_the_left_are_cut_each_by_itself() -> None:
    encoder = CharacterEncoder()
    context = Context(after="あいうえお", overlong="left", start=False)
    short, long = fit_all(encoder, [LogLikelihood(context, "か"), LogLikelihood(context, "かきく")], 6)
    assert (text_of(encoder, short.context), short.ids_cut) == ("あいうえお", 0)
    assert (text_of(encoder, long.context), long.ids_cut) == ("うえお", 2)


@pytest.mark.parametrize(
    ("request_", "max_length"),
    [
        (Generate(Context(after="あいうえお"), max_tokens=3), 8),
        (Generate(Context(after="あ"), max_tokens=8), 8),
        (LogLikelihood(Context(after="あ"), "いろはにほへとち"), 8),
        (LogLikelihood(Context(after="あいうえお", overlong="left"), "いろはにほへとち"), 8),
    ],
)
def test_a_question_or_answer_that_does_not_fit_alone_is_an_error(
    request_: Generate | LogLikelihood, max_length: int
) -> None:
    with pytest.raises(ValueError, match="does not fit into the model") as raised:
        fit(CharacterEncoder(), request_, max_length)
    assert "of 8 tokens" in str(raised.value)
    assert "あ" in str(raised.value)


def test_an_empty_continuation_is_an_error() -> None:
    with pytest.raises(ValueError, match="is empty"):
        fit(CharacterEncoder(), LogLikelihood(Context(after="空"), ""), 64)


def test_room_for_an_answer_in_characters_is_bounded() -> None:
    """Two ids a character, but no more than a quarter of what the model reads."""
    encoder = CharacterEncoder()
    context = Context(after="空" * 70, overlong="left", start=False)
    assert fit(encoder, Generate(context, max_characters=10), 90).ids_cut == 0
    assert fit(encoder, Generate(context, max_characters=10), 89).ids_cut == 1
    assert fit(encoder, Generate(context, max_characters=1000), 92).ids_cut == 70 - 69


def test_a_shared_context_is_encoded_once() -> None:
    encoder = CharacterEncoder()
    fit_all(encoder, [LogLikelihood(LONG, choice) for choice in ("一", "二", "三", "四")], 1024)
    assert encoder.encoded == 5


def test_texts_of_a_real_tokenizer_are_cut_to_fit(byte_level_folder: Path) -> None:
    encoder = load_encoder(byte_level_folder)
    for room in range(40, 160, 7):
        fitted = fit(encoder, Generate(LONG, max_tokens=8), room)
        assert fitted.num_tokens + 8 <= room
        assert encoder.decode(fitted.context).endswith(LONG.after)
