"""What is odd about one answer, and about the prompt it came from: flags of an example.

In: a form's judgement, and the fitted requests and results behind it; out: names of what was found, in the order of
`FLAGS`, the form's own first. They do not touch any score; they say why it may be low. An answer of a label's length
(`LABEL_TOKENS`) is meant to end at its limit, and a shot's answer is only a copy where it is wrong and long enough not
to be chance.

    example_flags(judgement, fitted, results)      # ("unparsable", "loop", "token_limit")
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tasks.evaluate.benchmark import Judgement
from tasks.evaluate.requests import Fitted, Generate, Generated, Result

FLAGS = (
    "empty_output",
    "unparsable",
    "loop",
    "wrong_language",
    "copied_shot",
    "copied_prompt",
    "token_limit",
    "character_limit",
    "shots_dropped",
    "passage_cut",
    "prompt_cut",
)
LABEL_TOKENS = 3  # the longest cap of a form that asks for a single label: JNLI's of swallow-2023

_JAPANESE = re.compile("[\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d々〆]")
_LATIN = re.compile("[A-Za-zＡ-Ｚａ-ｚÀ-ɏ]")
_LOOP_REPEATS, _LOOP_CHARACTERS = 4, 8
_NGRAM, _NGRAM_CHARACTERS = 6, 100
_COPIED_SHOT, _COPIED_PROMPT = 4, 12  # characters from which on a copy is no chance


def example_flags(judgement: Judgement, fitted: Sequence[Fitted], results: Sequence[Result]) -> tuple[str, ...]:
    """The judgement's own flags and those of its requests, each once."""
    found = set(judgement.flags)
    for each, result in zip(fitted, results, strict=True):
        found.update(_prompt_flags(each))
        if isinstance(result, Generated):
            found.update(_output_flags(judgement, each, result))
    own = [flag for flag in dict.fromkeys(judgement.flags) if flag not in FLAGS]
    return (*own, *(flag for flag in FLAGS if flag in found))


def _prompt_flags(fitted: Fitted) -> Iterator[str]:
    if fitted.shots_dropped:
        yield "shots_dropped"
    if fitted.characters_cut:
        yield "passage_cut"
    if fitted.ids_cut:
        yield "prompt_cut"


def _output_flags(judgement: Judgement, fitted: Fitted, result: Generated) -> Iterator[str]:
    assert isinstance(fitted.request, Generate)
    context, cap = fitted.request.context, fitted.request.max_tokens
    text = result.text.strip()
    if not text:
        yield "empty_output"
    if result.ended_by == "loop" or loops(text):
        yield "loop"
    if is_other_language(text, judgement.gold):
        yield "wrong_language"
    if text != judgement.gold.strip():
        if len(text) >= _COPIED_SHOT and any(_ends_with_answer(shot, text) for shot in context.shots):
            yield "copied_shot"
        # An answer from the passage is what extraction and summaries are about.
        if len(text) >= _COPIED_PROMPT and text in f"{context.head}\0{context.before}\0{context.after}":
            yield "copied_prompt"
    if result.ended_by == "tokens" and (cap is None or cap > LABEL_TOKENS):
        yield "token_limit"
    if result.ended_by == "characters":
        yield "character_limit"


def loops(text: str) -> bool:
    """Whether a text goes round in circles.

    Its end repeats one piece four times or more, over at least 8 characters; or, in 100 characters or more, over half
    of its 6-character n-grams stood in it before.

    Digits repeat in numbers, and are no loop by themselves.
    """
    for period in range(1, len(text) // _LOOP_REPEATS + 1):
        repeated = period
        while repeated < len(text) and text[-1 - repeated] == text[-1 - repeated + period]:
            repeated += 1
        if repeated >= max(_LOOP_REPEATS * period, _LOOP_CHARACTERS) and not text[-period:].isdigit():
            return True
    if len(text) < _NGRAM_CHARACTERS:
        return False
    ngrams = [text[at : at + _NGRAM] for at in range(len(text) - _NGRAM + 1)]
    return 2 * len(set(ngrams)) < len(ngrams)


def is_other_language(output: str, gold: str) -> bool:
    """Whether an answer is in Latin letters only where the right one is Japanese, or the other way round."""
    japanese, latin = bool(_JAPANESE.search(output)), bool(_LATIN.search(output))
    if _JAPANESE.search(gold):
        return latin and not japanese
    return bool(_LATIN.search(gold)) and japanese and not latin


def _ends_with_answer(shot: str, text: str) -> bool:
    """Whether a shot ends with this text as a whole: behind a colon, a space or a new line."""
    shot = shot.rstrip()
    return shot.endswith(text) and not shot[: -len(text)][-1:].isalnum()
