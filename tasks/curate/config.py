"""The `curate` section of a run file.

Every threshold has the value of the Swallow Corpus v1 recipe (Okazaki et al., COLM 2024; the released
`swallow-corpus` code, `quality.py` `apply_v1`) unless its description names another source.

    CurateConfig(sources=["warc/*.warc.gz"], quality={"min_letters": 200})
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_PROFILES: dict[str, dict[str, Any]] = {
    "hibari": {"extractor": "resiliparse", "japanese_lines": {"enabled": True}},
    "swallow-v1": {"extractor": "trafilatura", "japanese_lines": {"enabled": False}},
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

    method: Literal["script", "fasttext"] = Field(
        default="script",
        description="script: share of kana and kanji in the letters; fasttext: probability of ja",
    )
    model: str | None = Field(default=None, description="path of a fastText language model such as lid.176.ftz")
    min_score: float = Field(
        default=0.3, ge=0, le=1, description="lowest score (share or probability) of a Japanese page"
    )
    min_kana_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="script: below this share of kana among kana and kanji the score is 0 (Chinese)",
    )
    min_mixed_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="with japanese_lines, a page below min_score is still taken when its Japanese lines "
        "reach min_score by themselves and hold this share of the page's letters",
    )

    @model_validator(mode="after")
    def _has_model(self) -> LanguageConfig:
        if self.method == "fasttext" and not self.model:
            raise ValueError("language.method fasttext needs language.model: the path of lid.176.ftz or lid.176.bin")
        return self


class QualityConfig(BaseModel):
    """Thresholds of the quality rules; a document is dropped when a measure is outside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_letters: int = Field(default=400, ge=0, description="characters of the text; Swallow v1")
    min_japanese_letters: int = Field(default=400, ge=0, description="kana, kanji and Japanese punctuation; Swallow v1")
    max_duplicate_paragraph_fraction: float = Field(
        default=0.30, ge=0, le=1, description="lines that occurred before / lines; Swallow v1, after Gopher"
    )
    max_duplicate_paragraph_character_fraction: float = Field(
        default=0.20, ge=0, le=1, description="the same, in characters; Swallow v1, after Gopher"
    )
    max_duplicate_sentence_fraction: float = Field(
        default=0.30,
        ge=0,
        le=1,
        description="sentences that occurred before / sentences; Swallow v1, after Gopher",
    )
    max_duplicate_sentence_character_fraction: float = Field(
        default=0.20, ge=0, le=1, description="the same, in characters; Swallow v1, after Gopher"
    )
    max_top_2gram_fraction: float = Field(
        default=0.20,
        ge=0,
        le=1,
        description="occurrences of the most frequent character 2-gram / 2-grams; Swallow v1",
    )
    max_top_3gram_fraction: float = Field(default=0.18, ge=0, le=1, description="the same for 3-grams; Swallow v1")
    max_top_4gram_fraction: float = Field(default=0.16, ge=0, le=1, description="the same for 4-grams; Swallow v1")
    max_duplicate_5gram_fraction: float = Field(
        default=0.15,
        ge=0,
        le=1,
        description="distinct character 5-grams seen again / distinct; Swallow v1, as released",
    )
    max_duplicate_6gram_fraction: float = Field(
        default=0.14, ge=0, le=1, description="the same for 6-grams; Swallow v1"
    )
    max_duplicate_7gram_fraction: float = Field(
        default=0.13, ge=0, le=1, description="the same for 7-grams; Swallow v1"
    )
    max_duplicate_8gram_fraction: float = Field(
        default=0.12, ge=0, le=1, description="the same for 8-grams; Swallow v1"
    )
    max_duplicate_9gram_fraction: float = Field(
        default=0.11, ge=0, le=1, description="the same for 9-grams; Swallow v1"
    )
    max_duplicate_10gram_fraction: float = Field(
        default=0.10, ge=0, le=1, description="the same for 10-grams; Swallow v1"
    )
    min_hiragana_ratio: float = Field(default=0.2, ge=0, le=1, description="hiragana / Japanese letters; Swallow v1")
    max_katakana_ratio: float = Field(default=0.5, ge=0, le=1, description="katakana / Japanese letters; Swallow v1")
    min_japanese_ratio: float = Field(default=0.5, ge=0, le=1, description="Japanese letters / characters; Swallow v1")
    min_mean_sentence_length: float = Field(default=20, ge=0, description="characters a sentence; Swallow v1")
    max_mean_sentence_length: float = Field(default=90, ge=0, description="characters a sentence; Swallow v1")
    max_sentence_length: int = Field(default=200, ge=0, description="characters of the longest sentence; Swallow v1")
    max_ellipsis_ratio: float = Field(
        default=0.2, ge=0, le=1, description="sentences ending in ・ or … / all; Swallow v1"
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
    extractor: Literal["resiliparse", "trafilatura"] = Field(
        default="resiliparse",
        description="main-text extraction; trafilatura is Swallow's and some ten times slower",
    )
    japanese_lines: JapaneseLinesConfig = Field(default_factory=JapaneseLinesConfig, description="mixed pages")
    language: LanguageConfig = Field(default_factory=LanguageConfig, description="the language decision")
    quality: QualityConfig = Field(default_factory=QualityConfig, description="the quality rules")
    max_page_bytes: int = Field(
        default=8 << 20,
        ge=1024,
        description="bytes of a page after Content-Encoding; larger ones are refused unparsed",
    )
    max_page_seconds: float = Field(
        default=20, gt=0, description="seconds for extracting one page, then it is given up"
    )
    max_bad_record_ratio: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="torn, undecodable or unextractable records / records above which the stage fails",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_profile(cls, values: Any) -> Any:
        """Put the profile's defaults beneath what was set."""
        profile = _PROFILES.get(values.get("profile", "hibari")) if isinstance(values, dict) else None
        if profile is None:
            return values  # the fields' own validation says what is wrong
        filled = {"extractor": profile["extractor"], **values}
        lines = values.get("japanese_lines", {})
        if isinstance(lines, dict):
            filled["japanese_lines"] = {**profile["japanese_lines"], **lines}
        return filled
