"""The run file's `initialize` section: the base model, and how new embedding rows begin."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


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
    new_rows: Literal["mean"] = Field(
        "mean", description="a new row is the mean of the base rows that its piece is segmented into"
    )

    @property
    def folder(self) -> str | None:
        """The base model's folder; None where the run makes a random one."""
        return self.base_model if isinstance(self.base_model, str) else None
