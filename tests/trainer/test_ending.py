"""How a training ended is said to the one who started it, and not to the next."""

from __future__ import annotations

from pathlib import Path

from trainer.ending import clear, record_refusal, record_stop, refusal, stopped_step


def test_a_stop_and_a_refusal_are_told_until_training_is_started_again(tmp_path: Path) -> None:
    assert (stopped_step(tmp_path), refusal(tmp_path)) == (None, None)
    record_stop(tmp_path, 0)
    record_refusal(tmp_path, ValueError("seq_len 128 is longer than 64"))
    assert (stopped_step(tmp_path), refusal(tmp_path)) == (0, "ValueError: seq_len 128 is longer than 64")
    clear(tmp_path)
    clear(tmp_path)
    assert (stopped_step(tmp_path), refusal(tmp_path)) == (None, None)
