"""Fingerprints of initialize: they move with what decides new rows, and with nothing else."""

from __future__ import annotations

from typing import Any

from tests.flows.test_plan import moved, plan_of, values

__all__ = ["values"]  # the fixture: a run whose inputs exist

AFTER = {"initialize", "train", "export", "evaluate", "report"}


def test_a_shift_moves_the_stage_and_what_follows(values: dict[str, Any]) -> None:
    assert moved(values, {"initialize.output_shift": -2.0}) == AFTER
    assert moved(values, {"initialize.new_output_rows": "leading"}) == AFTER


def test_settings_without_effect_move_nothing(values: dict[str, Any]) -> None:
    unshifted = values | {"initialize": values["initialize"] | {"output_shift": "none"}}
    assert moved(unshifted, {"initialize.calibration_tokens": 128, "initialize.frequency_share": 0.25}) == set()
    shifted = values | {"initialize": values["initialize"] | {"output_shift": "frequency"}}
    assert moved(shifted, {"initialize.calibration_tokens": 128}) == AFTER
    assert moved(shifted, {"initialize.frequency_share": 0.25}) == AFTER


def test_a_shift_reads_the_corpus_and_random_rows_the_seed(values: dict[str, Any]) -> None:
    none = plan_of(values, {"initialize.output_shift": "none"}).initialize
    assert "seed" not in none.literals
    assert "deduplicate" not in none.inputs
    assert "transformers" not in none.libraries
    shifted = plan_of(values, {"initialize.output_shift": "share"})
    assert shifted.initialize.inputs["deduplicate"] == shifted.deduplicate.fingerprint
    assert shifted.initialize.literals["validation_ratio"] == 0.02
    assert "transformers" in shifted.initialize.libraries
    assert plan_of(values, {"initialize.new_rows": "random", "seed": 5}).initialize.literals["seed"] == 5


def test_without_expansion_no_corpus_is_read(values: dict[str, Any]) -> None:
    plan = plan_of(values, {"initialize.output_shift": "frequency", "expand.enabled": False})
    assert "deduplicate" not in plan.initialize.inputs
