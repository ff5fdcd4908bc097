"""What the trainer is told: the `train:` section of a run file, and the job that torchrun gets as JSON.

`TrainConfig` holds how to train; `TrainJob` adds what to train on and where to write. `problems` lists everything
wrong with a combination of the two and a model before any process starts. Nothing here imports torch.

    job = TrainJob.model_validate_json(Path("job.json").read_text())
    if found := problems(job.train, read_llama_config(job.model), world=2, num_steps=job.num_steps):
        raise ValueError("; ".join(found))
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from trainer.llama_config import LlamaConfig


class ParallelConfig(BaseModel):
    """Sizes of the rank grid's axes; ranks are numbered `tp + T * (dp + D * pp)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dp: int = Field(1, ge=1, description="data-parallel replicas")
    tp: int = Field(1, ge=1, description="tensor-parallel ranks a layer is split over")
    pp: int = Field(1, ge=1, description="pipeline stages the layers are split into")

    @property
    def world_size(self) -> int:
        return self.dp * self.tp * self.pp


class TrainConfig(BaseModel):
    """How to train. Defaults are those of Swallow's continual pre-training of Llama 2 7B, one process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq_len: int = Field(4096, ge=8, description="tokens a sequence is trained on")
    global_batch: int = Field(1024, ge=1, description="sequences per optimizer step, over all ranks")
    micro_batch: int = Field(1, ge=1, description="sequences per rank in one forward and backward")
    lr: float = Field(1e-4, gt=0, description="peak learning rate, reached at the end of warm-up")
    min_lr: float = Field(3.3e-6, ge=0, description="learning rate of the last step")
    warmup_steps: int = Field(1000, ge=0, description="steps in which the learning rate rises linearly from 0")
    schedule: Literal["cosine"] = Field("cosine", description="shape of the decay after warm-up")
    dtype: Literal["bf16", "fp32", "float64"] = Field(
        "bf16",
        description="of parameters and activations; master weights and sums are fp32 (float64: float64)",
    )
    parallel: ParallelConfig = Field(default_factory=ParallelConfig, description="layout of the ranks")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(0.95, ge=0, lt=1, description="Adam's decay of the second moment")
    eps: float = Field(1e-8, gt=0, description="Adam's denominator term")
    weight_decay: float = Field(0.1, ge=0, description="decoupled, on matrices only (embeddings included)")
    clip_norm: float = Field(1.0, gt=0, description="bound of the global gradient norm")
    save_every: int = Field(100, ge=1, description="steps between checkpoints; the last step is always saved")
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints that are kept")
    log_every: int = Field(1, ge=1, description="steps between rows of metrics.jsonl")
    threads_per_rank: int | None = Field(
        None, ge=1, description="CPU threads of each rank; none given: the machine's cores shared out evenly"
    )
    collective_timeout_s: float = Field(
        1800.0, gt=0, description="seconds a collective may wait for another rank before the run fails"
    )

    @property
    def tokens_per_step(self) -> int:
        return self.global_batch * self.seq_len


class TrainJob(BaseModel):
    """One training run: what `python -m trainer JOB.json` reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    train: TrainConfig
    model: str = Field(description="Hugging Face folder to start from")
    base_model: str = Field(description="Hugging Face folder of the original; the same one when nothing was added")
    mixture: str = Field(description="URI of the mixture")
    out: str = Field(description="local or shared folder for checkpoints and metrics")
    fingerprint: str = Field("", description="of this training's artifact, for those that continue it")
    continued: str | None = Field(
        None, description="an earlier training's checkpoint to go on from, where the mixture continues that one's"
    )
    seed: int = Field(1234, ge=0, description="of every random number generator")
    num_steps: int = Field(ge=1, description="optimizer steps of the whole run")
    check_texts: dict[str, list[list[int]]] = Field(
        default_factory=dict,
        description="language -> texts as token ids of the base vocabulary, for the check before the first step",
    )
    bytes_per_token: dict[str, float] = Field(
        default_factory=dict,
        description="language -> UTF-8 bytes per training token, to log bits per byte; those not named are left out",
    )


def problems(
    config: TrainConfig, model: LlamaConfig | None = None, world: int | None = None, num_steps: int | None = None
) -> list[str]:
    """Everything that keeps this configuration from running, each with what to do; empty when it can run.

    Args:
        world: processes that were started, where that is known.
        num_steps: length of the run, where that is known.
    """
    found = []
    parallel = config.parallel
    if parallel.tp > 1 or parallel.pp > 1:
        found.append(
            f"parallel: tp {parallel.tp}, pp {parallel.pp} is not available yet: data parallel only; "
            f"set tp: 1 and pp: 1, and use dp: {parallel.world_size}"
        )
    if world is not None and world != parallel.world_size:
        found.append(
            f"parallel: dp {parallel.dp} x tp {parallel.tp} x pp {parallel.pp} needs {parallel.world_size} "
            f"processes, {world} were started; start as many as the layout needs"
        )
    per_pass = config.micro_batch * parallel.dp
    if config.global_batch % per_pass:
        fits = max(per_pass, config.global_batch // per_pass * per_pass)
        found.append(
            f"global_batch {config.global_batch} is not a multiple of micro_batch {config.micro_batch} x dp "
            f"{parallel.dp} = {per_pass}; use {fits}"
        )
    if config.min_lr > config.lr:
        found.append(f"min_lr {config.min_lr} is above lr {config.lr}; lower it (Swallow: lr / 30)")
    if num_steps is not None and config.warmup_steps >= num_steps:
        found.append(
            f"warmup_steps {config.warmup_steps} leaves nothing of the {num_steps} steps; lower warmup_steps, or "
            f"train longer (mix.train_tokens / (seq_len x global_batch) = number of steps)"
        )
    if model is not None and config.seq_len > model.max_positions:
        found.append(
            f"seq_len {config.seq_len} is longer than the model's max_position_embeddings {model.max_positions}; "
            f"use at most {model.max_positions}"
        )
    return found
