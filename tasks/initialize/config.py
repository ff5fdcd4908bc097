"""The run file's `initialize` section: the base model, and how new embedding rows begin."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Combination = Literal["mean", "weighted", "leading", "first", "random"]


class RandomModelConfig(BaseModel):
    """A Llama with random weights, in place of a base model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden_size: int = Field(256, ge=8, description="width of the residual stream")
    num_layers: int = Field(4, ge=1, description="transformer layers")
    num_heads: int = Field(4, ge=1, description="attention heads")
    num_kv_heads: int | None = Field(None, ge=1, description="key and value heads; none: as many as num_heads")
    intermediate_size: int | None = Field(
        None, ge=1, description="width of the MLP; none: 8/3 of hidden_size, rounded up to a multiple of 64"
    )
    tie_embeddings: bool = Field(False, description="output head = input embedding")
    rope_theta: float = Field(10_000.0, gt=1, description="base of the rotary position embedding")
    max_position: int = Field(4096, ge=1, description="longest sequence, tokens")
    norm_eps: float = Field(1e-5, gt=0, lt=1, description="epsilon of RMSNorm")
    dtype: Literal["bfloat16", "float32"] = Field("bfloat16", description="dtype of the stored weights")

    @model_validator(mode="after")
    def _sizes_fit(self) -> RandomModelConfig:
        kv_heads = self.num_kv_heads or self.num_heads
        if self.hidden_size % (2 * self.num_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of 2 x num_heads ({2 * self.num_heads}): "
                "rotary embedding turns pairs of dimensions within a head"
            )
        if self.num_heads % kv_heads:
            raise ValueError(f"num_heads {self.num_heads} must be a multiple of num_kv_heads {kv_heads}")
        return self


class RandomBase(BaseModel):
    """`base_model: {random: {...}}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    random: RandomModelConfig = Field(..., description="sizes of the random model")


class InitializeConfig(BaseModel):
    """The base model and the embedding rows of new pieces."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str | RandomBase = Field(
        ..., description="Hugging Face folder with safetensors weights, or {random: {sizes}}"
    )
    licence: str | None = Field(
        None,
        max_length=500,
        description="licence of the base model; for the report only. Where it is left out, what its folder says",
    )
    new_rows: Combination = Field(
        "mean",
        description="new rows of the input embedding (and of a tied output head): the mean of the base rows that the "
        "piece is segmented into (Swallow); weighted: by how often those base tokens stand in new pieces; leading: "
        "with weights 1, 1/2, 1/4, ...; first: the first token's row; random: N(0, 0.02), seeded per row",
    )
    new_output_rows: Combination | None = Field(
        None, description="the same for an untied output head; none: as new_rows"
    )
    output_shift: Literal["none", "frequency", "share"] | float | None = Field(
        None,
        description="how far the logits of new pieces are shifted, along a direction that a pass of the base over some "
        "of the corpus finds; frequency: each so that its mean probability is frequency_share of how often it stands "
        "in the corpus; share: by log of its part of the pieces with its first token; a number: all by so many nats "
        "(negative: improbable); none: not, as Swallow. Left out: frequency, and none for a random base",
    )
    frequency_share: float = Field(
        0.5, gt=0, le=1, description="output_shift frequency: a new piece's mean probability / how often it stands"
    )
    calibration_tokens: int = Field(
        4096, ge=64, le=1_000_000, description="base tokens of corpus that the base reads to find shifts"
    )

    @property
    def folder(self) -> str | None:
        """The base model's folder; None where the run makes a random one."""
        return self.base_model if isinstance(self.base_model, str) else None

    @property
    def shift(self) -> Literal["none", "frequency", "share"] | float:
        """`output_shift`, or what it is where it is left out."""
        if self.output_shift is not None:
            return self.output_shift
        return "none" if self.folder is None else "frequency"

    @property
    def calibrated(self) -> bool:
        """Whether the base reads some of the corpus before its rows are made."""
        return self.shift not in ("none", 0)

    @property
    def draws(self) -> bool:
        """Whether the run's seed decides new rows."""
        return "random" in (self.new_rows, self.new_output_rows)

    @property
    def row_options(self) -> dict[str, Any]:
        """Fields of `tokenizer.new_rows.RowOptions`."""
        return self.model_dump(exclude={"base_model", "licence"}) | {"output_shift": self.shift}

    @property
    def literals(self) -> dict[str, Any]:
        """What decides new rows, without the settings that decide nothing beside the others."""
        unused = set() if self.shift == "frequency" else {"frequency_share"}
        unused |= set() if self.calibrated else {"calibration_tokens"}
        return {name: value for name, value in self.row_options.items() if name not in unused}

    @model_validator(mode="after")
    def _shift_fits(self) -> InitializeConfig:
        if self.folder is None and self.calibrated:
            raise ValueError(
                f"output_shift {self.output_shift}: a random base has nothing to calibrate on: its hidden states share "
                "no direction; set it to none, or leave it out"
            )
        return self
