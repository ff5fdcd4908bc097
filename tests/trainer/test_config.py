"""What the trainer is told is read strictly, and survives the way to its ranks."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from tests.trainer.ranks import tiny_config
from trainer.config import ParallelConfig, TrainConfig, TrainJob
from trainer.problems import problems


def test_the_example_of_the_run_file_is_valid() -> None:
    config = TrainConfig.model_validate(
        {
            "seq_len": 512, "global_batch": 16, "micro_batch": 2, "lr": 1.0e-4, "min_lr": 3.3e-6, "warmup_steps": 20,
            "dtype": "bf16", "parallel": {"dp": 2, "tp": 1, "pp": 1}, "save_every": 50,
        }
    )  # fmt: skip
    assert config.tokens_per_step == 8192
    assert problems(config, world=2) == []


def test_unknown_fields_and_impossible_values_are_refused() -> None:
    with pytest.raises(ValidationError, match="lerning_rate"):
        TrainConfig.model_validate({"lerning_rate": 1})
    with pytest.raises(ValidationError, match="micro_batch"):
        TrainConfig(micro_batch=0)


def test_a_job_survives_its_json() -> None:
    job = TrainJob(
        train=tiny_config(parallel=ParallelConfig(dp=2)), model="m", base_model="b", mixture="x", out="o", num_steps=3,
        check_texts={"en": [[1, 2]]},
    )  # fmt: skip
    assert TrainJob.model_validate_json(job.model_dump_json()) == job


def test_config_needs_no_torch() -> None:
    code = "import sys, trainer.config, tasks.train.config, tasks.train.launch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
