"""The benchmark of the encoder: all peers run, and different ids end it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.encode import OURS, measure, show
from tests.tokenizer.conftest import strings_to_try, train_sentencepiece


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(train_sentencepiece())
    return path


def test_every_encoder_is_measured(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tries = strings_to_try(100)
    figures = measure(model, tries, rounds=2)
    assert {len(taken) for taken in figures["seconds"].values()} == {2}
    assert figures["bytes"] == sum(len(text.encode()) for text in tries)
    show(figures)
    assert OURS in capsys.readouterr().out


def test_other_ids_are_an_error(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shouting:
        def __init__(self, model_file: str) -> None: ...

        def encode(self, text: str, **options: object) -> list[int]:
            return [1]

    monkeypatch.setattr("benchmarks.encode.SentencePieceProcessor", Shouting)
    with pytest.raises(RuntimeError, match="document 0: the ids are not sentencepiece's"):
        measure(model, ["the tower"], rounds=1)
