"""What all forms of the harness' benchmarks have in common."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

import pytest

from tasks.evaluate.benchmark import Files, Item, Items
from tasks.evaluate.config import Profile
from tasks.evaluate.requests import Generate
from tasks.evaluate.suite import load_benchmark
from tests.tasks.evaluate.suite.suite_cases import prompt_of

# Of each benchmark the parts and gold of an item; in swallow-2023 it is its own shot.
PARTS: dict[str, tuple[dict[str, Any], Any]] = {
    "openbookqa": ({"query": "Snow melts when", "choices": ["night falls", "it gets warm"]}, 1),
    "hellaswag": ({"query": "Sea: A wave comes. It", "choices": ["breaks.", "votes."]}, 0),
    "triviaqa_3000": ({"question": "Where is Nara?", "answer": "Japan"}, ("Japan", "Nippon")),
    "squad2": ({"title": "Lark", "context": "Larks sing.", "question": "Who sings?"}, ("Larks",)),
    "gsm8k": ({"question": "1 and 1?", "solution": "1+1=2\n#### 2"}, "2"),
    "xwinograd_en": ({"before": "Ann saw Eve and ", "after": " ran.", "options": ["Ann", "Eve"]}, 1),
    "xwinograd_ja": ({"before": "姉は妹を見た。", "after": "は走った。", "options": ["姉", "妹"]}, 0),
    "mgsm_ja": ({"question": "1と1では？", "answer": "1+1=2。答えは2です。"}, Decimal(2)),
    "xlsum_ja": ({"text": "雲雀が鳴いた。"}, "雲雀。"),
    "wmt20_en_ja": ({"source": "A lark."}, "雲雀。"),
    "wmt20_ja_en": ({"source": "雲雀。"}, "A lark."),
}
# (benchmark, profile) -> version and digest of what is asked. Where a digest changes, the form's version must rise.
ASKED: dict[tuple[str, Profile], tuple[int, str]] = {
    ("openbookqa", "strict"): (1, "4211c7c2cd41"),
    ("openbookqa", "swallow-2023"): (1, "a72079004dea"),
    ("hellaswag", "strict"): (1, "77823d67b5c6"),
    ("hellaswag", "swallow-2023"): (1, "90c98cfdab02"),
    ("triviaqa_3000", "strict"): (1, "cfbf0d4baeee"),
    ("triviaqa_3000", "swallow-2023"): (1, "7cb7998e8f6c"),
    ("squad2", "strict"): (1, "1de8ebf384d7"),
    ("squad2", "swallow-2023"): (1, "ccf245073f55"),
    ("gsm8k", "strict"): (1, "12415cac8582"),
    ("gsm8k", "swallow-2023"): (1, "2ef46dee3fdd"),
    ("xwinograd_en", "strict"): (1, "dd1ed12d20b5"),
    ("xwinograd_en", "swallow-2023"): (1, "d4ed9530c63c"),
    ("xwinograd_ja", "strict"): (1, "1ef19d5649e6"),
    ("xwinograd_ja", "swallow-2023"): (1, "58cabec89645"),
    ("mgsm_ja", "strict"): (1, "2757e8e90e4e"),
    ("mgsm_ja", "swallow-2023"): (1, "24ee4bd80bed"),
    ("xlsum_ja", "strict"): (1, "37604ea5491b"),
    ("xlsum_ja", "swallow-2023"): (1, "1b20a77b4851"),
    ("wmt20_en_ja", "strict"): (1, "4d9c078d12d9"),
    ("wmt20_en_ja", "swallow-2023"): (1, "d44621a69fa2"),
    ("wmt20_ja_en", "strict"): (1, "753a71cc3df4"),
    ("wmt20_ja_en", "swallow-2023"): (1, "cb8d6a086561"),
}


def asked(name: str, profile: Profile) -> str:
    """All that a form asks of one item, in 12 digits."""
    form = load_benchmark(name).forms[profile]
    parts, gold = PARTS[name]
    item = Item("1", parts, gold, "")
    own = [] if form.num_shots == 0 else ["まとめて。", item] if name == "xlsum_ja" else [item]
    shots = own if profile == "swallow-2023" else form.shots(Items([item]), Files(()), None)["1"]
    requests = form.ask(item, shots)
    limits = [
        (request.stops, request.max_tokens, request.max_characters) if isinstance(request, Generate) else ()
        for request in requests
    ]
    contexts = [(request.context.overlong, request.context.start) for request in requests]  # type: ignore[union-attr]
    told = repr(([prompt_of(request) for request in requests], limits, contexts))
    return hashlib.sha256(told.encode()).hexdigest()[:12]


@pytest.mark.parametrize(("name", "profile"), ASKED)
def test_what_is_asked_changes_only_with_the_version(name: str, profile: Profile) -> None:
    """Scores of different prompts must not be compared: the version says which were asked."""
    assert (load_benchmark(name).forms[profile].version, asked(name, profile)) == ASKED[name, profile]


@pytest.mark.parametrize("name", PARTS)
def test_shots_are_named(name: str) -> None:
    forms = load_benchmark(name).forms
    strict, swallow = forms["strict"].shots_from, forms["swallow-2023"].shots_from

    assert strict is not None
    assert strict(Files(())).startswith("strict/")
    if name == "xwinograd_ja":
        assert swallow is None
        return
    assert swallow is not None
    assert swallow(Files(())) == "the evaluated items"
    from_file = swallow(Files((), shots="data/gsm8k/train.jsonl"))
    assert from_file == ("the evaluated items" if name.startswith(("wmt", "xwinograd")) else "train.jsonl")


def test_the_authors_numbers_of_shots() -> None:
    found = {name: load_benchmark(name).forms["swallow-2023"].num_shots for name in PARTS}

    assert {name for name, number in found.items() if number == 8} == {
        "openbookqa", "hellaswag", "triviaqa_3000", "squad2", "gsm8k", "xwinograd_en"
    }  # fmt: skip
    assert {name for name, number in found.items() if number == 4} == {"mgsm_ja", "wmt20_en_ja", "wmt20_ja_en"}
    assert (found["xlsum_ja"], found["xwinograd_ja"]) == (1, 0)


def test_quirks_are_sentences_of_their_own() -> None:
    for name in PARTS:
        quirks = load_benchmark(name).forms["swallow-2023"].quirks
        assert len(quirks) == len(set(quirks)) >= 3
        assert all(quirk.endswith(".") for quirk in quirks)
