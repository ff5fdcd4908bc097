"""What the trainer is told: the `train:` section of a run file, and the job that torchrun gets as JSON.

`TrainConfig` holds how to train; `TrainJob` adds what to train on and where to write. What is wrong with a combination
of the two, a model and a machine is listed by `trainer.problems` before any process starts. Nothing here imports torch.

    job = TrainJob.model_validate_json(Path("job.json").read_text())
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainer.batch_ramp import BatchRamp


class ParallelConfig(BaseModel):
    """Sizes of the rank grid's axes; ranks are numbered `tp + T * (dp + D * pp)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dp: int = Field(1, ge=1, description="data-parallel replicas")
    tp: int = Field(1, ge=1, description="tensor-parallel ranks a layer is split over")
    pp: int = Field(1, ge=1, description="pipeline ranks the layers are split over")
    sequence_parallel: bool = Field(
        True, description="with tp: norms and residuals hold a part of the sequence each (Korthikanti et al. 2022)"
    )
    tp_across_nodes: bool = Field(False, description="allow a tensor-parallel group to leave its node")
    virtual_stages: int = Field(
        1, ge=1, description="stages a pipeline rank holds: 1 is 1F1B, more is interleaved 1F1B (Narayanan et al. 2021)"
    )
    layers_per_stage: list[int] | None = Field(
        None, description="layers of each of the pp x virtual_stages stages; none given: split by cost"
    )
    data_parallel: Literal["zero1", "fsdp"] = Field(
        "zero1",
        description="zero1: own distributed optimizer; fsdp: torch's FSDP2, parameters split over dp as well",
    )
    fsdp_shard: int | None = Field(
        None,
        ge=1,
        description="fsdp: ranks that share parameters out; the rest of dp are replicas (HSDP); none: all",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_schedules(cls, given: Any) -> Any:
        if isinstance(given, dict) and "schedule" in given:
            raise ValueError(
                f"schedule {given['schedule']!r}: the pipeline's schedule follows from virtual_stages, 1 is 1F1B and "
                f"more is interleaved 1F1B; remove it. Zero-bubble schedules are refused, because they write weight "
                f"gradients past the hooks that the optimizer sums them by, and the sums would miss them"
            )
        return given

    @property
    def world_size(self) -> int:
        return self.dp * self.tp * self.pp

    @property
    def num_stages(self) -> int:
        return self.pp * self.virtual_stages

    @property
    def splits_sequence(self) -> bool:
        """Whether activations between layers hold a part of the sequence."""
        return self.sequence_parallel and self.tp > 1


class SpikeGuard(BaseModel):
    """What to do when the loss or the gradient norm jumps out of what it has been."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["off", "warn", "skip", "rewind"] = Field(
        "warn",
        description="skip: leave out the step's update; rewind: go back to the last checkpoint's weights and leave out "
        "every update since. Samples that were left out are in skipped.jsonl",
    )
    window: int = Field(128, ge=8, description="steps that say what is usual")
    deviations: float = Field(6.0, gt=0, description="a spike is this many robust standard deviations above the median")
    max_skipped: int = Field(100, ge=1, description="steps left out in all before the run stops: it is no spike then")


class ForgettingGuard(BaseModel):
    """How much worse the source language may become."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Literal["off", "warn", "stop"] = Field("warn", description="stop: save a checkpoint and fail")
    language: str = Field("en", description="language of the base model, one of the mixture's")
    max_rise: float = Field(
        0.05, gt=0, description="bits per byte (nats per token where those are unknown) above the value before step 1"
    )


class TrainConfig(BaseModel):
    """How to train. Defaults are those of Swallow's continual pre-training of Llama 2 7B, one process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq_len: int = Field(4096, ge=8, description="tokens a sequence is trained on")
    global_batch: int = Field(1024, ge=1, description="sequences per optimizer step, over all ranks")
    batch_ramp: BatchRamp | None = Field(None, description="smaller global batches at the start")
    micro_batch: int = Field(1, ge=1, description="sequences per rank in one forward and backward")
    lr: float = Field(1e-4, gt=0, description="peak learning rate, reached at the end of warm-up")
    min_lr: float = Field(3.3e-6, ge=0, description="learning rate of the last step; schedule constant: not used")
    warmup_steps: int = Field(1000, ge=0, description="steps in which the learning rate rises linearly from 0")
    schedule: Literal["cosine", "wsd", "constant"] = Field(
        "cosine", description="shape after warm-up; wsd: constant, then a decay in the last decay_steps"
    )
    decay_steps: int | None = Field(None, ge=1, description="wsd: steps of the decay; none given: a tenth of the run")
    decay: Literal["linear", "cosine", "one_minus_sqrt"] = Field("one_minus_sqrt", description="wsd: its shape")
    dtype: Literal["bf16", "fp32", "float64"] = Field(
        "bf16",
        description="of parameters and activations; master weights and sums are fp32 (float64: float64)",
    )
    parallel: ParallelConfig = Field(default_factory=ParallelConfig, description="layout of the ranks")
    recompute: Literal["none", "selective", "full"] = Field(
        "none",
        description="what backward computes again and does not keep; selective: attention core, full: whole layers",
    )
    compile: bool | None = Field(None, description="torch.compile of each layer; none given: on CUDA only")
    loss_chunk: int = Field(1024, ge=1, description="tokens whose logits exist at a time")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(0.95, ge=0, lt=1, description="Adam's decay of the second moment")
    eps: float = Field(1e-8, gt=0, description="Adam's denominator term")
    weight_decay: float = Field(0.1, ge=0, description="decoupled, on matrices only (embeddings included)")
    clip_norm: float = Field(1.0, gt=0, description="bound of the global gradient norm")
    spikes: SpikeGuard = Field(default_factory=SpikeGuard, description="guard against loss spikes")
    forgetting: ForgettingGuard = Field(default_factory=ForgettingGuard, description="guard of the source language")
    validate_every: int = Field(100, ge=0, description="steps between validations; 0: never, not before step 1 either")
    validation_samples: int = Field(512, ge=1, description="samples of the validation mixture that are read, at most")
    save_every: int = Field(100, ge=1, description="steps between checkpoints; the last step is always saved")
    keep_checkpoints: int = Field(2, ge=1, description="newest checkpoints that are kept")
    keep_every: int | None = Field(None, ge=1, description="checkpoints of multiples of this step are kept for good")
    async_checkpoints: bool = Field(True, description="write checkpoints while training goes on")
    log_every: int = Field(1, ge=1, description="steps between rows of metrics.jsonl")
    straggler_every: int = Field(100, ge=0, description="steps between looks for slow ranks; 0: never")
    straggler_ratio: float = Field(1.3, gt=1, description="a rank this many times slower than the median is reported")
    wandb_project: str | None = Field(None, description="Weights & Biases project to log to; needs hibari[wandb]")
    threads_per_rank: int | None = Field(
        None, ge=1, description="CPU threads of each rank; none given: the machine's cores shared out evenly"
    )
    collective_timeout_s: float = Field(
        1800.0, gt=0, description="seconds a collective may wait for another rank before the run fails"
    )
    stack_dump_s: float | None = Field(
        None, gt=0, description="seconds without a finished step after which every rank writes its stacks to its log; "
        "none given: nine tenths of collective_timeout_s",
    )  # fmt: skip

    @property
    def tokens_per_step(self) -> int:
        """Of a step of full size."""
        return self.global_batch * self.seq_len


class TrainJob(BaseModel):
    """One training run: what `python -m trainer JOB.json` reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    train: TrainConfig
    model: str = Field(description="Hugging Face folder to start from")
    base_model: str = Field(description="Hugging Face folder of the original; the same one when nothing was added")
    mixture: str = Field(description="URI of the mixture")
    out: str = Field(description="local or shared folder for checkpoints and metrics")
    mirror: str | None = Field(None, description="URI below which every checkpoint is copied too, where out is a cache")
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
