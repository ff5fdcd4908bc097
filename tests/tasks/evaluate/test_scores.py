from __future__ import annotations

from typing import Any

import pytest

from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.scores import difference_rows, headline_table, score_rows

CONFIG = EvaluateConfig(resamples=400)


def _documents(bits: list[float]) -> list[dict[str, Any]]:
    sizes = [100, 300, 200]
    return [
        {"id": str(index), "language": "ja", "bits": value, "bytes": size}
        for index, (value, size) in enumerate(zip(bits, sizes, strict=True))
    ]


def _answers(margins: list[float]) -> list[dict[str, Any]]:
    categories = ["science", "science", "culture"]
    return [
        {
            "id": str(index),
            "language": "en",
            "category": category,
            "score": int(margin > 0),
            "score_per_byte": int(margin > 0),
            "margin": margin,
        }
        for index, (margin, category) in enumerate(zip(margins, categories, strict=True))
    ]


EXAMPLES = {
    "base": {"bits_per_byte": _documents([200.0, 450.0, 550.0]), "hibari_probe": _answers([0.2, -0.4, -0.1])},
    "trained": {"bits_per_byte": _documents([180.0, 400.0, 500.0]), "hibari_probe": _answers([0.4, -0.2, 0.1])},
}


def _row(**wanted: Any) -> dict[str, Any]:
    found = [row for row in score_rows(EXAMPLES, CONFIG, seed=3) if wanted.items() <= row.items()]
    assert len(found) == 1
    return found[0]


def test_a_corpus_value_is_all_bits_over_all_bytes() -> None:
    row = _row(model="base", task="bits_per_byte")
    assert row["value"] == 2.0
    assert row["ci_low"] < 2.0 < row["ci_high"]
    assert "difference" not in row
    assert row["n"] == 3


def test_a_model_is_set_beside_the_base() -> None:
    row = _row(model="trained", task="bits_per_byte")
    assert row["value"] == 1.8
    assert row["difference"] == pytest.approx(-0.2)
    assert row["relative"] == pytest.approx(-0.1)
    assert row["difference_low"] <= row["difference"] <= row["difference_high"] < 0


def test_categories_are_scored_by_themselves() -> None:
    assert _row(model="trained", metric="accuracy", category="science")["value"] == 0.5
    assert _row(model="trained", metric="accuracy", category=None)["value"] == pytest.approx(2 / 3, abs=1e-6)
    alone = _row(model="trained", metric="margin", category="culture")
    assert (alone["n"], alone["value"], alone["ci_low"], alone["difference_low"]) == (1, 0.1, None, None)


def test_relative_has_no_value_where_the_base_scores_nothing() -> None:
    assert _row(model="trained", metric="accuracy", category="culture")["relative"] is None


def test_the_table_holds_whole_languages_only() -> None:
    table = headline_table(score_rows(EXAMPLES, CONFIG, seed=3))
    assert table["base"] == {
        "ja_bits_per_byte": 2.0,
        "probe_en_accuracy": pytest.approx(1 / 3, abs=1e-6),
        "probe_en_accuracy_per_byte": pytest.approx(1 / 3, abs=1e-6),
        "probe_en_margin": -0.1,
    }
    assert list(table) == ["base", "trained"]


def test_the_seed_moves_intervals_and_nothing_else() -> None:
    first, same, other = (score_rows(EXAMPLES, CONFIG, seed=seed) for seed in (1, 1, 2))
    assert first == same
    assert first != other
    assert [row["value"] for row in first] == [row["value"] for row in other]


def test_a_model_alone_has_scores_and_no_differences() -> None:
    alone = score_rows({"trained": EXAMPLES["trained"]}, CONFIG, seed=3)
    beside = [row for row in score_rows(EXAMPLES, CONFIG, seed=3) if row["model"] == "trained"]
    assert not any("difference" in row or "relative" in row for row in alone)
    assert alone == [
        {key: value for key, value in row.items() if not key.startswith(("difference", "relative"))} for row in beside
    ]


def test_any_two_models_can_be_paired_afterwards_as_with_the_base() -> None:
    """The differences of a sweep's variants are those that evaluation itself would give."""
    asked = {
        model: {task: [{**row, "prompt_hash": row["id"]} for row in rows] for task, rows in tasks.items()}
        for model, tasks in EXAMPLES.items()
    }
    for task in ("bits_per_byte", "hibari_probe"):
        for row in difference_rows(task, asked["trained"][task], asked["base"][task], CONFIG, seed=3):
            wanted = {name: row[name] for name in ("task", "metric", "language", "category")}
            beside = _row(model="trained", **wanted)
            assert row == wanted | {name: beside[name] for name in row if name.startswith("difference")}


def test_models_that_were_asked_other_things_are_not_paired() -> None:
    ours = [{**row, "prompt_hash": "a"} for row in EXAMPLES["trained"]["bits_per_byte"]]
    theirs = [{**row, "prompt_hash": "b"} for row in EXAMPLES["base"]["bits_per_byte"]]
    assert difference_rows("bits_per_byte", ours, theirs, CONFIG, seed=3) == []
