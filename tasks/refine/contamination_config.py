"""The `refine.decontamination` section of a run file.

DecontaminationConfig(benchmarks=[{"name": "niilc", "files": ["niilc/test.jsonl"], "fields": ["text"]}])
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class BenchmarkConfig(BaseModel):
    """One benchmark: the texts of its items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="what the report calls the benchmark")
    files: tuple[str, ...] = Field(
        min_length=1, description="paths, globs or URIs of .jsonl, .json, .tsv, .csv, .parquet or .txt files, or .gz"
    )
    fields: tuple[str, ...] = Field(
        default=(),
        description="which fields are texts to look for, each an item: a name, a path through nested objects and lists "
        "(data.paragraphs.qas.question), or for .tsv, .csv the number of a column, from 0; .txt has a text a line",
    )
    min_letters: int = Field(
        default=0,
        ge=0,
        description="letters and digits below which a text is not looked for, where that is more than `ngram`: for "
        "translations, whose sentences can be everyone's (ありがとうございました)",
    )
    id: str | None = Field(
        default=None, description="the field beside the text that names an item; without one its place in the file does"
    )


class DecontaminationConfig(BaseModel):
    """Documents that contain items of the benchmarks a model will be judged by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: tuple[BenchmarkConfig, ...] = Field(default=(), description="what may not be trained on; none: all may")
    action: Literal["drop", "mark"] = Field(
        default="drop", description="drop the document, or only say in the artifact what it contains"
    )
    ngram: int = Field(
        default=10,
        ge=4,
        le=64,
        description="letters and digits of an n-gram; items with fewer are not looked for, three of ASCII weighing as "
        "one. GPT-3 took 13 words (Brown et al., 2020, appendix C); in 22 million characters of literature and manuals "
        "no question of 10 Japanese letters or more turned up by chance, and 3 of 8 did; Hibari",
    )
    full_match_characters: int = Field(
        default=40,
        ge=0,
        description="an item of at most this many letters and digits must be in a document as a whole: less of it is "
        "a common phrase; Hibari",
    )
    min_overlap: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="of a longer item this share of the n-grams must be in a stretch of the document; Hibari",
    )

    @model_validator(mode="after")
    def _names_once(self) -> DecontaminationConfig:
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) != len(names):
            raise ValueError(f"benchmarks: every name once, got {', '.join(names)}")
        return self

    @property
    def files(self) -> list[str]:
        """All benchmark files: their contents are inputs of the stage, their paths are not."""
        return [file for benchmark in self.benchmarks for file in benchmark.files]
