"""Runs of mergeable tokens: they end at pre-tokens, at words and at tokens that no piece may hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tokenizer.byte_alphabet import byte_piece
from tokenizer.byte_level_runs import collect_runs

STEP = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def model(merged: tuple[str, ...] = (), **step: Any) -> tuple[bytes, dict[int, bytes]]:
    """A tokenizer.json of all bytes and of these strings (each merged from its characters), and its ids' bytes."""
    vocabulary = {byte_piece(bytes([byte])): byte for byte in range(256)}
    merges = []
    for text in merged:
        data = text.encode()
        for end in range(2, len(data) + 1):
            piece = byte_piece(data[:end])
            if piece not in vocabulary:
                vocabulary[piece] = len(vocabulary)
                merges.append([byte_piece(data[: end - 1]), byte_piece(data[end - 1 : end])])
    fields = {
        "version": "1.0",
        "added_tokens": [{"id": len(vocabulary), "content": "<|endoftext|>", "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True}],
        "normalizer": None,
        "pre_tokenizer": STEP | step,
        "decoder": STEP,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }  # fmt: skip
    alphabet = {byte_piece(bytes([byte])): byte for byte in range(256)}
    spelt = {index: bytes(alphabet[letter] for letter in piece) for piece, index in vocabulary.items()}
    return json.dumps(fields, ensure_ascii=False).encode(), spelt


def runs_of(text: str, words: Any, merged: tuple[str, ...] = ()) -> dict[str, int]:
    """Text of each run -> how often it occurs."""
    data, spelt = model(merged)
    runs = collect_runs(data, len(spelt) + 1, [text], words)
    found = {}
    for first, last, times in zip(runs.bounds[:-1], runs.bounds[1:], runs.times, strict=True):
        octets = b"".join(spelt[int(token)] for token in runs.tokens[first:last])
        found[octets.decode(errors="replace")] = int(times)
    return found


def test_without_words_runs_are_pretokens() -> None:
    assert runs_of("手紙を読んだ。手紙を読んだ。No 7 猫", "none") == {"手紙を読んだ": 2, "。": 2, "猫": 1}


def test_with_words_runs_are_words() -> None:
    found = runs_of("手紙を読んだ。手紙を 書いた。", "mecab")
    assert found == {"手紙": 2, "を": 2, "読ん": 1, "だ": 1, "。": 2, "書い": 1, "た": 1}


def test_a_base_token_across_the_edge_of_a_word_is_in_no_run() -> None:
    """A piece built on it would lie across the edge, though no merge was learned there."""
    assert runs_of("手紙を", "none", merged=("紙を",)) == {"手紙を": 1}
    assert runs_of("手紙を読んだ", "mecab", merged=("紙を",)) == {"手": 1, "読ん": 1, "だ": 1}


def test_strings_like_special_tokens_are_ordinary() -> None:
    assert runs_of("猫<|endoftext|>犬", "mecab") == {"猫": 1, "犬": 1}


def test_words_survive_nul_and_white_space() -> None:
    assert runs_of("手紙\x00を\u3000 読ん\n\nだ", "mecab") == {"手紙": 1, "を": 1, "\u3000": 1, "読ん": 1, "だ": 1}


def test_a_space_before_every_text_is_refused_with_words() -> None:
    """Its tokens are not the text's bytes, so every edge of a word would be off by one."""
    data, spelt = model(add_prefix_space=True)
    with pytest.raises(ValueError, match=r"expand\.words: this tokenizer adds something to a text"):
        collect_runs(data, len(spelt) + 1, ["手紙を"], "mecab")
    assert len(collect_runs(data, len(spelt) + 1, ["手紙を"], "none").times) == 1
