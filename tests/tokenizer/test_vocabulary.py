"""What ids stand for, in both kinds of tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tokenizer.hand_made import write_base
from tokenizer.encoder import load_encoder
from tokenizer.vocabulary import read_vocabulary


def test_pieces_of_sentencepiece(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(str(write_base(tmp_path)))
    assert vocabulary.texts[:3] == [None, None, None], "special tokens have no text"
    assert vocabulary.texts[3 + 10] == "\n"
    assert vocabulary.texts[259:] == ["la", "l", "a", "r", "k", " ", "雲", "雀", "が", "鳴", "く"]
    assert vocabulary.parts.sum() == 128
    assert vocabulary.parts[3 + 0x80 : 3 + 0x100].all()


@pytest.mark.parametrize("name", ["sentencepiece_base", "smollm_like", "llama3_like"])
def test_texts_put_together_are_the_text(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What is no part of a character has its text; parts are what a character takes that has no piece."""
    source: Path = request.getfixturevalue(name)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for path in [source] if source.is_file() else source.iterdir():
        shutil.copy(path, folder)
    encoder, vocabulary = load_encoder(folder), read_vocabulary(str(folder))
    assert len(vocabulary) == encoder.vocab_size
    text = "She returns the books on Tuesday."
    ids = encoder.encode(text)
    assert "".join(vocabulary.texts[index] or "?" for index in ids).lstrip() == text
    assert not vocabulary.parts[ids].any()
    assert vocabulary.parts[encoder.encode("鯨")].sum() >= 2
    assert vocabulary.texts[encoder.eos_id] is None
