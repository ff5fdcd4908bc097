"""The `export` section of a run file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ExportConfig(BaseModel):
    """How the trained model is written as a Hugging Face folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["bfloat16", "float32"] = Field("bfloat16", description="type of the written tensors")
