"""SentencePiece: what is added, what stays as it was, and that Hugging Face's encoder agrees."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from tests.tokenizer.conftest import strings_to_try, train_sentencepiece
from tokenizer.characters import is_japanese
from tokenizer.expansion import ExpandOptions, Expansion, WordBoundaries
from tokenizer.sentencepiece_expansion import (
    ModelProto,
    add_pieces,
    derivations,
    expand_sentencepiece,
    parse_model,
    train_pieces,
)
from tokenizer.sentencepiece_json import to_tokenizer_json
from tokenizer.words import Words

OPTIONS = ExpandOptions(num_candidates=400, min_count=5, align_to=8)


@pytest.fixture(scope="module")
def base(sentencepiece_base: Path) -> bytes:
    return sentencepiece_base.read_bytes()


@pytest.fixture(scope="module")
def expanded(base: bytes, documents: list[str]) -> tuple[bytes, Expansion]:
    return expand_sentencepiece(base, documents, OPTIONS)


def huggingface(model: bytes) -> Tokenizer:
    tokenizer = Tokenizer.from_buffer(to_tokenizer_json(model))
    tokenizer.encode_special_tokens = True
    return tokenizer


def disagreements(model: bytes, texts: list[str]) -> list[str]:
    """Texts that sentencepiece and Hugging Face encode or decode differently."""
    truth, other = SentencePieceProcessor(model_proto=model), huggingface(model)
    return [
        text
        for text in texts
        if (ids := truth.encode(text)) != other.encode(text, add_special_tokens=False).ids
        or truth.decode(ids) != other.decode(ids, skip_special_tokens=False)
    ]


def real_models(shared_data: Path) -> list[tuple[str, bytes]]:
    """Llama 2's model, and those that mistral-common ships where it is installed."""
    found = [("llama2", (shared_data / "models/llama2/tokenizer.model").read_bytes())]
    specification = importlib.util.find_spec("mistral_common")
    for folder in (specification.submodule_search_locations or []) if specification else []:
        for name in ("tokenizer.model.v1", "mistral_instruct_tokenizer_240216.model.v2"):
            if (path := Path(folder) / "data" / name).is_file():
                found.append((name, path.read_bytes()))
    return found


def test_new_pieces_are_japanese_and_new(base: bytes, expanded: tuple[bytes, Expansion]) -> None:
    model, expansion = expanded
    before, after = parse_model(base).pieces, parse_model(model).pieces
    assert list(after)[: len(before)] == list(before)
    added = list(after)[len(before) :]
    assert len(added) == len(expansion.new_pieces) > 100
    assert len(after) % 8 == 0
    assert [piece.piece for piece in added] == [new.text for new in expansion.new_pieces]
    assert all(is_japanese(piece.piece) for piece in added)
    assert not {piece.piece for piece in added} & {piece.piece for piece in before}
    assert {"郵便", "図書", "ありがとう"} <= {piece.piece for piece in added}


def test_pieces_are_learned_inside_words_or_across_them(base: bytes, documents: list[str]) -> None:
    inside, across = (
        {new.piece for new in expand_sentencepiece(base, documents, replace(OPTIONS, words=words))[1].new_pieces}
        for words in ("mecab", "none")
    )
    known = list(Words().count(documents))
    assert [piece for piece in inside if not any(piece in word for word in known)] == []
    assert "郵便屋さん" in across
    assert [piece for piece in across if not any(piece in word for word in known)]


@pytest.mark.parametrize("words", ["mecab", "none"])
def test_text_that_means_something_to_the_trainer(base: bytes, documents: list[str], words: WordBoundaries) -> None:
    """Tabs part a word from its count, NUL ends a C string, ▅ stands for what is unknown, ▁ for a space."""
    odd = ["猫\t5\n猫\t", "猫\x00犬", "▅猫▅", "▁猫▁", "\t", "猫\u3000", "猫\r\n犬\v鳥"] * 8
    _, expansion = expand_sentencepiece(base, [*documents, *odd], replace(OPTIONS, words=words))
    assert "猫" in {new.piece for new in expansion.new_pieces}
    assert all(is_japanese(new.piece) for new in expansion.new_pieces)


def test_a_piece_that_no_text_yields_is_pruned(
    base: bytes, documents: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`図書館の司` is planted without the pieces that would lead to it; its row would never be trained."""

    def planted(documents: Sequence[str], options: ExpandOptions) -> list[str]:
        return ["図書館の司", *train_pieces(documents, options)]

    monkeypatch.setattr("tokenizer.sentencepiece_expansion.train_pieces", planted)
    _, expansion = expand_sentencepiece(base, documents, OPTIONS)
    pieces = {new.piece for new in expansion.new_pieces}
    assert "図書館の司" not in pieces
    assert {"図書", "司書"} <= pieces


def test_scores_continue_below_the_regular_ones_and_above_the_whitespace_pieces(
    base: bytes, expanded: tuple[bytes, Expansion]
) -> None:
    """Below -1e9 neighbouring float32 values lie 64 apart: the new scores would tie."""
    before, after = parse_model(base).pieces, parse_model(expanded[0]).pieces
    regular = [piece.score for piece in before if piece.type == 1 and piece.score > -1e9]
    added = [piece.score for piece in list(after)[len(before) :]]
    assert added == [min(regular) - 1 - rank for rank in range(len(added))]


def test_any_text_splits_into_the_tokens_of_the_base(
    base: bytes, expanded: tuple[bytes, Expansion], documents: list[str], tries: list[str]
) -> None:
    """The strongest form of "text without Japanese is encoded as before"; the new embeddings rest on it."""
    model, expansion = expanded
    old, new = SentencePieceProcessor(model_proto=base), SentencePieceProcessor(model_proto=model)
    base_ids = {piece.id: piece.base_ids for piece in expansion.new_pieces}
    used = 0
    for text in [*documents, *tries]:
        ids = new.encode(text)
        assert [token for index in ids for token in base_ids.get(index, (index,))] == old.encode(text)
        assert new.decode(ids) == old.decode(old.encode(text))
        used += sum(index in base_ids for index in ids)
    assert used > 1_000


def test_counts_are_those_of_the_sample_and_rare_pieces_serve_longer_ones(
    base: bytes, expanded: tuple[bytes, Expansion], documents: list[str]
) -> None:
    model, expansion = expanded
    processor = SentencePieceProcessor(model_proto=model)
    counts = Counter(index for text in documents for index in processor.encode(text))
    assert {new.id: new.count for new in expansion.new_pieces} == {
        new.id: counts[new.id] for new in expansion.new_pieces
    }
    formed = derivations(parse_model(base), [new.piece for new in expansion.new_pieces])
    inner = {part for parts in formed.values() for part in parts}
    assert not [new.text for new in expansion.new_pieces if new.count < OPTIONS.min_count and new.piece not in inner]


def test_every_new_piece_can_be_produced(expanded: tuple[bytes, Expansion]) -> None:
    """An embedding row of a piece that no text yields is never trained."""
    model = ModelProto.FromString(expanded[0])
    model.normalizer_spec.add_dummy_prefix = False
    processor = SentencePieceProcessor(model_proto=model.SerializeToString())
    assert not [new.text for new in expanded[1].new_pieces if processor.encode(new.piece) != [new.id]]


def test_pieces_that_cannot_be_formed_are_found_out(base: bytes) -> None:
    """No two pieces make `空港駅`, so no text can ever yield it."""
    formed = derivations(parse_model(base), ["鳥", "鳥居", "鳥居前", "空港駅"])
    assert formed == {"鳥": (), "鳥居": ("鳥", "居"), "鳥居前": ("鳥居", "前")}


def test_the_cap_and_the_alignment_hold(base: bytes, documents: list[str]) -> None:
    options = ExpandOptions(num_candidates=400, max_new_pieces=60, align_to=16)
    model, expansion = expand_sentencepiece(base, documents, options)
    assert len(expansion.new_pieces) <= 60
    assert expansion.vocab % 16 == 0
    assert len(expansion.new_pieces) > 60 - 2 * 16
    assert not disagreements(model, documents[:20])


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"model_type": "unigram"}, "model type is 1"), ({"byte_fallback": False}, "no byte fallback"),
     ({"normalization_rule_name": "nmt_nfkc"}, "normalises text"), ({"user_defined_symbols": ["<x>"]}, "user-defined")],
)  # fmt: skip
def test_other_models_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_model(train_sentencepiece(**options))


def test_too_few_candidates_for_the_characters(base: bytes, documents: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expand.num_candidates: 20 cannot hold the \d+ different characters"):
        expand_sentencepiece(base, documents, ExpandOptions(num_candidates=20))


def test_not_a_model_is_refused() -> None:
    with pytest.raises(ValueError, match="not a SentencePiece model"):
        parse_model(b"\xff\xff no protobuf")


def test_huggingface_agrees_on_the_trained_models(
    base: bytes, expanded: tuple[bytes, Expansion], documents: list[str], tries: list[str]
) -> None:
    runs_of_spaces = [
        f"{before}{' ' * length}{after}" for length in range(70) for before in ("", "x") for after in ("", "To")
    ]
    assert not disagreements(base, [*tries, *runs_of_spaces])
    assert not disagreements(expanded[0], [*documents[:60], *tries, *runs_of_spaces])


def test_strings_like_special_tokens_are_ordinary_text(expanded: tuple[bytes, Expansion]) -> None:
    ids = huggingface(expanded[0]).encode("</s><s><unk>", add_special_tokens=False).ids
    assert not {0, 1, 2} & set(ids)
    assert huggingface(expanded[0]).encode("はい").ids[0] == 1, "asked for special tokens, BOS comes first"


def test_real_models_agree_with_their_conversion(shared_data: Path) -> None:
    tries = strings_to_try(300, seed=5)
    for name, model in real_models(shared_data):
        assert not disagreements(model, tries), name


def test_the_conversion_of_llama2_equals_the_recorded_ids(shared_data: Path) -> None:
    rows = json.loads((shared_data / "oracles/oracle_llama2_tokenizer.json").read_text(encoding="utf-8"))["rows"]
    tokenizer = huggingface((shared_data / "models/llama2/tokenizer.model").read_bytes())
    assert [tokenizer.encode(row["text"], add_special_tokens=False).ids for row in rows] == [row["ids"] for row in rows]
    assert [tokenizer.decode(row["ids"]) for row in rows] == [row["decoded"] for row in rows]


def test_llama2_expands_without_a_difference(shared_data: Path, documents: list[str]) -> None:
    """The whitespace pieces at -1e9 are real here."""
    base = (shared_data / "models/llama2/tokenizer.model").read_bytes()
    model, expansion = expand_sentencepiece(base, documents, OPTIONS)
    assert expansion.base_vocab == 32_000
    assert expansion.vocab % 8 == 0
    assert parse_model(model).pieces[32_000].score == -31_741
    assert not disagreements(model, strings_to_try(300, seed=6))


def test_adding_nothing_changes_no_piece(base: bytes) -> None:
    assert parse_model(add_pieces(base, [])).pieces == parse_model(base).pieces
