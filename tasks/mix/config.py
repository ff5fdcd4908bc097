"""How much is trained on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class MixConfig(BaseModel):
    """The token budget of the mixture; the weights stand with the sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train_tokens: int = Field(
        2_000_000,
        ge=1,
        description="tokens to train on, all sources together; rounded down to whole steps",
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
        description="passes over a source beyond which it has run out; 4 cost little (arXiv 2305.16264)",
    )
