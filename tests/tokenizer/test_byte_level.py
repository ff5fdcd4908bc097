"""Byte-level BPE: merges continue the base's, special tokens keep their ids, other text stays as it was."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from tokenizer.byte_alphabet import byte_piece, piece_bytes
from tokenizer.byte_level_expansion import expand_byte_level, may_be_piece
from tokenizer.characters import is_japanese, is_japanese_prefix
from tokenizer.expansion import ExpandOptions, Expansion
from tokenizer.words import Words

OPTIONS = ExpandOptions(num_candidates=300, min_count=5, max_piece_characters=6, align_to=8)


def ordinary(data: bytes) -> Tokenizer:
    tokenizer = Tokenizer.from_buffer(data)
    tokenizer.encode_special_tokens = True
    return tokenizer


@pytest.fixture(scope="module")
def base(byte_level_base: Path) -> bytes:
    return (byte_level_base / "tokenizer.json").read_bytes()


@pytest.fixture(scope="module")
def expanded(base: bytes, documents: list[str]) -> tuple[bytes, Expansion]:
    return expand_byte_level(base, documents, OPTIONS)


def test_new_pieces_are_japanese_or_begin_only_japanese(expanded: tuple[bytes, Expansion]) -> None:
    _, expansion = expanded
    assert len(expansion.new_pieces) > 100
    assert expansion.vocab % 8 == 0
    for new in expansion.new_pieces:
        assert new.data == piece_bytes(new.piece)
        if new.text is None:
            assert is_japanese_prefix(new.data)
        else:
            assert is_japanese(new.text)
            assert len(new.text) <= 6
    assert {"司書", "坂道"} & {new.text for new in expansion.new_pieces}


def test_pieces_are_learned_inside_words_or_across_them(base: bytes, documents: list[str]) -> None:
    inside, across = (
        {
            new.text
            for new in expand_byte_level(base, documents, replace(OPTIONS, words=words))[1].new_pieces
            if new.text is not None
        }
        for words in ("mecab", "none")
    )
    known = list(Words().count(documents))
    assert [piece for piece in inside if not any(piece in word for word in known)] == []
    assert "毎週土曜日に" in across
    assert [piece for piece in across if not any(piece in word for word in known)]


def test_the_base_is_untouched(base: bytes, expanded: tuple[bytes, Expansion]) -> None:
    """Special tokens that stand after the vocabulary (Llama 3) would move if they were not entered in it."""
    old, new = Tokenizer.from_buffer(base), Tokenizer.from_buffer(expanded[0])
    vocabulary = new.get_vocab()
    assert {piece: vocabulary[piece] for piece in old.get_vocab()} == old.get_vocab()
    assert sorted(set(vocabulary.values()) - set(old.get_vocab().values())) == [
        piece.id for piece in expanded[1].new_pieces
    ]
    assert expanded[1].base_vocab == old.get_vocab_size() == max(old.get_vocab().values()) + 1
    before, after = json.loads(base), json.loads(expanded[0])
    assert after["model"]["merges"][: len(before["model"]["merges"])] == before["model"]["merges"]
    assert {key: after[key] for key in after if key != "model"} == {
        key: before[key] for key in before if key != "model"
    }
    assert new.encode("x").ids == old.encode("x").ids


def test_any_text_splits_into_the_tokens_of_the_base(
    base: bytes, expanded: tuple[bytes, Expansion], documents: list[str], tries: list[str]
) -> None:
    old, new = ordinary(base), ordinary(expanded[0])
    base_ids = {piece.id: piece.base_ids for piece in expanded[1].new_pieces}
    used = 0
    for text in [*documents, *tries]:
        ids = new.encode(text, add_special_tokens=False).ids
        before = old.encode(text, add_special_tokens=False).ids
        assert [token for index in ids for token in base_ids.get(index, (index,))] == before
        assert new.decode(ids, skip_special_tokens=False) == old.decode(before, skip_special_tokens=False) == text
        used += sum(index in base_ids for index in ids)
    assert used > 1_000


def test_counts_are_those_of_the_sample(expanded: tuple[bytes, Expansion], documents: list[str]) -> None:
    tokenizer = ordinary(expanded[0])
    counts = Counter(index for text in documents for index in tokenizer.encode(text, add_special_tokens=False).ids)
    assert [new.count for new in expanded[1].new_pieces] == [counts[new.id] for new in expanded[1].new_pieces]
    rare = {new.piece for new in expanded[1].new_pieces if new.count < OPTIONS.min_count}
    merges = json.loads(expanded[0])["model"]["merges"]
    assert rare <= {part for pair in merges for part in pair}


def test_pieces_never_cross_pretokens(expanded: tuple[bytes, Expansion]) -> None:
    """The base splits letters from punctuation; a piece across that could never be produced."""
    tokenizer = ordinary(expanded[0])
    whole = [new for new in expanded[1].new_pieces if new.text is not None]
    assert not [new.text for new in whole if tokenizer.encode(new.text, add_special_tokens=False).ids != [new.id]]
    assert "。" not in {character for new in whole if len(new.text or "") > 1 for character in (new.text or "")}


def test_the_older_notation_of_merges_is_kept(base: bytes, documents: list[str]) -> None:
    fields = json.loads(base)
    fields["model"]["merges"] = [" ".join(pair) for pair in fields["model"]["merges"]]
    data, expansion = expand_byte_level(json.dumps(fields).encode(), documents, OPTIONS)
    assert all(isinstance(merge, str) for merge in json.loads(data)["model"]["merges"])
    assert expansion == expand_byte_level(base, documents, OPTIONS)[1]


def test_the_cap_holds(base: bytes, documents: list[str]) -> None:
    options = ExpandOptions(max_new_pieces=50, align_to=1)
    assert len(expand_byte_level(base, documents, options)[1].new_pieces) == 50


@pytest.mark.parametrize(
    ("data", "allowed"),
    [("ねこ", True), ("。」", True), ("猫a", False), ("é", False), ("ねこねこねこ", False), (b"\xe3\x81", True),
     (b"\xe3\x81\x82\xe3", False), (b"\x81\x82", False), (b"\xe4", False), (b"\xe5", True)],
)  # fmt: skip
def test_which_bytes_may_become_a_piece(data: str | bytes, allowed: bool) -> None:
    assert may_be_piece(data.encode() if isinstance(data, str) else data, max_characters=4) == allowed


def test_the_byte_alphabet_is_the_libraries() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert {byte_piece(bytes([byte])) for byte in range(256)} == set(ByteLevel.alphabet())
    assert ByteLevel(add_prefix_space=False).pre_tokenize_str("猫 ")[0][0] == byte_piece("猫".encode())
    assert piece_bytes("<|猫|>") is None


def test_another_kind_is_refused(base: bytes, documents: list[str]) -> None:
    fields = json.loads(base)
    fields["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    with pytest.raises(ValueError, match="expected byte-level BPE"):
        expand_byte_level(json.dumps(fields).encode(), documents, OPTIONS)
