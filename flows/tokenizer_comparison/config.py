"""What a comparison of tokenizers compares: sizes of vocabulary, given tokenizers, texts, shapes of models.

The model is the flow's parameter beside the run, so that Prefect shows it as a form. A size of vocabulary is the run
with `expand.num_candidates` set, an ordinary run otherwise: what two sizes, or the run itself, would make alike is made
once.

    compared = Compared(candidates=[16000, "none"])
    runs = candidate_runs(run, compared.candidates)    # {"16k": ..., "none": ...}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flows.config import ConfigError, RunConfig

NONE: Literal["none"] = "none"  # the base tokenizer as it is
Candidates = int | Literal["none"]
PRESETS = Path(__file__).resolve().parents[2] / "configs" / "models"


class GivenTexts(BaseModel):
    """Texts of one language; each entry is a row of the comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str = Field(pattern=r"^[a-z]{2,8}$", description="ISO 639 code, or `code`")
    files: str = Field(min_length=1, description="path, glob or URI of documents with a `text` (JSONL, Parquet)")


class Compared(BaseModel):
    """What is compared beside what the run file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: list[Candidates] = Field(
        [16_000, 32_000, NONE],
        description="expand.num_candidates of each tokenizer that the run makes; none: the base tokenizer",
    )
    tokenizers: dict[str, str] = Field({}, description="name -> folder or tokenizer.model of other tokenizers")
    texts: list[GivenTexts] = Field([], description="texts beside the documents that the run holds out, taken whole")
    code: list[str] = Field(
        [], description="paths or globs of source code; none: with a run file, the standard library of this Python"
    )
    models: list[str] = Field(
        ["llama-2-7b", "llama-2-13b", "llama-2-70b"],
        description="shapes beside the run's own: a preset, a config.json, its fields in YAML, or a model folder",
    )
    max_characters: int = Field(
        10_000_000, ge=1, description="of each text at most, whole documents, those with the lowest hash of their id"
    )
    context: int = Field(
        4096, ge=1, description="tokens of a training sequence, and before a decoded token, where a run does not say"
    )

    @field_validator("candidates")
    @classmethod
    def _sizes_once(cls, candidates: list[Candidates]) -> list[Candidates]:
        if wrong := [size for size in candidates if size != NONE and size < 1]:
            raise ValueError(f"{wrong[0]}: expected a number of candidates from 1, or none")
        return list(dict.fromkeys(candidates))

    @model_validator(mode="after")
    def _names_once(self) -> Compared:
        if twice := sorted({candidate_name(size) for size in self.candidates} & set(self.tokenizers)):
            raise ValueError(f"tokenizer {twice[0]}: a size of vocabulary is called that; give another name")
        return self


def parse_compared(
    candidates: Sequence[str] | None,
    tokenizers: Sequence[str],
    texts: Sequence[str],
    code: Sequence[str],
    models: Sequence[str],
    max_characters: int | None,
    context: int | None,
) -> Compared:
    """The comparison that command line options ask for; what is None stays at its default.

    Raises:
        ConfigError: options that cannot be understood, all of them.
    """
    problems, named, given = [], {}, []
    for option in tokenizers:
        name, equals, path = option.partition("=")
        if not (name and equals and path):
            problems.append(f"--tokenizer {option}: expected NAME=PATH, for example llama2=llama2/tokenizer.model")
        elif name in named:
            problems.append(f"--tokenizer {option}: {name} is named twice")
        named[name] = path
    for option in texts:
        language, equals, files = option.partition("=")
        if not (language and equals and files):
            problems.append(f"--texts {option}: expected LANGUAGE=FILES, for example ja=texts/ja-*.jsonl.gz")
        given.append({"language": language, "files": files})
    if problems:
        raise ConfigError(problems)
    fields = {
        "candidates": [size if size == NONE else _number(size) for size in candidates] if candidates else None,
        "tokenizers": named,
        "texts": given,
        "code": list(code),
        "models": list(models) or None,
        "max_characters": max_characters,
        "context": context,
    }
    try:
        return Compared.model_validate({name: value for name, value in fields.items() if value is not None})
    except ValidationError as error:
        raise ConfigError([_said(details["loc"], details["msg"]) for details in error.errors()]) from error


def _said(location: Sequence[int | str], message: str) -> str:
    """`texts.0.language: ...`."""
    where, said = ".".join(map(str, location)), message.removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def _number(size: str) -> int:
    try:
        return int(size)
    except ValueError as error:
        raise ConfigError([f"--candidates {size}: expected a number of candidates, or none"]) from error


def candidate_name(size: Candidates) -> str:
    """`16k`, `500`, `none`."""
    if size == NONE:
        return size
    return f"{size // 1000}k" if size % 1000 == 0 else str(size)


def candidate_runs(run: RunConfig, candidates: Sequence[Candidates]) -> dict[str, RunConfig]:
    """Name -> the run with a vocabulary of that size; it is a variant of the run, `tokenizer-<name>`.

    Raises:
        ConfigError: sizes that the `expand` section does not take, all of them.
    """
    runs, problems = {}, []
    for size in candidates:
        name = candidate_name(size)
        change = {"enabled": False} if size == NONE else {"enabled": True, "num_candidates": size}
        values = run.model_dump(mode="json")
        try:
            runs[name] = RunConfig.model_validate(
                values | {"expand": values["expand"] | change, "variant": f"tokenizer-{name}"}
            )
        except ValidationError as error:
            problems += [f"--candidates {size}: {details['msg']}" for details in error.errors()]
    if problems:
        raise ConfigError(problems)
    return runs
