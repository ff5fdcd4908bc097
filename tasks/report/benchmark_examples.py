"""What models made of single items: prompt, raw output, right and wrong, made fit for a page.

In: the example rows of every model and the prompts that evaluate kept in full for the same few items. Out: JSON-like
facts: per task and profile some items that the shown model got right and some that it got wrong, drawn by the hash of
their ids, each with every model's output. What a model wrote is data: control characters and marks that turn the
direction of writing become visible, lone surrogates the replacement character, long texts lose their middle.

    example_facts(files, tasks=[("jsquad", "strict")], models=["base", "trained"])
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report.evaluation_files import EvaluationFiles, Row

NUM_EACH = 2  # right ones and wrong ones of a task
MAX_PROMPT = 3_000  # characters shown; a 4-shot prompt of SQuAD has 8,000
MAX_OUTPUT = 800
MAX_CONTINUATIONS = 10
_RIGHT = 0.5  # a graded score of a half and more counts as right

# Everything that is no text: C0 but tab and line feed, DEL, C1, marks and overrides of direction, byte order mark.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL_PICTURES = 0x2400
_SPACE = 0x20
_DELETE = 0x7F


def readable(text: Any, limit: int) -> dict[str, Any]:
    """Text for a page: `text` with all that is invisible made visible, `left_out` characters of its middle.

    A third of what is kept is the beginning, the rest the end, where the question and the answer are.
    """
    whole = text if isinstance(text, str) else "" if text is None else str(text)
    left_out = max(0, len(whole) - limit)
    parts = [whole] if not left_out else [whole[: limit // 3], whole[len(whole) - (limit - limit // 3) :]]
    return {"parts": [_visible(part) for part in parts], "left_out": left_out}


def example_facts(
    files: EvaluationFiles, tasks: Sequence[tuple[str, str]], models: Sequence[str]
) -> list[dict[str, Any]]:
    """The items shown of each (task, profile).

    Args:
        models: whose outputs are shown; items are drawn by the last one's right and wrong answers.

    Returns:
        `task`, `profile`, `items`: each with `id`, `prompt`, `continuations`, `outcome` and `answers`, one per model.
    """
    found = []
    for task, profile in tasks:
        rows = {model: {row["id"]: row for row in files.examples(model, task, profile)} for model in models}
        asked = [model for model in models if rows[model]]
        if not asked:
            continue
        shown = asked[-1]
        prompts = {row["id"]: row for row in files.prompts(shown, task, profile)}
        items = [_item(id_, prompts, {model: rows[model] for model in asked}, shown)
                 for id_ in _drawn(task, prompts, rows[shown])]  # fmt: skip
        if items:
            found.append({"task": task, "profile": profile, "shown": shown, "items": items})
    return found


def outcome(row: Row) -> str:
    """`right`, `wrong`, or empty where the metric says nothing of one item."""
    score = row.get("score")
    return "" if score is None else "right" if score >= _RIGHT else "wrong"


def _drawn(task: str, prompts: Mapping[str, Row], rows: Mapping[str, Row]) -> list[str]:
    """Ids of items whose prompt was kept, in the order of their hash: as many right as wrong ones, where there are."""

    def by_hash(id_: str) -> bytes:
        return hashlib.sha256(f"{task}/{id_}".encode(errors="replace")).digest()

    ids = sorted((id_ for id_ in prompts if id_ in rows), key=by_hash)
    right = [id_ for id_ in ids if outcome(rows[id_]) == "right"][:NUM_EACH]
    wrong = [id_ for id_ in ids if outcome(rows[id_]) == "wrong"][:NUM_EACH]
    unknown = [id_ for id_ in ids if outcome(rows[id_]) == ""][:NUM_EACH]
    return right + wrong + unknown


def _item(id_: str, prompts: Mapping[str, Row], rows: Mapping[str, Mapping[str, Row]], shown: str) -> dict[str, Any]:
    continuations = list(prompts[id_].get("continuations") or ())
    return {
        "id": _visible(str(id_)),
        "language": rows[shown][id_].get("language"),
        "outcome": outcome(rows[shown][id_]),
        "prompt": readable(prompts[id_].get("prompt"), MAX_PROMPT),
        "continuations": [readable(text, MAX_OUTPUT) for text in continuations[:MAX_CONTINUATIONS]],
        "gold": readable(rows[shown][id_].get("gold"), MAX_OUTPUT),
        "answers": [_answer(model, own[id_]) for model, own in rows.items() if id_ in own],
    }


def _answer(model: str, row: Row) -> dict[str, Any]:
    cut = [
        f"{row[name]:,} {words}"
        for name, words in (
            ("shots_dropped", "shots dropped"),
            ("characters_cut", "characters of the passage cut"),
            ("ids_cut", "tokens cut at the left"),
        )
        if row.get(name)
    ]
    output, normalised = row.get("output"), row.get("normalised_output")
    return {
        "model": model,
        "outcome": outcome(row),
        "score": row.get("score"),
        "output": readable(output, MAX_OUTPUT),
        "normalised": None if normalised in (output, None) else readable(normalised, MAX_OUTPUT),
        "flags": [str(flag) for flag in row.get("flags") or ()],
        "tokens": row.get("tokens"),
        "cut": cut,
    }


def _visible(text: str) -> str:
    return _SURROGATE.sub("\ufffd", _INVISIBLE.sub(_picture, text))


def _picture(found: re.Match[str]) -> str:
    """`␀` for a control character that has a picture, else its code point, `⟨U+202E⟩`."""
    code = ord(found[0])
    if code < _SPACE:
        return chr(_CONTROL_PICTURES + code)
    return "\u2421" if code == _DELETE else f"\u27e8U+{code:04X}\u27e9"
