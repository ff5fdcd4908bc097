from __future__ import annotations

from typing import Any

import pytest

from tasks.evaluate.config import ContaminationConfig, EvaluateConfig
from tasks.evaluate.scores import difference_rows, headline_table, held_items, score_rows
from tests.tasks.evaluate import made_up_scores
from tests.tasks.evaluate.made_up_scores import SUITE

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


def test_intervals_are_those_of_earlier_evaluations() -> None:
    """Values that the first version of these scores gave: a rerun must not move a published interval."""
    names = ("value", "ci_low", "ci_high", "difference", "difference_low", "difference_high")
    row = _row(model="trained", task="bits_per_byte")
    assert [row[name] for name in names] == [1.8, 1.333333, 2.3635, -0.2, -0.24025, -0.166667]
    row = _row(model="trained", metric="margin", category="science")
    assert [row[name] for name in names] == [0.1, -0.2, 0.4, 0.2, 0.2, 0.2]
    assert _row(model="base", task="bits_per_byte")["ci_high"] == 2.60375


def test_a_model_alone_has_scores_and_no_differences() -> None:
    alone = score_rows({"trained": EXAMPLES["trained"]}, CONFIG, seed=3)
    beside = [row for row in score_rows(EXAMPLES, CONFIG, seed=3) if row["model"] == "trained"]
    assert not any("difference" in row or "relative" in row for row in alone)
    of_pairs = ("difference", "relative", "p_", "wins", "losses", "ties")
    assert alone == [
        {key: value for key, value in row.items() if not key.startswith(of_pairs) and key != "mde"} for row in beside
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


# 12 questions: the base has 4 right, the trained model those and 6 more, but for one.
BASE = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
TRAINED = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]
HALVES = [0.5] * 12


def _benchmarks(**tasks: Any) -> dict[str, dict[str, Any]]:
    """Each task with a pair of rows: the base's and the trained model's."""
    return {model: {f"{task}-strict": pair[at] for task, pair in tasks.items()} for at, model in enumerate(MODELS)}


MODELS = ("base", "trained")


def _scored(examples: Any, **settings: Any) -> list[dict[str, Any]]:
    return score_rows(examples, CONFIG, seed=3, benchmarks=SUITE, **settings)


def _only(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    found = [row for row in rows if wanted.items() <= row.items()]
    assert len(found) == 1, found
    return found[0]


def test_a_benchmark_is_tested_against_the_base() -> None:
    pair = (made_up_scores.rows(BASE), made_up_scores.rows(TRAINED))
    row = _only(_scored(_benchmarks(jsquad=pair)), task="jsquad", model="trained")
    assert (row["value"], row["difference"], row["n"]) == (0.75, pytest.approx(5 / 12, abs=1e-6), 12)
    assert (row["wins"], row["losses"], row["ties"]) == (6, 1, 5)
    assert row["p_mcnemar"] == 2 * (1 + 7) / 2**7 == row["p_holm"]
    assert 0 < row["p_bootstrap"] < 0.2
    # Differences are 1 six times, -1 once, else 0: mean 5/12, variance (7 - 12 * 25/144) / 11.
    assert row["mde"] == pytest.approx(2.801585 * ((7 - 25 / 12) / 11 / 12) ** 0.5, abs=1e-5)
    assert row["mde_unpaired"] == pytest.approx(2.801585 * (2 * 0.75 * 0.25 / 12) ** 0.5, abs=1e-5)
    assert (row["label"], row["kind"], row["headline"], row["subset"]) == ("JSQUAD", "RC", True, "all")


def test_scores_between_right_and_wrong_have_no_mcnemar() -> None:
    pair = (made_up_scores.rows([0.5, 1.0, 0.0]), made_up_scores.rows([0.75, 1.0, 0.5]))
    row = _only(_scored(_benchmarks(niilc=pair)), metric="character_f1", model="trained")
    assert row["p_mcnemar"] is None
    assert row["p_holm"] == row["p_bootstrap"] is not None
    assert (row["wins"], row["losses"], row["ties"]) == (2, 0, 1)


def test_a_metric_of_a_whole_corpus_has_intervals_and_no_wins() -> None:
    pair = (made_up_scores.rows([0.5, 0.5, 0.25, 0.75]), made_up_scores.rows([0.5, 1.0, 0.75, 0.75]))
    row = _only(_scored(_benchmarks(wmt22_en_ja=pair)), task="wmt22_en_ja", model="trained")
    assert row["value"] == 0.5625  # (30 / 40) squared; the mean of the squares would be 0.59375
    assert row["difference"] == 0.3125
    assert row["difference_low"] < 0.3125 < row["difference_high"]
    assert (row["wins"], row["p_mcnemar"]) == (None, None)
    assert row["mde"] > 0


def test_holm_counts_the_benchmarks_of_a_profile() -> None:
    """Three tasks, each with p = 0.125, of which the further metric of one and the averages are none."""
    pair = (made_up_scores.rows(BASE), made_up_scores.rows(TRAINED))
    examples = _benchmarks(niilc=pair, jsquad=pair, gsm8k=pair)
    examples["base"] |= EXAMPLES["base"]
    examples["trained"] |= EXAMPLES["trained"]
    rows = _scored(examples)
    benchmarks = [
        row for row in rows if row["headline"] and row.get("p_mcnemar") and row["kind"] in ("QA", "RC", "MATH")
    ]
    assert [row["p_holm"] for row in benchmarks] == [0.375] * 3
    assert _only(rows, model="trained", task="niilc", metric="exact_match")["p_holm"] is None
    assert all(row["p_holm"] is None for row in rows if row["task"] == "average" and row["model"] == "trained")
    probe = _only(rows, model="trained", task="hibari_probe", metric="accuracy", category=None)
    assert probe["p_holm"] == 1.0, "one answer more, twice: with bits per byte there are two own measures"


def test_averages_say_what_they_are_over() -> None:
    pair = (made_up_scores.rows(BASE), made_up_scores.rows(TRAINED))
    halves = (made_up_scores.rows(HALVES), made_up_scores.rows([1.0] * 12))
    labels = (made_up_scores.class_rows([("yes", "yes"), ("no", "yes")] * 6),) * 2
    rows = _scored(_benchmarks(jsquad=pair, wmt22_en_ja=halves, jnli=labels, gsm8k=pair))
    row = _only(rows, task="average", language="ja", category=None, model="trained")
    assert row["value"] == pytest.approx((0.75 + 1.0) / 2)
    assert row["difference"] == pytest.approx((0.75 + 1.0) / 2 - (1 / 3 + 0.25) / 2, abs=1e-6)
    assert (row["tasks"], row["n"]) == (["jsquad", "wmt22_en_ja"], 2)
    assert row["stand_ins"] == {"wmt20_en_ja": "wmt22_en_ja"}
    assert row["missing"] == [
        "jcommonsenseqa",
        "jemhopqa",
        "niilc",
        "xlsum_ja",
        "mgsm_ja",
        "wmt20_en_ja",
        "wmt20_ja_en",
    ]
    # One of the two tasks has no spread, so the average's interval is half as wide as the other's.
    alone = _only(rows, task="jsquad", model="trained")
    assert row["ci_high"] - row["ci_low"] == pytest.approx((alone["ci_high"] - alone["ci_low"]) / 2, abs=1e-5)
    assert _only(rows, task="average", category="NLI", model="base")["value"] == 0.5, "averaged by itself"
    assert _only(rows, task="average", language="en", category=None, model="base")["tasks"] == ["gsm8k"]


def test_profiles_see_the_same_resamples_and_have_averages_of_their_own() -> None:
    examples = {"base": {f"jsquad-{profile}": made_up_scores.rows(BASE) for profile in ("strict", "swallow-2023")}}
    rows = _scored(examples)
    strict, swallow = (_only(rows, task="jsquad", profile=profile) for profile in ("strict", "swallow-2023"))
    assert (strict["ci_low"], strict["ci_high"]) == (swallow["ci_low"], swallow["ci_high"])
    assert len([row for row in rows if row["task"] == "average" and row["category"] is None]) == 2


def test_what_the_corpus_holds_is_scored_apart() -> None:
    contamination = ContaminationConfig(max_overlap=0.5)
    found = [
        {"task": "jsquad", "id": "q0", "overlap": 0.9},
        {"task": "jsquad", "id": "q1", "overlap": 0.6},
        {"task": "jsquad", "id": "q2", "overlap": 0.5},
    ]
    held = held_items(found, contamination, {"jsquad": ["q11"]})
    pair = (made_up_scores.rows(BASE), made_up_scores.rows(TRAINED))
    rows = _scored(_benchmarks(jsquad=pair), held=held)
    own = {row["subset"]: row for row in rows if row["task"] == "jsquad" and row["model"] == "trained"}
    assert {subset: row["n"] for subset, row in own.items()} == {"all": 12, "clean": 9, "dirty": 2}
    assert own["dirty"]["value"] == 0.5
    assert own["clean"]["value"] == pytest.approx(8 / 9, abs=1e-6)
    assert (own["clean"]["p_holm"], own["all"]["p_holm"]) == (None, own["all"]["p_mcnemar"])
    assert {row["subset"] for row in _scored(_benchmarks(jsquad=pair))} == {"all"}


def test_a_collapse_and_flags_stand_in_the_row() -> None:
    answers = made_up_scores.class_rows([("yes" if number % 2 else "no", "yes") for number in range(40)])
    for row in answers[:3]:
        row["flags"] = ["unparsable"]
    row = _only(_scored({"base": {"jnli-strict": answers}}), task="jnli")
    assert row["collapsed"] == {"class": "yes", "share": 1.0}
    assert row["value"] == 0.5
    assert row["flags"] == {"unparsable": 3}


def test_the_table_holds_headlines_and_averages() -> None:
    pair = (made_up_scores.rows(BASE), made_up_scores.rows(TRAINED))
    table = headline_table(_scored(_benchmarks(niilc=pair)))
    assert table["trained"] == {"niilc-strict_character_f1": 0.75, "ja_average-strict": 0.75}
