"""Documents that tokenizers are compared on: held out, the same whatever the order, no more than asked for."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from flows.config import load_run
from flows.tokenizer_comparison.config import Compared, GivenTexts
from flows.tokenizer_comparison.texts import choose, given_texts, run_texts, standard_library
from storage.documents import document_id
from storage.held_out import is_validation
from tests.flows.conftest import write_run


def documents(number: int) -> list[tuple[bytes, str]]:
    return [(document_id("made", key), f"春の{key:03d}日目") for key in range(number)]


def test_a_choice_depends_on_the_documents_alone() -> None:
    every = documents(200)
    chosen = choose(iter(every), 700)
    assert len(chosen) == 100, "of seven characters each"
    assert choose(iter(reversed(every)), 700) == chosen
    assert choose(iter(every), 350) == chosen[:50], "fewer characters, the beginning of the same choice"
    assert sorted(choose(iter(every), 10**6)) == sorted(text for _, text in every)


def test_one_document_is_chosen_however_long_and_empty_ones_are_not() -> None:
    assert choose(iter([(b"x" * 16, "長い文章です。")]), 3) == ["長い文章です。"]
    assert choose(iter([(b"x" * 16, "")]), 3) == []


def test_a_runs_texts_are_what_it_holds_out(tmp_path: Path) -> None:
    run = load_run(write_run(tmp_path))
    corpus, english = run_texts(run, "not read here")
    assert [(kind.name, kind.language) for kind in (corpus, english)] == [("corpus", "ja"), ("web-en", "en")]
    assert (corpus.weight, english.weight) == (0.9, pytest.approx(0.1))
    held_out = list(english.documents())
    ids = {document_id("web-en", f"e{seed}") for seed in range(30)}
    assert {key for key, _ in held_out} == {key for key in ids if is_validation(key, 0.25)}
    assert 0 < len(held_out) < 30


def test_given_texts_have_names_of_their_own(tmp_path: Path) -> None:
    for name in ("ja_tea.jsonl", "code.jsonl"):
        (tmp_path / name).write_text(json.dumps({"text": "お茶を飲む。"}) + "\n")
    (tmp_path / "b.py").write_text("print('雲雀')\n")
    (tmp_path / "a.py").write_bytes(b"# \xb1\xb2 not UTF-8")
    tea, code = (GivenTexts(language="ja", files=str(tmp_path / name)) for name in ("ja_tea.jsonl", "code.jsonl"))
    kinds = given_texts(Compared(texts=[tea, tea, code], code=[str(tmp_path / "*.py")]), ("corpus",))
    assert [(kind.name, kind.language) for kind in kinds] == [
        ("ja_tea", "ja"),
        ("ja_tea-2", "ja"),
        ("code", "ja"),
        ("code-2", "code"),
    ]
    assert [text for _, text in kinds[0].documents()] == ["お茶を飲む。"]
    assert [text for _, text in kinds[3].documents()] == ["print('雲雀')\n"], "the other is no UTF-8"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        given_texts(Compared(code=[str(tmp_path / "nowhere" / "*.py")]))


def test_the_standard_library_is_there_and_says_its_version() -> None:
    kind = standard_library()
    assert platform.python_version() in kind.origin
    key, text = next(iter(kind.documents()))
    assert len(key) == 16
    assert text
