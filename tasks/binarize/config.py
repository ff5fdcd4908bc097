"""What is tokenised, and how much of it is held out."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

CORPUS = "corpus"


class SourceConfig(BaseModel):
    """One source of the mixture: the run's own corpus, or documents from elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        max_length=64,
        description="names the source in reports and file names; `corpus` is what this run curated",
    )
    language: str = Field(pattern=r"^[a-z]{2,3}$", description="ISO 639 code: ja, en")
    weight: float = Field(
        gt=0,
        allow_inf_nan=False,
        description="share of the training tokens after tokenisation; weights are scaled to add up to 1",
    )
    documents: list[str] | None = Field(
        None,
        min_length=1,
        description="paths, globs, URIs of JSONL (.gz) or Parquet with a `text` field; not for `corpus`",
    )
    licence: str | None = Field(
        None,
        max_length=500,
        description="licence of the documents, as their publisher states it; for the report only. That of `corpus` is "
        "`curate.licence`",
    )
    attribution: str | None = Field(
        None, max_length=500, description="whom the licence asks to name, in words; for the report only"
    )
    url: str | None = Field(None, max_length=500, description="where the documents are published; for the report only")

    @model_validator(mode="after")
    def _corpus_has_no_documents(self) -> SourceConfig:
        if self.name == CORPUS and self.documents is not None:
            raise ValueError(f"source {CORPUS!r} is what this run curates: remove `documents` or give it another name")
        if self.name != CORPUS and self.documents is None:
            raise ValueError(f"source {self.name!r} needs `documents` (only {CORPUS!r} has none)")
        if self.name == CORPUS and (self.licence or self.attribution or self.url):
            raise ValueError(f"source {CORPUS!r}: state the licence of the pages as curate.licence")
        return self


class BinarizeConfig(BaseModel):
    """How documents become token files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation_ratio: float = Field(
        0.02,
        gt=0,
        le=0.5,
        description="share of the documents held out of training, chosen by a hash of the document id",
    )
