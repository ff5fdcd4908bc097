"""The `evaluate` section of a run file."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Profile = Literal["strict", "swallow-2023"]
PROFILES: tuple[Profile, ...] = ("strict", "swallow-2023")
Task = Literal[
    "bits_per_byte",
    "hibari_probe",
    "jcommonsenseqa",
    "jemhopqa",
    "niilc",
    "jsquad",
    "xlsum_ja",
    "mgsm_ja",
    "wmt20_en_ja",
    "wmt20_ja_en",
    "wmt21_en_ja",
    "wmt21_ja_en",
    "wmt22_en_ja",
    "wmt22_ja_en",
    "jnli",
    "marc_ja",
    "xwinograd_ja",
    "openbookqa",
    "triviaqa",
    "triviaqa_3000",
    "hellaswag",
    "squad2",
    "xwinograd_en",
    "gsm8k",
]
OWN_TASKS = ("bits_per_byte", "hibari_probe")  # those that need no files
# Where files lie, whether one that is not there is an error, and how the work is laid out, decides nothing: what the
# files hold, and that there is none, is an input.
BENCHMARK_PLACES = {"data", "files", "prompts", "skip_unprompted"}
HOW_IT_RUNS = {"processes"}
# What only benchmarks read.
BENCHMARK_SETTINGS = HOW_IT_RUNS | {"limit", "max_length", "backend", "contamination", "skip_benchmarks"}


class BenchmarkFiles(BaseModel):
    """Where the data of one benchmark are, if not below `evaluate.data` in the layout of docs/evaluation.md."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: tuple[str, ...] = Field((), description="paths, URIs or hf:owner/name[:config][@split] of what is evaluated")
    shots: str | None = Field(None, description="likewise, of examples to draw shots from: a training split")


class ContaminationConfig(BaseModel):
    """Which items of the benchmarks stand in the training corpus."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(True, description="compare items with the corpus, and split scores into clean and dirty")
    ngram: int = Field(10, ge=4, le=64, description="letters and digits of an n-gram")
    max_overlap: float = Field(
        0.5, gt=0, le=1, description="an item is dirty when more than this share of its n-grams is in one document"
    )


class EvaluateConfig(BaseModel):
    """What is measured, and how much of it.

    Defaults make 44,000 tokens for SmolLM2-135M, which spends one on 1.7 bytes of Japanese, and about half as many for
    a model with an expanded tokenizer; one core of a busy CPU machine does 160 to 180 of them a second.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: list[Task] = Field(["bits_per_byte", "hibari_probe"], min_length=1, description="what is measured")
    profile: Literal["strict", "swallow-2023", "both"] = Field(
        "strict",
        description="prompts, shots and metrics of the benchmarks: our own, those of the Swallow authors, or both",
    )
    data: str | None = Field(
        None, description="folder or URI with the benchmarks' files, as docs/evaluation.md lays out"
    )
    files: dict[str, BenchmarkFiles] = Field({}, description="of single benchmarks: where their files are")
    prompts: str | None = Field(None, description="folder of the prompt files that profile swallow-2023 asks with")
    skip_unprompted: bool = Field(
        False,
        description="leave out a profile of a benchmark whose prompt or shot file is not there, instead of failing",
    )
    limit: int | None = Field(None, ge=1, description="items of each benchmark, drawn by the hash of their ids")
    max_length: int | None = Field(None, ge=64, description="tokens of prompt and answer; else what the model can read")
    processes: int = Field(1, ge=1, le=64, description="that share the work: one per GPU, or halves of a CPU")
    backend: Literal["transformers", "vllm", "lm-eval"] = Field(
        "transformers", description="what answers the benchmarks' requests; the others are extras, vllm is for GPUs"
    )
    contamination: ContaminationConfig = Field(
        ContaminationConfig(), description="which items of the benchmarks stand in the training corpus"
    )
    max_bytes: int = Field(
        40_000,
        ge=256,
        description="UTF-8 bytes of held-out text scored per language, in the order of document ids",
    )
    max_document_bytes: int = Field(
        8_192,
        ge=256,
        description="UTF-8 bytes scored of one document, its beginning, so that no document is all",
    )
    window: int = Field(512, ge=2, description="tokens the model reads at once in bits_per_byte")
    stride: int = Field(
        384,
        ge=1,
        description="tokens scored by each window after a document's first; window - stride is context",
    )
    batch_size: int = Field(4, ge=1, le=4096, description="windows or questions computed together")
    dtype: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="weights and activations; only fp32 gives log-likelihoods free of the batch's make-up",
    )
    resamples: int = Field(1_000, ge=100, le=1_000_000, description="bootstrap resamples of an interval")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="share of resamples an interval covers")
    skip_models: list[Literal["initialized", "trained"]] = Field(
        [], description="models not scored at all; the base always is"
    )
    skip_probe: list[Literal["initialized", "trained"]] = Field(
        ["initialized"], description="models not asked the probe set's questions"
    )
    skip_benchmarks: list[Literal["initialized", "trained"]] = Field(
        ["initialized"], description="models not asked the benchmarks"
    )

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The profiles of the benchmarks."""
        return PROFILES if self.profile == "both" else (self.profile,)

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The tasks that are benchmarks: all but bits per byte and the probe."""
        return tuple(task for task in self.tasks if task not in OWN_TASKS)

    @property
    def literals(self) -> dict[str, Any]:
        """What decides the bytes of the scores; what the benchmarks' files hold, and their forms' versions, do besides.

        Without benchmarks: the settings that there were before there were benchmarks, so that fingerprints stay.
        """
        outside = BENCHMARK_PLACES | (HOW_IT_RUNS | {"batch_size"} if self.benchmarks else BENCHMARK_SETTINGS)
        return self.model_dump(mode="json", exclude=outside)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if self.stride > self.window:
            problems.append(f"stride {self.stride} is above window {self.window}: tokens between would not be scored")
        if len(set(self.tasks)) != len(self.tasks):
            problems.append(f"tasks names one twice: {self.tasks}")
        if unknown := sorted(set(self.files) - set(get_args(Task)) | set(self.files) & set(OWN_TASKS)):
            problems.append(f"files names {', '.join(unknown)}, which is no benchmark; expected some of evaluate.tasks")
        if self.backend == "vllm" and self.processes > 1:
            problems.append(f"processes is {self.processes}, but one process with vllm fills its GPU: set it to 1")
        if problems:
            raise ValueError("; ".join(problems))
        return self
