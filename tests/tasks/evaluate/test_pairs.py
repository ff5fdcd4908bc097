from __future__ import annotations

from typing import Any

import pytest

from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.pairs import Answered, Compared, compare_models
from tests.tasks.evaluate.made_up_scores import SUITE, class_rows, rows

CONFIG = EvaluateConfig(resamples=500)
THEIRS = [1.0] * 5 + [0.0] * 25
OURS = [1.0] * 20 + [0.0] * 10


def _compare(theirs: Any, ours: Any, **versions: Any) -> Compared:
    models = Answered("old", theirs, versions.get("old", {})), Answered("new", ours, versions.get("new", {}))
    return compare_models(*models, CONFIG, seed=3, benchmarks=SUITE)


def _why(theirs: Any, ours: Any, **versions: Any) -> str:
    found = _compare(theirs, ours, **versions)
    assert found.rows == []
    (refused,) = found.refused
    return str(refused["why"])


def test_two_models_side_by_side() -> None:
    found = _compare({"jsquad-strict": rows(THEIRS)}, {"jsquad-strict": rows(OURS)})
    row = found.rows[0]
    assert (row["reference_value"], row["value"], row["difference"]) == (pytest.approx(1 / 6, abs=1e-6), 0.666667, 0.5)
    assert (row["wins"], row["losses"], row["ties"], row["n"]) == (15, 0, 15, 30)
    assert row["p_mcnemar"] == row["p_holm"] == pytest.approx(2 / 2**15, rel=1e-5)
    assert row["verdict"] == "better"
    assert row["mde_unpaired"] == pytest.approx(2.801585 * (2 * 5 / 36 / 30) ** 0.5, abs=1e-5)
    back = _compare({"jsquad-strict": rows(OURS)}, {"jsquad-strict": rows(THEIRS)}).rows[0]
    assert (back["difference"], back["verdict"], back["p_holm"]) == (-0.5, "worse", row["p_holm"])
    assert found.refused == []


def test_items_are_paired_by_id_not_by_place() -> None:
    straight = _compare({"jsquad-strict": rows(THEIRS)}, {"jsquad-strict": rows(OURS)})
    assert _compare({"jsquad-strict": rows(THEIRS)}, {"jsquad-strict": rows(OURS)[::-1]}).rows == straight.rows


def test_fewer_bits_are_better() -> None:
    def documents(bits: float) -> list[dict[str, Any]]:
        return [
            {"id": str(n), "prompt_hash": str(n), "language": "ja", "bits": bits + n, "bytes": 100} for n in range(40)
        ]

    (row,) = _compare({"bits_per_byte": documents(200)}, {"bits_per_byte": documents(180)}).rows
    assert (row["difference"], row["verdict"], row["wins"]) == (-0.2, "better", None)


def test_a_difference_that_chance_makes_has_no_verdict() -> None:
    row = _compare({"jsquad-strict": rows([1.0, 0.0] * 10)}, {"jsquad-strict": rows([0.0, 1.0] * 9 + [1.0] * 2)}).rows[
        0
    ]
    assert row["difference"] > 0
    assert row["verdict"] == ""


def test_averages_are_over_what_could_be_compared() -> None:
    tasks = {"jsquad-strict": rows(THEIRS), "niilc-strict": rows(THEIRS)}
    found = _compare(tasks, {"jsquad-strict": rows(OURS), "niilc-strict": rows(OURS)[:10]})
    average = next(row for row in found.rows if row["task"] == "average" and row["category"] is None)
    assert (average["tasks"], average["difference"], average["verdict"]) == (["jsquad"], 0.5, "better")
    assert "niilc" in average["missing"]
    assert [row["task"] for row in found.refused] == ["niilc"]


def test_holm_counts_what_was_compared() -> None:
    tasks = ("jsquad-strict", "niilc-strict", "gsm8k-strict")
    found = _compare({task: rows(THEIRS) for task in tasks}, {task: rows(OURS) for task in tasks})
    headlines = [row for row in found.rows if row["headline"] and row["task"] != "average"]
    assert [row["p_holm"] for row in headlines] == [pytest.approx(3 * 2 / 2**15, rel=1e-5)] * 3
    assert [row["p_holm"] for row in found.rows if not row["headline"]] == [None], "a further metric is no further task"


def test_other_limits_are_refused() -> None:
    said = _why({"jsquad-strict": rows(THEIRS)}, {"jsquad-strict": rows(OURS)[:12]})
    assert said == "old was asked 30 items, new 12, the fewer among the more: evaluate both with the same limit"


def test_other_items_are_refused() -> None:
    renamed = [{**row, "id": f"other-{row['id']}"} if number < 10 else row for number, row in enumerate(rows(OURS))]
    said = _why({"jsquad-strict": rows(THEIRS)}, {"jsquad-strict": renamed})
    assert said == "10 items are of old alone, 10 of new, 20 of both: other files"


def test_other_prompts_are_refused() -> None:
    changed = [{**row, "prompt_hash": "x"} if number < 3 else row for number, row in enumerate(rows(OURS))]
    assert _why({"jsquad-strict": rows(THEIRS)}, {"jsquad-strict": changed}).startswith("3 of 30 prompts differ")


def test_other_versions_are_refused() -> None:
    pair = {"jsquad-strict": rows(THEIRS)}, {"jsquad-strict": rows(OURS)}
    said = _why(*pair, old={"jsquad-strict": 1}, new={"jsquad-strict": 2})
    assert said == "version 1 of the task asked old, version 2 new: evaluate the older one again"
    assert "this is version 1" in _why(*pair, old={"jsquad-strict": 3}, new={"jsquad-strict": 3})


def test_other_profiles_are_refused() -> None:
    found = _compare({"jsquad-strict": rows(THEIRS)}, {"jsquad-swallow-2023": rows(OURS)})
    assert [row["why"] for row in found.refused] == [
        "old was asked in profile strict, new in swallow-2023 only",
        "new was asked in profile swallow-2023, old in strict only",
    ]
    assert _why({"jsquad-strict": rows(THEIRS)}, {}) == "only old was asked"


def test_corrected_labels_are_refused() -> None:
    """JNLI's labels were corrected in v1.2, the sentences stayed: ids and prompts are the same."""
    answers = [("yes", "yes")] * 20 + [("no", "yes")] * 10
    before, after = class_rows(answers), class_rows([*answers[:-1], ("yes", "yes")])
    said = _why({"jnli-strict": before}, {"jnli-strict": after})
    assert said == "1 of 30 right answers differ: another version of the benchmark's file"
    assert _compare({"jnli-strict": before}, {"jnli-strict": before}).refused == []


def test_a_difference_that_rounding_hides_has_no_verdict() -> None:
    matching = rows([0.01] * 20 + [0.012] * 20)
    found = _compare({"wmt22_en_ja-strict": rows([0.01] * 40)}, {"wmt22_en_ja-strict": matching})
    row = next(row for row in found.rows if row["task"] == "wmt22_en_ja")
    assert 0 < row["difference"] < 0.0005
    assert row["p_holm"] < 0.05
    assert row["verdict"] == ""


@pytest.mark.parametrize(("num", "right", "verdict"), [(30, (5, 10), "better"), (10, (0, 4), "")])
def test_an_average_is_better_only_beyond_the_doubt_of_all_its_tasks(
    num: int, right: tuple[int, int], verdict: str
) -> None:
    """A task that both have all wrong leaves 11 points of doubt with 30 questions, 28 with 10; resamples see none."""
    theirs, ours = (rows([1.0] * each + [0.0] * (num - each)) for each in right)
    nothing = rows([0.0] * num)
    found = _compare(
        {"jsquad-strict": theirs, "niilc-strict": nothing}, {"jsquad-strict": ours, "niilc-strict": nothing}
    )
    (average,) = [row for row in found.rows if row["task"] == "average" and row["category"] is None]
    assert average["p_bootstrap"] < 0.05
    assert average["verdict"] == verdict
    assert (average["difference_low"] > 0) == bool(verdict)
