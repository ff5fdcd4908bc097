"""What is tokenised, and how much of it is held out."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

CORPUS = "corpus"
PARALLEL_LANGUAGE = "mul"  # ISO 639-2: several languages
Value = StrictStr | StrictBool | StrictInt | StrictFloat
# How the files of a source are read: the fields of `storage.sources.SourceLayout`, of the same names.
READING = {
    *("layout", "text_field", "id_field", "url_field", "where", "title", "fields", "pairs_per_document", "template"),
    "max_bad_record_ratio",
}
FIELD = r"^\S(.*\S)?$"


class SourceConfig(BaseModel):
    """One source of the mixture: the run's own corpus, or documents from elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        max_length=64,
        description="names the source in reports and file names; `corpus` is what this run curated",
    )
    language: str = Field(pattern=r"^[a-z]{2,3}$", description="ISO 639 code: ja, en; mul for parallel text")
    weight: float = Field(
        gt=0,
        allow_inf_nan=False,
        description="share of the training tokens after tokenisation; weights are scaled to add up to 1",
    )
    documents: list[str] | None = Field(
        None,
        min_length=1,
        description="paths, globs, URIs (https://, s3://) of JSONL, TSV or XML, plain or .gz, .zst, .bz2, .xz, or of "
        "Parquet; not for `corpus`",
    )
    max_epochs: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="how often the source may be read at most; left out, `mix.max_epochs`",
    )
    layout: Literal["auto", "jsonl", "parquet", "wikipedia", "refinedweb", "pile", "parallel"] = Field(
        "auto",
        description="what the files are. auto: by their names, with `text`, else `content`; wikipedia: a dump, "
        "WikiExtractor's files, or rows of id, url, title and text; refinedweb: `content` and `url`; pile: `text` and "
        "`meta.pile_set_name`; parallel: pairs of a Japanese and an English sentence",
    )
    text_field: str | None = Field(
        None, pattern=FIELD, description="field of the text, `a.b` for b in a; left out: `text`, else `content`"
    )
    id_field: str | None = Field(
        None,
        pattern=FIELD,
        description="field of the id, which every record must have; left out: `id` where there is one",
    )
    url_field: str | None = Field(
        None, pattern=FIELD, description="field of the URL, by which takedowns find a document; left out: `url`"
    )
    where: dict[str, list[Value]] = Field(
        {},
        description="field -> value or list of values: only records with one of them are chosen, for example "
        "meta.pile_set_name: ArXiv",
    )
    title: Literal["first_line", "leave_out"] = Field(
        "first_line", description="of wikipedia: an article begins with its title and an empty line, or with its text"
    )
    fields: dict[Literal["ja", "en"], str] = Field(
        {"ja": "ja", "en": "en"},
        description="of parallel: the field of each side, or its column in a TSV file: a name of the first line, or a "
        "number from 1 where the first line is a pair like any other",
    )
    pairs_per_document: int = Field(1, ge=1, description="of parallel: consecutive pairs that make a document")
    template: Literal["concatenation", "instruction"] = Field(
        "concatenation",
        description="of parallel: a sentence and its translation, alone or with the request to translate; a bit of the "
        "document's id decides which language comes first",
    )
    max_bad_record_ratio: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of a file's records that may be unreadable, and are counted; 0: the first is an error",
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

    @property
    def reading(self) -> dict[str, Any]:
        """How the files are read: the arguments of `storage.sources.SourceLayout`, without those left at their default.

        They decide what the documents are, all but the share of records that may be unreadable.
        """
        return self.model_dump(mode="json", include=READING, exclude_defaults=True)

    @field_validator("where", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, where: Any) -> Any:
        if not isinstance(where, dict):
            return where
        return {field: values if isinstance(values, list) else [values] for field, values in where.items()}

    @model_validator(mode="after")
    def _layout_fits(self) -> SourceConfig:
        if (given := sorted(self.reading)) and self.name == CORPUS:
            raise ValueError(f"source {CORPUS!r} is what this run curates: remove {', '.join(given)}")
        if set(self.fields) != {"ja", "en"}:
            raise ValueError(
                f"source {self.name!r}: `fields` names the fields of ja and of en, got {sorted(self.fields)}"
            )
        of_parallel = {"fields", "pairs_per_document", "template"} & set(given)
        if of_parallel and self.layout not in ("auto", "parallel"):
            raise ValueError(f"source {self.name!r}: {', '.join(sorted(of_parallel))} need `layout: parallel`")
        if self.layout == "parallel" and self.text_field:
            raise ValueError(f"source {self.name!r}: parallel text has `fields` (ja, en), no `text_field`")
        if empty := [field for field, values in self.where.items() if not values]:
            raise ValueError(f"source {self.name!r}: `where` names no value of {', '.join(empty)}")
        return self

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
