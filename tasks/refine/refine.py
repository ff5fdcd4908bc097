"""What is done to a document that deduplication keeps, before it is written: drop it, or cut and mend its text.

In the order of the Swallow Corpus paper, which filters hosts after deduplication and modifies texts last: blocked
hosts, boilerplate lines of the host, punctuation, footer, personal information, items of benchmarks. A document of
which too little is left is dropped too.
`deduplicate` runs this as it writes its survivors; nothing here reads or writes documents.

    refiner = Refiner(RefineConfig(), boilerplate_keys)
    refined = refiner.refine({"host": "example.jp", "url": "https://example.jp/", "text": "..."})
    refined.rule, refined.text, refined.counts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from storage.ledger import Rule
from tasks.refine.boilerplate import Boilerplate
from tasks.refine.config import RefineConfig
from tasks.refine.contamination import Contamination, Hit
from tasks.refine.footer import Footer
from tasks.refine.hosts import BlockedHosts
from tasks.refine.pii import PII_COUNTS, mask
from tasks.refine.punctuation import to_japanese

# What is counted, in the order in which it is done.
COUNTS = (
    "boilerplate_lines",
    "boilerplate_characters",
    "punctuation_marks",
    "footer_lines",
    "footer_characters",
    *PII_COUNTS,
)
DROPPING = (Rule.BLOCKED_HOST, Rule.EMPTIED, Rule.CONTAMINATED)
NO_LINES = np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Refined:
    """A document after refinement.

    Attributes:
        rule: why it is dropped, None where it is kept; `value` was measured and held against `threshold`.
        counts: what was cut, replaced and masked: those of COUNTS that are not 0.
        blocked_by: the entry or pattern that blocks its host.
        hits: items of benchmarks that it contains, the largest overlap first.
    """

    text: str
    rule: Rule | None = None
    value: float | None = None
    threshold: float | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    blocked_by: str | None = None
    hits: Sequence[Hit] = ()


class Refiner:
    """Refines documents; holds the lists. `boilerplate_keys`: of all boilerplate lines, sorted.

    `contamination` is None where no benchmark is named.

    Raises:
        FileNotFoundError, ValueError: a list or benchmark is missing or unreadable.
    """

    def __init__(self, config: RefineConfig, boilerplate_keys: np.ndarray = NO_LINES) -> None:
        self._config = config
        self._hosts = BlockedHosts(config.hosts)
        self._boilerplate = Boilerplate(boilerplate_keys, config.boilerplate)
        self._footer = Footer(config.footer)
        self.contamination = Contamination(config.decontamination) if config.decontamination.benchmarks else None

    @property
    def is_active(self) -> bool:
        """Whether documents with a text can be changed, dropped, or found to contain something at all."""
        config = self._config
        cuts = config.japanese_punctuation or bool(config.footer.files) or not self._boilerplate.is_empty
        blocks = bool(config.hosts.files or config.hosts.patterns)
        return cuts or blocks or config.pii.enabled or self.contamination is not None

    def refine(self, row: Mapping[str, Any]) -> Refined:
        """Refine a document: its `host`, `url` and `text`."""
        if blocked_by := self._hosts.match(row["host"], row["url"]):
            return Refined(row["text"], Rule.BLOCKED_HOST, blocked_by=blocked_by)
        counts = dict.fromkeys(COUNTS, 0)
        text = self._cut(row["host"], row["text"], counts)
        left, least = len(text.strip()), self._config.min_characters if len(text) < len(row["text"]) else 1
        if left < least:
            return Refined(text, Rule.EMPTIED, left, least, _nonzero(counts))
        text, masked = mask(text, self._config.pii)
        counts.update(masked)
        hits = self.contamination.find(text) if self.contamination else []
        if hits and self._config.decontamination.action == "drop":
            return Refined(text, Rule.CONTAMINATED, hits[0].overlap, hits[0].needed, counts=_nonzero(counts), hits=hits)
        return Refined(text, counts=_nonzero(counts), hits=hits)

    def _cut(self, host: str | None, text: str, counts: dict[str, int]) -> str:
        """The text without boilerplate and footer, in Japanese punctuation."""
        text, counts["boilerplate_lines"], counts["boilerplate_characters"] = self._boilerplate.cut(host, text)
        if self._config.japanese_punctuation:
            text, counts["punctuation_marks"] = to_japanese(text)
        before = len(text)
        text, counts["footer_lines"] = self._footer.cut(text)
        counts["footer_characters"] = before - len(text)
        return text


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}
