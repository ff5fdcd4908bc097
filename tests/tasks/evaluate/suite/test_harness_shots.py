from __future__ import annotations

import random

import pytest

from tasks.evaluate.benchmark import Files, Item, Items
from tasks.evaluate.suite.harness_shots import draw_shots, from_evaluated, from_training, no_shots


def items(number: int, prefix: str = "") -> list[Item]:
    return [Item(f"{prefix}{index}", {"question": f"問{prefix}{index}"}, index % 3, "") for index in range(number)]


def ids(shots: dict[str, list[Item]]) -> dict[str, list[str]]:
    return {identity: [shot.id for shot in drawn] for identity, drawn in shots.items()}


def rule(evaluated: list[Item], num_shots: int, training: list[Item] | None) -> dict[str, list[str]]:
    """The rule of lm-evaluation-harness v0.3.0 once more, over indices instead of documents."""
    generator = random.Random(42)
    order = list(range(len(evaluated)))
    generator.shuffle(order)
    found = {}
    for index in order:
        if training is None:
            drawn = generator.sample(range(len(evaluated)), num_shots + 1)
            drawn = [other for other in drawn if other != index][:num_shots]
            found[evaluated[index].id] = [evaluated[other].id for other in drawn]
        else:
            found[evaluated[index].id] = [
                training[other].id for other in generator.sample(range(len(training)), num_shots)
            ]
    return found


@pytest.mark.parametrize(
    ("number", "of_training", "num_shots"), [(9, None, 8), (60, None, 4), (40, 25, 8), (250, 8, 4)]
)
def test_shots_are_drawn_by_the_rule_of_the_harness(number: int, of_training: int | None, num_shots: int) -> None:
    training = items(of_training, "t") if of_training else None

    assert ids(draw_shots(items(number), num_shots, training)) == rule(items(number), num_shots, training)


def test_draws_of_the_harness_itself() -> None:
    """What `Task.fewshot_context` of v0.3.0 gave for these documents, run once from its source."""
    assert ids(draw_shots(items(10), 2)) == {
        "0": ["1", "6"], "1": ["5", "9"], "2": ["3", "8"], "3": ["0", "1"], "4": ["3", "5"],
        "5": ["3", "7"], "6": ["0", "2"], "7": ["9", "6"], "8": ["3", "6"], "9": ["5", "4"],
    }  # fmt: skip
    assert ids(draw_shots(items(5), 2, items(6, "t"))) == {
        "0": ["t3", "t0"], "1": ["t1", "t0"], "2": ["t5", "t4"], "3": ["t1", "t5"], "4": ["t0", "t4"],
    }  # fmt: skip


def test_no_item_is_its_own_shot_nor_is_its_copy() -> None:
    """The harness leaves out what is equal, so an item that occurs twice may have a shot less."""
    twice = [*items(6), Item("copy", {"question": "問3"}, 0, "")]
    shots = draw_shots(twice, 5)

    assert not any(identity in drawn for identity, drawn in ids(shots).items())
    assert "copy" not in ids(shots)["3"]
    assert "3" not in ids(shots)["copy"]
    assert {len(drawn) for identity, drawn in shots.items() if identity not in ("3", "copy")} == {5}


def test_a_limit_changes_no_shot() -> None:
    evaluated = Items(items(30))
    every = from_evaluated(4)(evaluated, Files(()), None)
    some = from_evaluated(4)(evaluated, Files(()), [evaluated.items[17], evaluated.items[3]])

    assert list(some) == ["17", "3"]
    assert all(some[identity] == every[identity] for identity in some)


def test_shots_come_from_the_training_file_where_there_is_one() -> None:
    asked: list[Files] = []

    def read(files: Files) -> Items:
        asked.append(files)
        return Items(items(12, "t"))

    shots = from_training(read, 3)
    with_file = shots(Items(items(5)), Files(("test",), shots="train"), None)
    without = shots(Items(items(5)), Files(("test",)), None)

    assert asked == [Files(("train",))]
    assert all(shot.id.startswith("t") for drawn in with_file.values() for shot in drawn)
    assert all(shot.id in "01234" and shot.id != identity for identity, drawn in without.items() for shot in drawn)
    assert {len(drawn) for drawn in without.values()} == {3}


def test_rows_of_a_training_file_that_are_none_are_told(caplog: pytest.LogCaptureFixture) -> None:
    def read(files: Files) -> Items:
        return Items(items(12, "t"), ["train.jsonl:3: not JSON"])

    from_training(read, 3)(Items(items(5)), Files(("test",), shots="train.jsonl"), None)

    assert "train.jsonl: 1 rows are no examples" in caplog.text
    assert "train.jsonl:3: not JSON" in caplog.text


def test_a_set_smaller_than_the_draw_gives_what_it_has() -> None:
    assert ids(draw_shots(items(1), 8)) == {"0": []}
    assert {len(drawn) for drawn in draw_shots(items(3), 8).values()} == {2}
    assert {len(drawn) for drawn in draw_shots(items(3), 8, items(2, "t")).values()} == {2}
    assert no_shots(Items(items(2)), Files(()), None) == {"0": (), "1": ()}
