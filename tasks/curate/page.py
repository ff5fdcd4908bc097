"""One page through the steps of curation, in the order of their cost.

In: a `WarcPage`. Out: `Examined`: the decision, which rule refused it, and all that was found out on the way. Size,
status and type come first, then the rapid pre-check on raw bytes, the charset decision, main-text extraction, the
language decision with the Japanese-line step, the quality metrics and rules, and the root's tombstones. The first step
that refuses a page ends its way. The recipe is Swallow Corpus v1's (Okazaki et al., COLM 2024); what is ours is said in
`config.py`.

    with Examiner(config) as examiner:
        examined = examiner(page)
        examined.decision.rule, examined.charset, examined.text, examined.metrics
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

from storage.ledger import Rule
from storage.tombstones import Tombstones
from tasks.curate.charset import Decoded, decode
from tasks.curate.classifier import Classifier
from tasks.curate.config import CurateConfig
from tasks.curate.extract import (
    ExtractionFailedError,
    ExtractionMemoryError,
    ExtractionTimeoutError,
    Extractor,
    tidy,
)
from tasks.curate.language import LanguageJudge
from tasks.curate.metrics import Metrics, measure
from tasks.curate.ngwords import load_ng_words
from tasks.curate.precheck import declares_japanese, looks_japanese
from tasks.curate.rules import Decision, decide
from tasks.curate.warc import WarcPage

logger = logging.getLogger(__name__)

NOTHING_TAKEN_DOWN = Tombstones()
UNKNOWN_CHARSET = "unknown"

_HTML_TYPES = ("", "text/html", "application/xhtml+xml")
_MAYBE_HTML_TYPES = ("text/xml", "application/xml", "application/octet-stream")
_HTML_START = re.compile(rb"<html|<!doctype html", re.IGNORECASE)
_GIVEN_UP: dict[type[Exception], Rule] = {
    ExtractionTimeoutError: Rule.EXTRACTION_TIMEOUT,
    ExtractionMemoryError: Rule.EXTRACTION_MEMORY,
    ExtractionFailedError: Rule.EXTRACTION_FAILED,
}


@dataclass(frozen=True, slots=True)
class Examined:
    """What the steps found; what a page did not reach is None, 0 or empty.

    Attributes:
        charset: the charset it was decoded with.
        num_replaced: U+FFFD that decoding put in place of broken bytes.
        main_text: as extracted. `text` is what is left of it after the Japanese-line step.
        metrics: measured on `text`, of every page that is Japanese.
    """

    page: WarcPage
    decision: Decision
    charset: str | None = None
    num_replaced: int = 0
    main_text: str = ""
    text: str = ""
    language_score: float | None = None
    lines_removed: int = 0
    characters_removed: int = 0
    metrics: Metrics | None = None


class Examiner:
    """Takes pages through the steps; holds the models and the extractor's process.

    Raises:
        ValueError: the extractor, a model or a word list is not usable.
    """

    def __init__(self, config: CurateConfig, tombstones: Tombstones = NOTHING_TAKEN_DOWN) -> None:
        self.config = config
        self.tombstones = tombstones
        self._judge = LanguageJudge(config.language, config.japanese_lines)
        self._ng_words = load_ng_words(config.quality.ng_words)
        self._classifier = Classifier(config.classifier.model) if config.classifier.model else None
        self._extractor = Extractor(config.extractor, config.max_page_seconds, config.max_page_memory_mib)

    def __enter__(self) -> Examiner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._extractor.__exit__(kind, error, trace)

    def __call__(self, page: WarcPage) -> Examined:
        """Examine one page."""
        if (problem := page.problem or self._refuse_unread(page)) is not None:
            return Examined(page, _drop(problem))
        decoded = decode(page.body, page.http_charset)
        if decoded is None:
            return Examined(page, _drop(Rule.UNDECODABLE), page.http_charset or UNKNOWN_CHARSET)
        if decoded.is_mojibake:
            return Examined(page, _drop(Rule.MOJIBAKE), decoded.charset, decoded.num_replaced)
        return self._examine_text(page, decoded)

    def _refuse_unread(self, page: WarcPage) -> Rule | None:
        """Type and pre-check, on raw bytes."""
        if self.config.precheck == "declared":
            return None if declares_japanese(page.body, self._judge.score) else Rule.NO_JAPANESE_BYTES
        is_text = page.content_type in _HTML_TYPES or page.content_type == "text/plain"
        if not is_text and not (page.content_type in _MAYBE_HTML_TYPES and _HTML_START.search(page.body, 0, 1024)):
            return Rule.NOT_HTML
        return None if looks_japanese(page.body) else Rule.NO_JAPANESE_BYTES

    def _examine_text(self, page: WarcPage, decoded: Decoded) -> Examined:
        extracted = self._extract(page, decoded)
        if isinstance(extracted, Rule) or not extracted.strip():
            rule = extracted if isinstance(extracted, Rule) else Rule.EMPTY_TEXT
            return Examined(page, _drop(rule), decoded.charset, decoded.num_replaced)
        judged = self._judge(extracted)
        metrics = self._measure(judged.text) if judged.is_japanese else None
        if metrics is None:
            decision = Decision(False, Rule.NOT_JAPANESE, judged.score, self.config.language.min_score)
        else:
            decision = decide(metrics, self.config.quality)
            if decision.keep and self.tombstones.matches(page.url):
                decision = _drop(Rule.TAKEDOWN)
        return Examined(
            page,
            decision,
            charset=decoded.charset,
            num_replaced=decoded.num_replaced,
            main_text=extracted,
            text=judged.text,
            language_score=judged.score,
            lines_removed=judged.lines_removed,
            characters_removed=judged.characters_removed,
            metrics=metrics,
        )

    def _measure(self, text: str) -> Metrics:
        return measure(text, self._ng_words, self._classifier.score(text) if self._classifier else None)

    def _extract(self, page: WarcPage, decoded: Decoded) -> str | Rule:
        """The main text, or the rule for a page that the extractor could not stand."""
        if page.content_type == "text/plain" and self.config.precheck != "declared":
            return tidy(decoded.text)
        try:
            return self._extractor.extract(decoded.text)
        except tuple(_GIVEN_UP) as error:
            logger.warning("%s at %d: %s", page.url, page.offset, error)
            return _GIVEN_UP[type(error)]


def explain(page: WarcPage, config: CurateConfig, tombstones: Tombstones = NOTHING_TAKEN_DOWN) -> Examined:
    """Examine a single page, as curation did."""
    with Examiner(config, tombstones) as examiner:
        return examiner(page)


def host_of(url: str | None) -> str | None:
    """The host of a URL, None where it has none or is malformed."""
    try:
        return urlsplit(url).hostname if url else None
    except ValueError:  # such as a broken IPv6 address
        return None


def _drop(rule: Rule) -> Decision:
    return Decision(False, rule)
