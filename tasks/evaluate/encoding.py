"""Requests as token ids of one model, cut to what it can read.

In: requests in text and a tokenizer; out: `Fitted`, the ids before the answer and those of the answer. Context and
continuation are tokenised as lm-evaluation-harness 0.4.13 does it: white space that ends the context goes to the
continuation, both are encoded as one text, and the continuation's ids are those after as many as the context alone
has. What precedes the first id is the tokenizer's document prefix (BOS); an empty context is that prefix, or
the id that ends documents where there is none.

A prompt that is too long loses whole shots, the first ones first, then the end of its passage, at the end of a
sentence where one fits. Only when nothing of these is left do ids go: those between head and question, then the
end of the head. The question stays. All requests that share a context are cut alike, to leave room for the longest
continuation. A context with `overlong="left"` loses ids at its left, each request by itself, as in the harnesses.

    fitted = fit_all(encoder, requests, max_length=2048)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tasks.evaluate.bits_per_byte import start_ids
from tasks.evaluate.requests import Context, Fitted, Generate, LogLikelihood, Request, Rolling
from tasks.evaluate.sentence_budget import cut_articles
from tokenizer.encoder import Encoder

_SENTENCE_END = re.compile(r"[。！？!?\n]|\.(?=\s|$)")
_IDS_PER_CHARACTER = 2  # SmolLM2, made for English, spends 1.8 on a Japanese character
_AT_ONCE = 2048  # requests whose texts are encoded in one call: 75 MB of ids where each has 1,000
_LARGEST_ROOM = 4  # at most one in so many of the model's positions is kept free for an answer without max_tokens


def fit(encoder: Encoder, request: Request, max_length: int) -> Fitted:
    """One request; see `fit_all`, which cuts the requests of an item alike and is faster."""
    return fit_all(encoder, [request], max_length)[0]


def fit_all(encoder: Encoder, requests: Sequence[Request], max_length: int) -> list[Fitted]:
    """Tokenise requests; none is longer than `max_length`, what it may generate included (`Rolling` is not cut).

    Raises:
        ValueError: a continuation is empty, or it, or the question, does not fit by itself.
    """
    pairs = _pairs(encoder, requests)
    longest: dict[Context, int] = {}
    for request, pair in zip(requests, pairs, strict=True):
        if isinstance(request, LogLikelihood) and request.context.overlong == "shots":
            longest[request.context] = max(longest.get(request.context, 0), len(pair.continuation))
    cuts: dict[tuple[Context, int], _Cut] = {}
    fitted = []
    for request, pair in zip(requests, pairs, strict=True):
        if isinstance(request, Rolling):
            fitted.append(Fitted(request, pair.context, pair.continuation))
            continue
        answer = longest.get(request.context, len(pair.continuation))
        room = max_length - (_room_to_generate(request, max_length) if isinstance(request, Generate) else answer)
        if len(pair.context) <= room:
            fitted.append(Fitted(request, pair.context, pair.continuation))
            continue
        key = request.context, room
        if key not in cuts:
            cuts[key] = _cut(encoder, request, room, max_length)
        fitted.append(_shortened(encoder, request, pair, cuts[key], room))
    return fitted


@dataclass(frozen=True)
class _Pair:
    """Ids of a request, uncut."""

    context: list[int]
    continuation: list[int]


def _pairs(encoder: Encoder, requests: Sequence[Request]) -> list[_Pair]:
    """Every distinct text is encoded once, and the choices of an item share one list of its context's ids."""
    pairs: list[_Pair] = []
    for first in range(0, len(requests), _AT_ONCE):
        some = requests[first : first + _AT_ONCE]
        texts = [_texts(request) for request in some]
        distinct = list(dict.fromkeys(text for own in texts for text in own))
        ids = dict(zip(distinct, encoder.encode_batch(distinct), strict=True))
        contexts: dict[tuple[str, bool], list[int]] = {}
        for request, own in zip(some, texts, strict=True):
            if isinstance(request, Rolling):
                pairs.append(_Pair(start_ids(encoder), ids[request.text]))
                continue
            key = own[0], request.context.start
            if key not in contexts:
                contexts[key] = _started(encoder, request.context, ids[own[0]])
            after = ids[own[1]][len(ids[own[0]]) :] if isinstance(request, LogLikelihood) else []
            if isinstance(request, LogLikelihood) and not after:
                # A tokenizer that merges across the border can leave nothing: then the continuation is encoded alone.
                after = encoder.encode(own[1][len(own[0]) :])
            pairs.append(_Pair(contexts[key], after))
    return pairs


def _texts(request: Request) -> tuple[str, ...]:
    """What is encoded: a text; or a context without the white space it ends with, and all of context and continuation.

    Raises:
        ValueError: a continuation is empty.
    """
    if isinstance(request, Rolling):
        return (request.text,)
    text = request.context.text
    if isinstance(request, Generate):
        return (text,)
    if not request.continuation:
        raise ValueError(
            f"a continuation to be scored is empty, after {request.context.after[-60:]!r}: leave the item out"
        )
    return text.rstrip(), text + request.continuation


def _started(encoder: Encoder, context: Context, ids: Sequence[int]) -> list[int]:
    """The ids of a context after what precedes them; never empty."""
    start = encoder.policy.prefix if context.start else ()
    # Without BOS even an empty context gets none: the harnesses put the id that ends texts there.
    return [*start, *ids] or (start_ids(encoder) if context.start else [encoder.eos_id])


def _room_to_generate(request: Generate, max_length: int) -> int:
    """Positions kept free for the answer."""
    if request.max_tokens is not None:
        return request.max_tokens
    most = max_length // _LARGEST_ROOM
    return max(1, min(most, _IDS_PER_CHARACTER * (request.max_characters or most)))


@dataclass(frozen=True)
class _Cut:
    """What is left of a context's parts, and how many ids are still too many."""

    context: Context
    shots_dropped: int = 0
    characters_cut: int = 0


def _cut(encoder: Encoder, request: LogLikelihood | Generate, room: int, max_length: int) -> _Cut:
    """Drop shots, then the end of the passage, until the context has at most `room` ids or no more of either."""
    context = request.context
    alone = len(_ids(encoder, Context(after=context.after, start=context.start), request))
    if room < 1 or (context.overlong == "shots" and alone > room):
        asked = f"{max_length - room} for the answer" + (f" and {alone} for the question" if room >= 1 else "")
        raise ValueError(
            f"a request does not fit into the model: it needs {asked}, of {max_length} tokens; raise "
            f"evaluate.max_length if the model can read more, or leave the item out: {context.after[-60:]!r}"
        )
    if context.overlong == "left":
        return _Cut(context)
    if context.overlong == "sentences":
        text = cut_articles(context, encoder, max_length)
        shorter = Context(after=text, overlong="left", start=context.start)
        return _Cut(shorter, characters_cut=len(context.text) - len(text))

    def fits(candidate: Context) -> bool:
        return len(_ids(encoder, candidate, request)) <= room

    dropped = 0
    while context.shots and not fits(context):
        context, dropped = replace(context, shots=context.shots[1:]), dropped + 1
    if fits(context):
        return _Cut(context, dropped)
    passage = context.passage
    ends = [match.end() for match in _SENTENCE_END.finditer(passage)]
    kept = _largest(ends, lambda end: fits(replace(context, passage=passage[:end])))
    if not kept:
        kept = _largest(range(1, len(passage)), lambda end: fits(replace(context, passage=passage[:end])))
    return _Cut(replace(context, passage=passage[:kept]), dropped, len(passage) - kept)


def _largest(candidates: Sequence[int], fits: Callable[[int], bool]) -> int:
    """The largest of ascending candidates that fits, 0 where none does."""
    low, high = 0, len(candidates)  # candidates[:low] fit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(candidates[middle - 1]) else (low, middle - 1)
    return candidates[low - 1] if low else 0


def _ids(encoder: Encoder, context: Context, request: LogLikelihood | Generate) -> list[int]:
    """The ids of a context as they stand before the answer of `request`."""
    text = context.text if isinstance(request, Generate) else context.text.rstrip()
    return _started(encoder, context, encoder.encode(text))


def _shortened(encoder: Encoder, request: LogLikelihood | Generate, pair: _Pair, cut: _Cut, room: int) -> Fitted:
    context = cut.context
    ids = _ids(encoder, context, request) if context != request.context else pair.context
    excess = max(0, len(ids) - room)
    first = _first_to_go(encoder, request, ids, excess) if excess else 0
    return Fitted(
        request,
        [*ids[:first], *ids[first + excess :]],
        pair.continuation,
        shots_dropped=cut.shots_dropped,
        characters_cut=cut.characters_cut,
        ids_cut=excess,
    )


def _first_to_go(encoder: Encoder, request: LogLikelihood | Generate, ids: Sequence[int], excess: int) -> int:
    """Where the ids begin that have to go: after the document prefix, and after the head where enough come between."""
    context = request.context
    start = len(encoder.policy.prefix) if context.start else 0
    if context.overlong != "shots":
        return start
    after = len(_ids(encoder, Context(after=context.after, start=False), request))
    head = start + len(encoder.encode(context.head))
    return max(start, min(head, len(ids) - after - excess))
