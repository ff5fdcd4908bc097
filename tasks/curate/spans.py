"""Where in a text is what a quality rule dropped it for.

In: the text, the rule and the thresholds. Out: spans (first place, place behind the last; in characters), in order and
apart from one another; none for a rule that is about the text as a whole.

| rules | spans |
| --- | --- |
| DUPLICATE_PARAGRAPHS, DUPLICATE_PARAGRAPH_CHARACTERS | lines that occurred before |
| DUPLICATE_SENTENCES, DUPLICATE_SENTENCE_CHARACTERS | sentences that occurred before |
| TOP_2GRAM, TOP_3GRAM, TOP_4GRAM | the most frequent n-gram, wherever it stands |
| DUPLICATE_5GRAMS to DUPLICATE_10GRAMS | n-grams that occur more than once |
| TOO_LITTLE_PROSE | sentences that do not end as prose does |
| SENTENCES_TOO_SHORT, SENTENCES_TOO_LONG, SENTENCE_TOO_LONG | sentences beyond that threshold |
| TOO_MANY_ELLIPSES | sentences that end so |
| NG_WORDS | the words |

    offending_spans("雲雀。雲雀。", Rule.DUPLICATE_SENTENCES, config)  # [(3, 6)]
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from storage.ledger import Rule
from tasks.curate.metrics import ELLIPSES, PROSE_ENDS, SENTENCE
from tasks.curate.ngwords import load_ng_words
from tasks.curate.quality_config import QualityConfig

Span = tuple[int, int]
_LINE = re.compile(r"[^\n]+")
_SIZE = re.compile(r"\d+")


def offending_spans(text: str, rule: Rule, config: QualityConfig) -> list[Span]:
    """The places that make a text fail a rule.

    Raises:
        FileNotFoundError, ValueError: NG_WORDS, and a list of the config is not readable.
    """
    if rule in (Rule.DUPLICATE_PARAGRAPHS, Rule.DUPLICATE_PARAGRAPH_CHARACTERS):
        return _repeats(_LINE.finditer(text))
    if rule in (Rule.DUPLICATE_SENTENCES, Rule.DUPLICATE_SENTENCE_CHARACTERS):
        return _repeats(SENTENCE.finditer(text))
    if rule.name.startswith("TOP_"):
        return _most_frequent(text, _ngram_size(rule))
    if rule.name.endswith("GRAMS"):
        return _repeated_ngrams(text, _ngram_size(rule))
    if rule == Rule.NG_WORDS:
        words = load_ng_words(config.ng_words)
        return _merged(words.spans(text)) if words else []
    is_offending = _sentence_tests(config).get(rule)
    return [match.span() for match in SENTENCE.finditer(text) if is_offending(match[0])] if is_offending else []


def _sentence_tests(config: QualityConfig) -> dict[Rule, Callable[[str], bool]]:
    return {
        Rule.TOO_LITTLE_PROSE: lambda sentence: sentence[-1] not in PROSE_ENDS,
        Rule.SENTENCES_TOO_SHORT: lambda sentence: len(sentence) < config.min_mean_sentence_length,
        Rule.SENTENCES_TOO_LONG: lambda sentence: len(sentence) > config.max_mean_sentence_length,
        Rule.SENTENCE_TOO_LONG: lambda sentence: len(sentence) > config.max_sentence_length,
        Rule.TOO_MANY_ELLIPSES: lambda sentence: sentence.strip().endswith(ELLIPSES),
    }


def _ngram_size(rule: Rule) -> int:
    match = _SIZE.search(rule.name)
    assert match is not None, rule
    return int(match[0])


def _repeats(units: Iterable[re.Match[str]]) -> list[Span]:
    seen: set[str] = set()
    spans = []
    for unit in units:
        if unit[0] in seen:
            spans.append(unit.span())
        seen.add(unit[0])
    return spans


def _most_frequent(text: str, size: int) -> list[Span]:
    counts = Counter(text[start : start + size] for start in range(len(text) - size + 1))
    if not counts:
        return []
    [(ngram, _)] = counts.most_common(1)
    return _merged(match.span(1) for match in re.finditer(f"(?=({re.escape(ngram)}))", text))


def _repeated_ngrams(text: str, size: int) -> list[Span]:
    ngrams = [text[start : start + size] for start in range(len(text) - size + 1)]
    counts = Counter(ngrams)
    return _merged((start, start + size) for start, ngram in enumerate(ngrams) if counts[ngram] > 1)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, with those that touch or overlap made one."""
    merged: list[Span] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
