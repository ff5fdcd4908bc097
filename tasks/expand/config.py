"""The run file's `expand` section: which tokenizer is expanded, and how far."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ExpandConfig(BaseModel):
    """Vocabulary expansion. `enabled: false` is the variant without expansion (NVE)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = Field(
        ...,
        description="base tokenizer: path of a SentencePiece tokenizer.model, or of a Hugging Face folder "
        "(SentencePiece or byte-level BPE)",
    )
    licence: str | None = Field(
        None,
        max_length=500,
        description="licence of the base tokenizer; for the report only. Where it is left out, what its folder says",
    )
    enabled: bool = Field(True, description="false: keep the base tokenizer as it is")
    num_candidates: int = Field(
        16_000,
        ge=1,
        le=500_000,
        description="subwords trained (SentencePiece) or merges learned at most (byte-level)",
    )
    max_new_pieces: int | None = Field(None, ge=1, description="pieces added at most; none: as many as are good enough")
    min_count: int = Field(
        5,
        ge=1,
        description="times that each new piece occurs in the sample, itself or inside a longer new piece",
    )
    max_piece_characters: int = Field(16, ge=1, le=128, description="longest new piece, characters")
    character_coverage: float = Field(
        0.9995,
        gt=0.5,
        le=1.0,
        description="share of the sample that its more frequent characters make up; the rest stay bytes "
        "(SentencePiece)",
    )
    align_to: int = Field(8, ge=1, le=4096, description="the vocabulary's size becomes a multiple of this")
    words: Literal["mecab", "none"] = Field(
        "mecab",
        description="mecab: no new piece is learned across the edge of a Japanese word, as Swallow did; "
        "none: phrases become pieces too",
    )
    sample_characters: int = Field(
        10_000_000,
        ge=1,
        description="characters of the corpus that pieces are learned on, whole documents, "
        "those with the lowest hash of text and seed; a smaller corpus is taken whole",
    )
