"""The `refine` section of a run file: what is done to the documents that deduplication keeps, as they are written.

The recipe is the Swallow Corpus's (Okazaki et al., COLM 2024; the released `swallow-corpus` code, `ngurl.py`,
`kutoten.py`, `footer.py`): hosts first, then the text. What that recipe does not have names another source.
Every model is hashable: a worker keeps what it has read for one configuration.

    RefineConfig(profile="swallow-v1", hosts={"files": ["blacklists/adult/domains"]})
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.profiles import beneath
from tasks.refine.contamination_config import DecontaminationConfig
from tasks.refine.pii_config import PiiConfig

BUILTIN = "builtin"  # in place of a path: the list that comes with Hibari
# What a profile sets beneath what the run file says; the fields' own defaults are the hibari profile.
_PROFILES: dict[str, dict[str, Any]] = {
    "hibari": {},
    "swallow-v1": {
        "hosts": {"patterns": ("*.5ch.net", "*wikipedia.org")},
        "boilerplate": {"enabled": False},
        "pii": dict.fromkeys(("email", "phone", "my_number", "ip_address", "postal_address"), False),
        "min_characters": 1,
    },
}


class HostsConfig(BaseModel):
    """Hosts and pages that the corpus is not to have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...] = Field(
        default=(BUILTIN,),
        description="lists of hosts (with their subdomains) and of URLs (with what lies below them), one a line, as "
        "UT1 publishes them; paths, globs or URIs, .gz or not; builtin: the short list that comes with Hibari",
    )
    patterns: tuple[str, ...] = Field(
        default=("*.5ch.net",),
        description="hosts by shell pattern. Swallow v1: *.5ch.net and *wikipedia.org, because Wikipedia's dump was "
        "mixed in by itself; where no dump is mixed in, its pages are the best of the crawl, so hibari keeps them",
    )


class BoilerplateConfig(BaseModel):
    """Lines that many pages of one host have: menus, notices, lists of related articles; not in Swallow's recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(default=True, description="cut them out of every document of the host")
    min_documents: int = Field(
        default=5, ge=2, description="documents of the host that have the line, at the least; Hibari"
    )
    min_share: float = Field(default=0.2, gt=0, le=1, description="... and this share of the host's documents; Hibari")
    min_letters: int = Field(
        default=20,
        ge=1,
        description="letters of a long line, which is cut wherever it stands. A shorter one could be a heading that "
        "pages share: it is cut beside another such line, or at the end, only; Hibari",
    )
    enough_documents: int = Field(
        default=100,
        ge=2,
        description="in this many documents a long line is boilerplate whatever their share: notices of one shop or "
        "author on a host of many; Hibari",
    )


class FooterConfig(BaseModel):
    """The end of a page from where it speaks of copyright, links and log-ins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: tuple[str, ...] = Field(
        default=(BUILTIN,),
        description="lists of footer keywords, one a line; builtin: the list that comes with Hibari; none: cut nothing",
    )
    num_lines: int = Field(
        default=10, ge=1, description="lines at the end of a document that are looked at; Swallow v1"
    )
    max_keyword_ratio: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="characters of a line that are in keywords / all; cut from the first line above it; Swallow v1",
    )


class RefineConfig(BaseModel):
    """Survivors of deduplication in, the corpus as it is read out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: Literal["hibari", "swallow-v1"] = Field(
        default="hibari",
        description="defaults for what is not set; as `curate.profile` where it is left out of a run file",
    )
    hosts: HostsConfig = Field(default_factory=HostsConfig, description="blocked hosts and pages")
    boilerplate: BoilerplateConfig = Field(
        default_factory=BoilerplateConfig, description="lines repeated across a host"
    )
    japanese_punctuation: bool = Field(
        default=True, description="，． to 、。 in documents that have more of the first; Swallow v1"
    )
    footer: FooterConfig = Field(default_factory=FooterConfig, description="footers")
    pii: PiiConfig = Field(default_factory=PiiConfig, description="personal information to mask")
    decontamination: DecontaminationConfig = Field(
        default_factory=DecontaminationConfig, description="documents that contain items of benchmarks"
    )
    min_characters: int = Field(
        default=200,
        ge=1,
        description="characters that must be left of a document of which boilerplate or footer was cut; Hibari: half "
        "of what quality.min_letters asked of the whole",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_profile(cls, values: Any) -> Any:
        """Put the profile's settings beneath what was set."""
        profile = _PROFILES.get(values.get("profile", "hibari")) if isinstance(values, dict) else None
        return values if profile is None else beneath(profile, values)  # an unknown profile is the field's problem
