"""A configuration that cannot run is refused before any process starts, with everything wrong in one go."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.trainer.ranks import TINY, tiny_config
from trainer.config import TrainConfig
from trainer.llama_config import llama_config
from trainer.problems import problems


def test_fourteen_mistakes_are_fourteen_sentences() -> None:
    config = tiny_config(
        seq_len=126,
        global_batch=32,
        micro_batch=3,
        min_lr=1.0,
        warmup_steps=9,
        decay_steps=3,
        parallel={
            "dp": 2, "tp": 4, "pp": 2, "virtual_stages": 2, "layers_per_stage": [1, 0, 1, 1], "fsdp_shard": 3,
        },
        forgetting={"action": "stop", "language": "fr"},
    )  # fmt: skip
    found = problems(config, llama_config(TINY), 8, 9, ranks_per_node=6, gpus_per_node=4, languages={"ja", "en"})
    words = [
        "layers_per_stage [1, 0, 1, 1] has a stage of nothing",
        "fsdp_shard is read with data_parallel: fsdp only",
        "fsdp_shard 3 does not divide dp 2",
        "dp 2 x tp 4 x pp 2 needs 16 processes, 8 were started",
        "tp 4 does not divide the 6 processes of a node",
        "6 processes were started on a node of 4 GPUs",
        "global_batch 32 is not a multiple of micro_batch 3 x dp 2 = 6; use 30",
        "seq_len 126 does not split over tp 4",
        "min_lr 1.0 is above lr 0.003",
        "decay_steps is read with schedule: wsd only",
        "warmup_steps 9 leaves nothing of the 9 steps",
        "forgetting: language fr is none of the validation mixture's, en, ja",
        "seq_len 126 is longer than the model's max_position_embeddings 64",
        "layers_per_stage sums to 3, the model has 2 layers",
    ]
    assert len(found) == len(words)
    for sentence, word in zip(found, words, strict=True):
        assert word in sentence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parallel": {"virtual_stages": 2}}, "virtual_stages 2 interleaves a pipeline; set pp above 1"),
        ({"parallel": {"pp": 2, "layers_per_stage": [2]}}, "has 1 entries for pp 2 x virtual_stages 1 = 2 stages"),
        ({"parallel": {"pp": 2, "layers_per_stage": [3, -1]}}, "give one each, none negative"),
        ({"parallel": {"tp": 3}, "seq_len": 24}, "tp 3 does not divide the model's 4 attention heads"),
        ({"parallel": {"pp": 5}, "micro_batch": 1}, "5 stages are more than the model's 2 layers, embedding and head"),
        ({"parallel": {"pp": 2}, "global_batch": 2}, "is 1 micro-batches on each rank, fewer than the pipeline's 2"),
        ({"schedule": "wsd", "decay_steps": 90}, "warmup_steps 2 + decay_steps 90 are more than the 90 steps"),
        ({"batch_ramp": {"start": 4, "increment": 3, "samples": 9}}, "from 4 by 3 does not reach global_batch 8"),
        ({"forgetting": {"action": "stop"}, "validate_every": 0}, "validate_every is 0; set it to 100 or so"),
    ],
)  # fmt: skip
def test_each_mistake_says_what_to_do(changes: dict[str, Any], said: str) -> None:
    found = problems(tiny_config(**changes), llama_config(TINY), num_steps=90)
    assert any(said in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("passes", "runs"), [(1, True), (3, True), (4, True), (6, True), (7, False), (8, True), (9, True), (10, False)]
)
def test_interleaving_takes_numbers_of_micro_batches_that_its_rounds_divide(passes: int, runs: bool) -> None:
    """As torch's schedule does: rounds = max(1, n // pp) must divide n."""
    config = tiny_config(global_batch=passes, micro_batch=1, parallel={"pp": 3, "virtual_stages": 2})
    assert (problems(config) == []) is runs


def test_every_batch_of_a_ramp_must_fill_the_pipeline() -> None:
    ramp = {"start": 2, "increment": 2, "samples": 50}
    config = tiny_config(global_batch=8, batch_ramp=ramp, parallel={"pp": 3})
    found = problems(config)
    assert [sentence.split(" sequences")[0] for sentence in found] == [
        "parallel: a batch of 2", "parallel: a batch of 4"
    ]  # fmt: skip


def test_a_sliding_window_is_a_limit_of_the_sequence() -> None:
    """Mistral's attention and the trainer's agree as long as no position looks back further than the window."""
    mistral = llama_config(TINY | {"model_type": "mistral", "sliding_window": 32})
    assert problems(tiny_config(seq_len=32), mistral) == []
    (found,) = problems(tiny_config(seq_len=48), mistral)
    assert "seq_len 48 is longer than the model's sliding_window 32" in found


def test_a_guard_that_warns_needs_nothing_and_one_that_stops_needs_held_out_text() -> None:
    warns, stops = (tiny_config(forgetting={"action": action}) for action in ("warn", "stop"))
    assert problems(warns, languages=set()) == []
    assert problems(stops) == problems(stops, languages={"ja", "en"}) == []
    (found,) = problems(stops, languages=set())
    assert "set mix.validation_tokens above 0" in found


def test_float64_is_refused_on_gpus_alone() -> None:
    assert problems(tiny_config(dtype="float64"), gpus_per_node=0) == []
    (found,) = problems(tiny_config(dtype="float64"), gpus_per_node=8)
    assert "use bf16 or fp32" in found


def test_swallows_layouts_run() -> None:
    """reference: 7B at 2 x 2, 13B at 2 x 4, 70B at 8 x 8, on 4, 8 and 32 nodes of 8."""
    for nodes, tp, pp in ((4, 2, 2), (8, 2, 4), (32, 8, 8)):
        parallel = {"dp": nodes * 8 // tp // pp, "tp": tp, "pp": pp}
        config = TrainConfig(parallel=parallel)
        assert problems(config, world=nodes * 8, num_steps=25_000, ranks_per_node=8, gpus_per_node=8) == []


def test_the_advised_global_batch_fits() -> None:
    advice = problems(tiny_config(global_batch=11, micro_batch=2, parallel={"dp": 2}))[0]
    assert advice.endswith("use 8")
    assert problems(tiny_config(global_batch=8, micro_batch=2, parallel={"dp": 2})) == []


def test_looking_needs_no_torch() -> None:
    code = "import sys, trainer.problems; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
