"""The run file's section is the trainer's, and how it is started."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.train.config import TrainStageConfig
from trainer.config import TrainConfig


def test_the_trainer_reads_its_own_part() -> None:
    section = TrainStageConfig.model_validate(
        {"lr": 2e-4, "parallel": {"dp": 2}, "launcher": "local", "stop_grace_s": 5}
    )
    part = section.trainer()
    assert type(part) is TrainConfig
    assert (part.lr, part.parallel.dp) == (2e-4, 2)


def test_other_launchers_are_refused() -> None:
    with pytest.raises(ValidationError, match="launcher"):
        TrainStageConfig.model_validate({"launcher": "carrier-pigeon"})
