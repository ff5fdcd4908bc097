"""What a model cannot be asked is found out while planning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.model_plan import plan_model
from tasks.evaluate.suite_plan import plan_suite
from tests.tasks.evaluate import stand_ins


def test_a_question_that_does_not_fit_is_found_before_anything_is_asked(
    byte_level_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest choice of 60 items, at a place that no sample of a few would hit, is longer than the model."""
    stand_ins.install(monkeypatch)
    file = stand_ins.write_data(tmp_path, num_items=60) / "jcommonsenseqa/items.jsonl"
    config = EvaluateConfig(tasks=["jcommonsenseqa"], data=str(tmp_path), max_length=64)
    assert plan_model("base", byte_level_folder, [], [], plan_suite(config), config).suite
    lines = file.read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[37])
    lines[37] = json.dumps(row | {"choices": ["雲雀", "ひばり" * 80, "燕"]})
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=r"model base: Choices \(strict\): a request does not fit into the model"):
        plan_model("base", byte_level_folder, [], [], plan_suite(config), config)
