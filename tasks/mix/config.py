"""How much is trained on, and how documents become samples."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ContinueConfig(BaseModel):
    """An earlier training to go on from, with this run's mixture instead of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: str = Field(
        min_length=1,
        description="URI of the earlier train artifact, or of the folder that an unfinished one works in: "
        "runs/train/NAME-0123456789ab",
    )
    step: int = Field(
        ge=1, description="optimizer step after which this mixture takes over; what it had read is not repeated"
    )


class MixConfig(BaseModel):
    """The token budget of the mixture; the weights stand with the sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_tokens: int = Field(
        2_000_000,
        ge=1,
        description="tokens to train on, all sources together; rounded down to whole steps. Of a run that continues "
        "another, counted from that one's first step, every step with this run's train.seq_len",
    )
    validation_tokens: int = Field(
        50_000,
        ge=0,
        description="at most so many held-out tokens are read at a validation, each at most once; 0: none",
    )
    max_epochs: float = Field(
        4.0,
        gt=0,
        allow_inf_nan=False,
        description="passes over a source beyond which it has run out; 4 cost little (arXiv 2305.16264). A source may "
        "state its own: sources.NAME.max_epochs",
    )
    packing: Literal["concatenate", "best_fit"] = Field(
        "concatenate",
        description="how documents become samples: concatenate (one stream cut every seq_len tokens, Megatron's) or "
        "best_fit (few documents are cut; the rest of a sample is padding; arXiv 2404.10830)",
    )
    attention: Literal["across", "within"] = Field(
        "across",
        description="across: a token attends to all before it in its sample; within: only to those of its document",
    )
    continues: ContinueConfig | None = Field(
        None, description="go on from a step of an earlier training with other sources, weights or budget; none: begin"
    )
