"""Breaks when the comparison with lm-eval calls different answers the same, or asks the two about different items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.lm_eval_tasks import BENCHMARKS, compare, make_case

ROWS = [
    {"query": f"{number}羽目の雲雀は", "choices": ["鳴く。", "飛ぶ。", "眠る。", "食べる。"], "gold": number % 4}
    for number in range(5)
]


def sample(values: list[float], *, number: int = 0, score: float = 1.0, context: str = "雲雀は") -> dict[str, Any]:
    """As lm-eval leaves it."""
    arguments = [[context, f" {place}"] for place in range(len(values))]
    resps = [[[value, False]] for value in values]
    return {"doc_id": number, "arguments": arguments, "resps": resps, "metrics": {"acc": score}}


def ours(values: list[float], **options: Any) -> dict[str, Any]:
    found = sample(values, **options)
    del found["doc_id"]
    return found | {"resps": [[value, False] for value in values], "metrics": {"accuracy": found["metrics"]["acc"]}}


def test_equal_runs_agree_whatever_the_order_of_lm_evals_samples() -> None:
    mine = {"samples": [ours([-1.0, -2.0]), ours([-4.0, -3.0])]}
    theirs = {"samples": [sample([-4.0, -3.00005], number=1), sample([-1.0, -2.0], number=0)]}
    found = compare(mine, theirs)
    assert found.is_whole
    assert found.largest_difference == pytest.approx(5e-5)


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (sample([-2.0, -1.0]), "predictions"),
        (sample([-1.0, -2.0], score=0.0), "scores"),
        (sample([-1.0, -2.0], context="雲雀が"), "requests"),
        (sample([-1.0, -2.001]), "largest_difference"),
    ],
)
def test_what_differs_is_counted(other: dict[str, Any], differs: str) -> None:
    found = compare({"samples": [ours([-1.0, -2.0])]}, {"samples": [other]})
    assert not found.is_whole
    if differs != "largest_difference":
        assert getattr(found, differs) == 0


def test_texts_and_limits_are_compared() -> None:
    arguments = [["問：", {"until": ["\n"], "max_gen_toks": 9, "do_sample": False}]]
    mine = {"arguments": arguments, "resps": ["雲雀"], "metrics": {"exact_match": 1.0}}
    theirs = {"doc_id": 0, "arguments": arguments, "resps": [["雲雀"]], "metrics": {"exact_match": 1.0}}
    assert compare({"samples": [mine]}, {"samples": [theirs]}).is_whole
    other = theirs | {"resps": [["ひばり"]]}
    assert compare({"samples": [mine]}, {"samples": [other]}).texts == 0


def test_both_read_the_same_items_and_other_ones_as_shots(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    case = make_case("hellaswag", tmp_path / "rows.jsonl", None, tmp_path, limit=3)
    assert [json.loads(line) for line in case.items.read_text().splitlines()] == ROWS[:3]
    assert [json.loads(line) for line in case.shots.read_text().splitlines()] == ROWS[3:]
    assert case.task["dataset_kwargs"]["data_files"] == {"test": str(case.items), "train": str(case.shots)}
    with pytest.raises(ValueError, match="none is left for shots"):
        make_case("hellaswag", tmp_path / "rows.jsonl", None, tmp_path, limit=5)


def test_every_benchmark_of_the_comparison_can_be_read(shared_data: Path, tmp_path: Path) -> None:
    from benchmarks.evaluate import FILES

    for benchmark in BENCHMARKS:
        items, shots = (None if path is None else shared_data / "eval" / path for path in FILES[benchmark])
        assert items is not None
        case = make_case(benchmark, items, shots, tmp_path, limit=2)
        assert len(case.items.read_text().splitlines()) == 2
