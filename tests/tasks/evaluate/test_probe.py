from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tasks.evaluate.model import Choices, LanguageModel
from tasks.evaluate.probe import Question, load_probe, plan_questions, probe_digest, render, score_questions
from tasks.evaluate.scored_tasks import scored_task
from tokenizer.encoder import load_encoder

QUESTIONS = load_probe()
JAPANESE_LETTER = re.compile("[\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff]")


class FixedModel:
    """Gives the log-likelihoods it was made with."""

    def __init__(self, values: list[list[float]]) -> None:
        self._values = values

    def choice_log_likelihoods(self, items: Sequence[Choices], **_: Any) -> list[list[float]]:
        return self._values


def _question(choices: tuple[str, str, str, str], answer: int, **fields: Any) -> Question:
    defaults = {"id": "x-1", "language": "en", "category": "science", "form": "cloze", "question": "Grass is"}
    return Question(**(defaults | fields), choices=choices, answer=answer)


def test_there_are_enough_questions_of_each_language() -> None:
    assert Counter(question.language for question in QUESTIONS) == {"ja": 72, "en": 48}
    for language in ("ja", "en"):
        categories = Counter(question.category for question in QUESTIONS if question.language == language)
        assert len(categories) == 8
        assert min(categories.values()) >= 6


@pytest.mark.parametrize("language", ["ja", "en"])
def test_no_answer_position_is_preferred(language: str) -> None:
    positions = Counter(question.answer for question in QUESTIONS if question.language == language)
    assert len(set(positions.values())) == 1
    assert sorted(positions) == [0, 1, 2, 3]


def test_no_question_is_there_twice() -> None:
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS)
    assert len({question.question for question in QUESTIONS}) == len(QUESTIONS)


def test_a_changed_probe_set_comes_with_a_new_version() -> None:
    """Scores of different questions must not share a name: raise the version of the task, and the stage's."""
    assert (scored_task("hibari_probe", "strict").version, probe_digest()[:16]) == (1, "64e9d8019f286eab")


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.id)
def test_a_question_is_well_formed(question: Question) -> None:
    assert question.id.startswith(f"{question.language}-{question.category}-")
    assert len(set(question.choices)) == 4
    assert all(text == text.strip() for text in (question.question, *question.choices))
    lengths = [len(choice.encode()) for choice in question.choices]
    assert max(lengths) <= 3 * min(lengths), "a choice's length gives it away"
    if question.language == "ja":
        assert JAPANESE_LETTER.search(question.question)
    else:
        assert not JAPANESE_LETTER.search(question.question + "".join(question.choices))
    if question.form == "cloze":  # the choice ends the sentence; a prompt that ended one would not be a cloze
        assert question.question[-1] not in "。?？."
        assert all(choice[-1] in "。.!" for choice in question.choices)
    else:
        assert question.question[-1] in "。?"


def test_prompts_by_hand() -> None:
    choices = ("緑", "青", "赤", "白")
    japanese = _question(choices, 0, language="ja", form="question", question="草の色は何ですか。")
    assert render(japanese) == ("質問：草の色は何ですか。\n答え：", list(choices))
    cloze = _question(("green.", "blue.", "red.", "white."), 0)
    assert render(cloze) == ("Grass is", [" green.", " blue.", " red.", " white."])
    asked = _question(("green", "blue", "red", "white"), 0, form="question", question="What colour is grass?")
    assert render(asked)[0] == "Question: What colour is grass?\nAnswer:"


@pytest.mark.parametrize("folder", ["byte_level_folder", "sentencepiece_folder"])
def test_prefix_and_rest_are_the_tokens_of_the_whole_text(folder: str, request: pytest.FixtureRequest) -> None:
    encoder = load_encoder(request.getfixturevalue(folder))
    for plan in plan_questions(encoder, QUESTIONS):
        for text, rest in zip(plan.continuations, plan.rest, strict=True):
            assert [*plan.prefix[1:], *rest] == encoder.encode(plan.prompt + text)


def test_a_token_across_the_boundary_is_scored_for_every_choice(byte_level_folder: Path) -> None:
    """One choice merges with the prompt's end (雲 + 雀): all four are scored from before that token."""
    encoder = load_encoder(byte_level_folder)
    question = _question(("鳴く。", "歩く。", "泳ぐ。", "眠る。"), 0, language="ja", question="朝の畑で雲")
    whole = [encoder.encode("朝の畑で雲" + choice) for choice in question.choices]
    merged = question.model_copy(update={"choices": ("雀が鳴く。", *question.choices[1:])})
    plan = plan_questions(encoder, [merged])[0]
    prompt = encoder.encode("朝の畑で雲")
    assert encoder.encode("朝の畑で雲雀が鳴く。")[: len(prompt)] != prompt, "the tokenizer does not merge here"
    assert len(plan.prefix) - 1 < len(prompt)
    for rest, ids in zip(plan.rest[1:], whole[1:], strict=True):
        assert [*plan.prefix[1:], *rest] == ids


def test_accuracy_and_margin_by_hand(byte_level_folder: Path) -> None:
    encoder = load_encoder(byte_level_folder)
    question = _question(("aaa", "bbbbbbb", "ccc", "ddd"), 1)  # with their space: 4, 8, 4 and 4 bytes
    bit = math.log(2)
    values = [-8 * bit, -12 * bit, -16 * bit, -20 * bit]  # -2, -1.5, -4, -5 bits per byte
    model = cast(LanguageModel, FixedModel([values]))
    row = score_questions(model, plan_questions(encoder, [question]), batch_size=1)[0]
    assert (row["predicted"], row["score"]) == (0, 0)  # the short choice has the highest sum
    assert (row["predicted_per_byte"], row["score_per_byte"]) == (1, 1)
    assert row["margin"] == pytest.approx(0.5)
    assert (row["output"], row["normalised_output"]) == (" aaa", "aaa")
    assert row["bytes"] == [4, 8, 4, 4]


def test_the_margin_is_negative_where_a_wrong_choice_is_better(byte_level_folder: Path) -> None:
    question = _question(("aaa", "bbb", "ccc", "ddd"), 2)
    values = [-4 * math.log(2) * n for n in (3, 2, 2.5, 9)]
    model = cast(LanguageModel, FixedModel([values]))
    row = score_questions(model, plan_questions(load_encoder(byte_level_folder), [question]), batch_size=1)[0]
    assert row["margin"] == pytest.approx(-0.5)
    assert (row["score"], row["score_per_byte"]) == (0, 0)


def test_a_log_likelihood_that_is_not_finite_names_the_question(byte_level_folder: Path) -> None:
    plans = plan_questions(load_encoder(byte_level_folder), [_question(("a", "b", "c", "d"), 2)])
    with pytest.raises(ValueError, match=r"x-1.*not all finite"):
        score_questions(cast(LanguageModel, FixedModel([[0.0, math.nan, 0.0, 0.0]])), plans, batch_size=1)


@pytest.mark.parametrize("batch_size", [1, 5, 32])
def test_scores_do_not_depend_on_batches_or_order(byte_level_folder: Path, batch_size: int) -> None:
    model = LanguageModel.load(byte_level_folder, device="cpu")
    plans = plan_questions(load_encoder(byte_level_folder), QUESTIONS[::6])
    expected = score_questions(model, plans, batch_size=3)
    rows = score_questions(model, plans[::-1], batch_size=batch_size)[::-1]
    for row, other in zip(rows, expected, strict=True):
        assert row["log_likelihoods"] == pytest.approx(other["log_likelihoods"], abs=1e-4)
        assert row["predicted"] == other["predicted"]


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    good = QUESTIONS[0].model_dump(mode="json")
    path = tmp_path / "probe.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | {"answer": 4}) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"probe.jsonl, line 2"):
        load_probe(path)
    path.write_text((json.dumps(good) + "\n") * 2, encoding="utf-8")
    with pytest.raises(ValueError, match="used twice"):
        load_probe(path)
