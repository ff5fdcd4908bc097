from __future__ import annotations

from pathlib import Path

import pytest

from storage.uri import read_bytes
from tasks.evaluate.suite import jnli, load_benchmark, marc_ja
from tasks.evaluate.suite.strict_form import NUM_SHOTS, read_strict

OURS = ("jcommonsenseqa", "jemhopqa", "jnli", "jsquad", "marc_ja", "niilc")


@pytest.mark.parametrize("name", OURS)
def test_there_are_four_shots_and_every_class_is_among_their_answers(name: str) -> None:
    shots = read_strict(name).shots
    answers = {shot["answer"] for shot in shots}

    assert len(shots) == NUM_SHOTS == load_benchmark(name).forms["strict"].num_shots
    if name == "jcommonsenseqa":  # four of five positions, each once
        assert len(answers) == NUM_SHOTS
        assert all(shot["answer"] in "01234" and len(shot["choices"]) == 5 for shot in shots)
    elif name in ("jnli", "marc_ja"):
        assert answers == set({"jnli": jnli.LABELS, "marc_ja": marc_ja.LABELS}[name].values())
    elif name == "jemhopqa":
        assert {"YES", "NO"} < answers


@pytest.mark.parametrize("name", OURS)
def test_answers_are_single_lines_within_the_limit(name: str) -> None:
    """A shot's answer shows the model where to stop, and must be one that it may give."""
    for shot in read_strict(name).shots:
        assert shot["answer"].strip() == shot["answer"] != ""
        assert "\n" not in shot["answer"]
        if name == "jsquad":
            assert shot["answer"] in shot["passage"]


@pytest.mark.parametrize("name", [name for name in OURS if name != "marc_ja"])
def test_no_shot_is_an_item_of_a_benchmark(shared_data: Path, name: str) -> None:
    published = "".join(
        read_bytes(str(path)).decode("utf-8", "replace")
        for folder in (name, "fewshot_llmjp")
        for path in sorted((shared_data / "eval" / folder).glob("*.*"))
    )
    assert len(published) > 10_000

    for shot in read_strict(name).shots:
        texts = [value for key, value in shot.items() if key in ("question", "premise", "hypothesis")]
        texts += [part for part in shot.get("passage", "").split("。") if part]
        assert texts
        assert not [text for text in texts if text in published]
