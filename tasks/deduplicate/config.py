"""The `deduplicate` section of a run file."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SurvivorPolicy = Literal["newest", "oldest", "longest", "best_quality"]
Grouping = Literal["cluster", "any_bucket"]


class VerifyConfig(BaseModel):
    """Comparing the texts of documents that share a bucket, so that chance neighbours are not dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(False, description="compare; Swallow does not")
    min_jaccard: float = Field(
        0.8, gt=0, le=1, description="Jaccard similarity of the sets of shingles from which two documents are copies"
    )
    max_candidates: int = Field(
        16, ge=1, le=1024, description="better-ranked documents of a bucket that each of its documents is compared with"
    )


class DeduplicateConfig(BaseModel):
    """Defaults are the Swallow Corpus's: 800 hashes of character 5-grams, any of 40 bands of 20 rows equal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ngram: int = Field(5, ge=1, le=32, description="characters (Unicode code points) in a shingle")
    bands: int = Field(40, ge=1, le=512, description="LSH bands; two documents that share one are near-duplicates")
    rows: int = Field(20, ge=1, le=128, description="hashes in a band; the S-curve's middle is (1/bands)^(1/rows)")
    signatures: Literal["hibari", "datasketch"] = Field(
        "hibari", description="what computes the MinHash signatures; the same numbers, `datasketch` is slower"
    )
    survivor: SurvivorPolicy = Field(
        "newest",
        description="which document of a cluster is kept: of the newest crawl (Swallow) or the oldest, the longest, or "
        "the one that the quality classifier likes best; ties are decided by crawl, then URL, then id",
    )
    grouping: Grouping = Field(
        "cluster",
        description="cluster: one survivor of all documents that buckets tie together; any_bucket: whatever shares a "
        "bucket with a better-ranked document is dropped (doubri), and no clusters are formed",
    )
    urls: bool = Field(False, description="of documents of one URL, over all crawls, only the best-ranked is looked at")
    verify: VerifyConfig = VerifyConfig()
    onto: str | None = Field(
        None,
        description="an earlier corpus of this root that this one adds documents to: the folder of its artifact below "
        "deduplicate/; the texts of its documents are not read again",
    )
