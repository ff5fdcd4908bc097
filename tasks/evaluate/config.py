"""The `evaluate` section of a run file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EvaluateConfig(BaseModel):
    """What is measured, and how much of it.

    Defaults make 44,000 tokens for SmolLM2-135M, which spends one on 1.7 bytes of Japanese, and about half as many for
    a model with an expanded tokenizer; one core of a busy CPU machine does 160 to 180 of them a second.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: list[Literal["bits_per_byte", "hibari_probe"]] = Field(
        ["bits_per_byte", "hibari_probe"], min_length=1, description="what is measured"
    )
    profile: Literal["strict"] = Field("strict", description="prompts and metrics: strict = our own, deterministic")
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = []
        if self.stride > self.window:
            problems.append(f"stride {self.stride} is above window {self.window}: tokens between would not be scored")
        if len(set(self.tasks)) != len(self.tasks):
            problems.append(f"tasks names one twice: {self.tasks}")
        if problems:
            raise ValueError("; ".join(problems))
        return self
