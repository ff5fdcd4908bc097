"""The `curate` section of a run file, but for its quality rules (`quality_config.py`).

Values are those of the Swallow Corpus v1 recipe (Okazaki et al., COLM 2024) where a description says so, else ours.

    CurateConfig(sources=["warc/*.warc.gz"], quality={"min_letters": 200})
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.curate.quality_config import QualityConfig
from tasks.profiles import beneath

# What a profile sets beneath what the run file says; the fields' own defaults are the hibari profile.
_PROFILES: dict[str, dict[str, Any]] = {
    "hibari": {},
    "swallow-v1": {
        "precheck": "declared",
        "extractor": "trafilatura",
        "japanese_lines": {"enabled": False},
        "quality": {"japanese_letters": "swallow", "ngram_duplication": "distinct", "sentences": "swallow"},
    },
}


class JapaneseLinesConfig(BaseModel):
    """Keeping the Japanese lines of mixed pages; not in Swallow's recipe, tried on debian-handbook."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="off: a page is taken or refused as a whole")
    min_kana_ratio: float = Field(
        default=0.10,
        ge=0,
        le=1,
        description="a line is Japanese from this share of kana among its letters on; Hibari",
    )
    min_japanese_ratio: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="... or from this share of kana and kanji among its letters on; Hibari",
    )
    max_neutral_letters: int = Field(
        default=8,
        ge=0,
        description="a line that is not Japanese but has at most this many letters (numbers, a name) "
        "is kept between two kept lines; Hibari",
    )


class LanguageConfig(BaseModel):
    """Is the page Japanese?"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["ngram", "fasttext", "script"] = Field(
        default="ngram",
        description="ngram: a linear model over character 1- to 3-grams, Swallow v1's form; fasttext: probability of "
        "ja; script: share of kana and kanji in the letters",
    )
    model: str | None = Field(
        default="builtin",
        description="ngram: builtin, or the path of a model that `hibari language train` made; fasttext: the path of a "
        "language model such as lid.176.ftz; script: none",
    )
    min_score: float = Field(
        default=0,
        ge=-100,
        le=100,
        description="a page is Japanese when its score is above; left out it is 0 for ngram (any number; Swallow v1), "
        "0.5 for fasttext, 0.3 for script (0 to 1)",
    )
    min_kana_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="script: below this share of kana among kana and kanji the score is 0 (Chinese)",
    )
    min_mixed_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="with japanese_lines, a page whose score is too low is still taken when this share of what it "
        "tells is told in Japanese (code and names aside) and its Japanese lines score above min_score; Hibari",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_method(cls, values: Any) -> Any:
        """Put the method's own defaults beneath what was set."""
        method = values.get("method", "ngram") if isinstance(values, dict) else None
        defaults = {"fasttext": {"model": None, "min_score": 0.5}, "script": {"model": None, "min_score": 0.3}}
        return defaults.get(method, {}) | values if isinstance(method, str) else values

    @model_validator(mode="after")
    def _fits_together(self) -> LanguageConfig:
        if self.method == "fasttext" and self.model in (None, "builtin"):
            raise ValueError("language.method fasttext needs language.model: the path of lid.176.ftz or lid.176.bin")
        if self.method == "ngram" and not self.model:
            raise ValueError("language.method ngram needs language.model: builtin, or the path of a model")
        if self.method == "script" and self.model:
            raise ValueError("language.method script takes no language.model: leave it out, or choose another method")
        if self.method != "ngram" and not 0 <= self.min_score <= 1:
            raise ValueError(f"language.min_score of method {self.method} is 0 to 1, got {self.min_score:g}")
        return self


CRAWL = re.compile(r"CC-MAIN-\d{4}-\d{2}(?!\d)")
CRAWL_SOURCE = re.compile(rf"commoncrawl:({CRAWL.pattern})(?::(\d+))?")  # the crawl, and how many of its files


class CommonCrawlConfig(BaseModel):
    """How `commoncrawl:` sources are chosen from, and how anything that is not on this machine is fetched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["warc", "index"] = Field(
        default="warc",
        description="warc: every record of a crawl's WARC files; index: only the records that the crawl's columnar "
        "index says are in one of `languages`, fetched by byte ranges",
    )
    base: str | None = Field(
        default=None,
        description="where the crawls lie: https://data.commoncrawl.org/, s3://commoncrawl/ (with AWS credentials in "
        "the environment), or a mirror or folder of the same layout; default: $HIBARI_COMMONCRAWL, else the first",
    )
    languages: list[str] = Field(
        default=["jpn"],
        min_length=1,
        description="index: ISO 639-3 codes; a record is taken when its content_languages, up to three that CLD2 "
        "found, hold one of them",
    )
    mime: list[str] = Field(
        default=["text/html", "application/xhtml+xml", "text/plain"],
        min_length=1,
        description="index: content_mime_detected, by Tika, of the records taken",
    )
    max_gap_bytes: int = Field(
        default=1 << 20,
        ge=0,
        description="index: two records with at most this many bytes between them are fetched by one request; "
        "about what a connection carries while a new request is answered",
    )
    parts_per_warc: int = Field(
        default=1,
        ge=1,
        le=64,
        description="warc: equal parts in which a file that is not on this machine is fetched and read, each by a "
        "worker (a WARC of Common Crawl has about 1 GB); more than 1 where there are fewer files than workers",
    )
    max_connections: int = Field(
        default=4, ge=1, le=256, description="requests under way to one server at a time, by all workers of a machine"
    )
    requests_per_second: float = Field(
        default=5,
        gt=0,
        le=10_000,
        description="requests to one server, by all workers of a machine; fewer once it refuses some",
    )
    timeout_s: float = Field(
        default=60, gt=0, description="seconds without a byte until a request is broken off and resumed"
    )
    give_up_s: float = Field(
        default=1800, gt=0, description="seconds without a byte, over all repetitions, until a file is given up"
    )

    @field_validator("languages")
    @classmethod
    def _are_codes(cls, languages: list[str]) -> list[str]:
        if wrong := [code for code in languages if not re.fullmatch("[a-z]{3}", code)]:
            raise ValueError(f"expected ISO 639-3 codes such as jpn, got {', '.join(wrong)}")
        return languages


class ClassifierConfig(BaseModel):
    """The quality classifier; not in Swallow Corpus v1, v2 has one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(
        default=None,
        description="path or URI of a fastText model, as `hibari classifier train` writes; its score becomes the "
        "metric quality_score, which quality.min_quality_score is held against",
    )


class CurateConfig(BaseModel):
    """Common Crawl WARC files in, Japanese documents out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: list[str] = Field(
        min_length=1,
        description="WARC files: paths, globs, s3://, https://, or commoncrawl:CC-MAIN-2024-10 for a crawl, "
        "commoncrawl:CC-MAIN-2024-10:8 for its first 8 files",
    )
    licence: str | None = Field(
        default=None,
        max_length=500,
        description="licence of the pages, as their publishers state it; for the report only. Where it is left out, "
        "the terms of Common Crawl are stated for commoncrawl: sources",
    )
    attribution: str | None = Field(
        default=None, max_length=500, description="whom the licence asks to name, in words; for the report only"
    )
    profile: Literal["hibari", "swallow-v1"] = Field(
        default="hibari",
        description="defaults for what is not set: hibari = resiliparse and japanese_lines; "
        "swallow-v1 = trafilatura and whole pages",
    )
    precheck: Literal["bytes", "declared"] = Field(
        default="bytes",
        description="which pages are worth parsing: bytes = any sign of Japanese in the raw bytes; "
        "declared = <html lang=ja> or a Japanese title, whatever the content type, as Swallow",
    )
    extractor: Literal["resiliparse", "trafilatura"] = Field(
        default="resiliparse",
        description="main-text extraction; trafilatura is Swallow's and some ten times slower",
    )
    commoncrawl: CommonCrawlConfig = Field(
        default_factory=CommonCrawlConfig, description="choosing from crawls, and fetching"
    )
    japanese_lines: JapaneseLinesConfig = Field(default_factory=JapaneseLinesConfig, description="mixed pages")
    language: LanguageConfig = Field(default_factory=LanguageConfig, description="the language decision")
    quality: QualityConfig = Field(default_factory=QualityConfig, description="the quality rules")
    classifier: ClassifierConfig = Field(default_factory=ClassifierConfig, description="the quality classifier")
    max_page_bytes: int = Field(
        default=8 << 20,
        ge=1024,
        description="bytes of a page after Content-Encoding; larger ones are refused unparsed",
    )
    max_page_seconds: float = Field(
        default=10, gt=0, description="seconds of CPU time for extracting one page, then it is given up"
    )
    max_page_memory_mib: int = Field(
        default=384,
        ge=64,
        description="mebibytes of memory for extracting one page, then it is given up; pages of max_page_bytes "
        "with ordinary markup take up to 300",
    )
    shard_mib: int = Field(
        default=512,
        ge=1,
        description="a local WARC file of more mebibytes is read in several parts, by several workers",
    )
    max_bad_record_ratio: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="torn, undecodable or unextractable records / records above which the stage fails",
    )

    @property
    def crawls(self) -> dict[str, str]:
        """Crawl of Common Crawl -> the source that names it."""
        return {match[1]: source for source in self.sources if (match := CRAWL_SOURCE.fullmatch(source))}

    @property
    def indexed_crawls(self) -> list[str]:
        """The crawls of which only the records that their index names are read."""
        return list(self.crawls) if self.commoncrawl.mode == "index" else []

    @model_validator(mode="after")
    def _scores_come_from_a_classifier(self) -> CurateConfig:
        if self.quality.min_quality_score > 0 and not self.classifier.model:
            raise ValueError(
                f"quality.min_quality_score {self.quality.min_quality_score:g} needs classifier.model: the path of a "
                "model that `hibari classifier train` wrote"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _fill_profile(cls, values: Any) -> Any:
        """Put the profile's settings beneath what was set."""
        profile = _PROFILES.get(values.get("profile", "hibari")) if isinstance(values, dict) else None
        return values if profile is None else beneath(profile, values)  # an unknown profile is the field's problem
