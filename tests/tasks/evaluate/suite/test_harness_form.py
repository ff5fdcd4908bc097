from __future__ import annotations

from typing import Any

import pytest

from tasks.evaluate.benchmark import Files, Form, Item, Items
from tasks.evaluate.suite.choices import ACCURACY, ask_choices, judge_choices
from tasks.evaluate.suite.harness_form import (
    CUT_LEFT,
    DRAWN,
    DRAWN_FROM_EVALUATED,
    NO_BOS,
    NOT_THE_TRAINING_SPLIT,
    TOKEN_LIMIT,
    harness_context,
    harness_form,
)

EVALUATED = Items([Item(str(number), {"query": f"問{number}", "choices": ["甲", "乙"]}, 0, "") for number in range(12)])
TRAINING = Items([Item(f"t{number}", {"query": f"例{number}", "choices": ["甲", "乙"]}, 1, "") for number in range(12)])


def form(**fields: Any) -> Form:
    def ask(item: Item, shots: Any) -> Any:
        return ask_choices(harness_context([], after=item.parts["query"]), item)

    return harness_form(ask=ask, judge=judge_choices, metrics=(ACCURACY,), **fields)


def test_the_prompt_has_empty_lines_between_no_bos_and_is_cut_at_the_left() -> None:
    context = harness_context(["一 1", "二 2"], before="三 ", passage="文", after=" 答")

    assert context.text == "一 1\n\n二 2\n\n三 文 答"
    assert (context.overlong, context.start) == ("left", False)


@pytest.mark.parametrize(
    ("fields", "quirks"),
    [
        ({"generates": False}, (DRAWN_FROM_EVALUATED, NO_BOS, CUT_LEFT)),
        ({"generates": True}, (DRAWN_FROM_EVALUATED, TOKEN_LIMIT, NO_BOS, CUT_LEFT)),
        (
            {"generates": True, "training": lambda files: TRAINING, "quirks": ("奇妙。",)},
            ("奇妙。", DRAWN, NOT_THE_TRAINING_SPLIT, TOKEN_LIMIT, NO_BOS, CUT_LEFT),
        ),
    ],
)
def test_the_harness_quirks_follow_those_of_the_task(fields: dict[str, Any], quirks: tuple[str, ...]) -> None:
    assert form(**fields).quirks == quirks


def test_shots_and_their_name_are_of_the_same_file() -> None:
    given, missing = Files((), shots="data/train.jsonl"), Files(())
    drawn, evaluated = form(generates=False, training=lambda files: TRAINING), form(generates=False, num_shots=2)
    assert drawn.shots_from is not None
    assert evaluated.shots_from is not None

    assert (drawn.num_shots, evaluated.num_shots) == (8, 2)
    assert all(shot.id.startswith("t") for shot in drawn.shots(EVALUATED, given, None)["3"])
    assert drawn.shots_from(given) == "train.jsonl"
    assert not any(shot.id.startswith("t") for shot in drawn.shots(EVALUATED, missing, None)["3"])
    assert not any(shot.id.startswith("t") for shot in evaluated.shots(EVALUATED, given, None)["3"])
    assert len(evaluated.shots(EVALUATED, given, None)["3"]) == 2
    assert drawn.shots_from(missing) == evaluated.shots_from(given) == "the evaluated items"
