"""The `deduplicate` section of a run file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DeduplicateConfig(BaseModel):
    """Defaults are the Swallow Corpus's: 800 hashes of character 5-grams, any of 40 bands of 20 rows equal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ngram: int = Field(5, ge=1, le=64, description="characters (Unicode code points) in a shingle")
    bands: int = Field(40, ge=1, le=512, description="LSH bands; two documents that share one are near-duplicates")
    rows: int = Field(20, ge=1, le=128, description="hashes in a band; the S-curve's middle is (1/bands)^(1/rows)")
    survivor: Literal["newest"] = Field(
        "newest",
        description="what a cluster keeps: the newest crawl, then the longest text, then the smallest id",
    )
    signatures: Literal["datasketch"] = Field("datasketch", description="library that computes MinHash signatures")
