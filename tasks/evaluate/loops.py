"""Where a generated text begins to say nothing but the same over and over.

A small or early model, decoded greedily, falls into a loop and stays there to the limit of the answer: most of what it
writes, and of the time it takes. A text is cut where its last 48 characters or more are a phrase of at most 60, three
times or more. A rule about characters alone: it does not depend on tokens, batches or backends, and no list or number
that is an answer repeats itself so.

    loop_end("東京です。" + "はい" * 40)    # 53: 5 characters and 24 times はい
"""

from __future__ import annotations

from tasks.evaluate.requests import Generate

MIN_CHARACTERS = 48
MAX_PHRASE = 60
MIN_TIMES = 3


def loop_end(text: str, start: int = 0) -> int | None:
    """The first place above `start` at which `text` ends in a loop; None where it does not.

    Args:
        start: characters that are known to hold none.
    """
    for end in range(max(start + 1, MIN_CHARACTERS), len(text) + 1):
        for phrase in range(1, MAX_PHRASE + 1):
            window = max(MIN_CHARACTERS, MIN_TIMES * phrase)
            if end < window:
                break
            if text[end - 1 - phrase] == text[end - 1] and _repeats(text[end - window : end], phrase):
                return end
    return None


def before_loop(text: str, request: Generate) -> str | None:
    """What a backend that does not look while it writes has to return for a text that ends in a loop; else None."""
    end = loop_end(text[: request.max_characters]) if request.stop_loops else None
    return None if end is None else text[:end]


def _repeats(text: str, phrase: int) -> bool:
    """Whether each character is that of `phrase` places before."""
    return text[phrase:] == text[:-phrase]
