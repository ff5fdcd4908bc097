"""The learning curve: whole rows only, few enough points, and a picture that can be opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.train.curve import MAX_POINTS, _held_out, draw_curve, thinned
from trainer.rows import read_rows


def row(step: int, bits: dict[str, float]) -> dict[str, Any]:
    losses = {language: 2 * value for language, value in bits.items()}
    return {"step": step, "consumed_tokens": 64 * step, "lr": 1e-4, "bits_per_byte": bits, "language_loss": losses}


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    lines = [json.dumps(row(step, {"ja": 2.0})) for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines)[:-4])
    assert [found["step"] for found in read_rows(tmp_path / "metrics.jsonl")] == [1, 2]


def test_a_long_run_is_thinned_and_keeps_its_last_step() -> None:
    rows = [row(step, {"ja": 2.0}) for step in range(1, 25_001)]
    kept = thinned(rows)
    assert len(kept) <= MAX_POINTS + 1
    assert [kept[0]["step"], kept[-1]["step"]] == [1, 25_000]


def test_a_step_without_one_of_the_languages_is_drawn_too() -> None:
    rows = [row(1, {"ja": 2.0, "en": 1.0}), row(2, {"ja": 1.9}), row(3, {"en": 0.9})]
    assert draw_curve(rows, [], num_steps=10).startswith(b"\x89PNG")


def test_losses_stand_in_where_bytes_per_token_are_unknown() -> None:
    unknown = row(1, {}) | {"language_loss": {"ja": 4.0}}
    assert draw_curve([unknown], [], num_steps=1).startswith(b"\x89PNG")


def test_held_out_points_are_drawn_in_the_measure_of_the_curve() -> None:
    rows = [row(1, {"ja": 2.0}), row(2, {"ja": 1.9})]
    held_out = [
        {"step": 0, "languages": {"ja": {"loss": 4.2, "bits_per_byte": 2.1}, "en": {"loss": 3.0}}},
        {"step": 2, "languages": {"ja": {"loss": 3.8, "bits_per_byte": 1.9}}},
    ]
    assert _held_out(held_out, "ja", "bits_per_byte") == [(0, 2.1), (2, 1.9)]
    assert _held_out(held_out, "en", "bits_per_byte") == []
    assert _held_out(held_out, "en", "language_loss") == [(0, 3.0)]
    without, with_them = (draw_curve(rows, validation, num_steps=2) for validation in ([], held_out))
    assert with_them.startswith(b"\x89PNG")
    assert with_them != without


def test_there_is_no_validation_yet(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "validation.jsonl") == []
