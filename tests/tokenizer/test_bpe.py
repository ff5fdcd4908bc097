"""The compiled encoder gives sentencepiece's ids, whatever the model and the text."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from tests.tokenizer.conftest import japanese_documents, strings_to_try
from tokenizer.bpe import BytePairEncoder, UnrepresentableModelError
from tokenizer.sentencepiece_expansion import ModelProto

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
MALFORMED = [
    *(b"\x80", b"\xc1\xbf", b"\xe3\x81", b"a\xe3\x81b", b"\xe0\x80\x80", b"\xed\xa0\x80"),
    *(b"\xf0\x82\x82\xac", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xf0\x9f\xa6"),
]


def packed(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, texts)]).astype(np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), offsets


def encode(encoder: BytePairEncoder, texts: Sequence[str]) -> list[list[int]]:
    ids, bounds = encoder.encode(*packed([text.encode() for text in texts]), np.int32)
    return [ids[first:last].tolist() for first, last in pairwise(bounds)]


def assert_equal(data: bytes, texts: Sequence[str]) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    for text, ids in zip(texts, encode(BytePairEncoder(data), texts), strict=True):
        assert ids == processor.encode(text), repr(text[:200])


def with_pieces(data: bytes, pieces: Sequence[tuple[str, float]]) -> bytes:
    """The model with these pieces, as far as it lacks them."""
    model = ModelProto.FromString(data)
    present = {piece.piece for piece in model.pieces}
    for text, score in pieces:
        if text not in present:
            model.pieces.add(piece=text, score=score, type=NORMAL)
            present.add(text)
    return model.SerializeToString()


def without_pieces(data: bytes, dropped: set[str]) -> bytes:
    model = ModelProto.FromString(data)
    kept = [ModelProto.SentencePiece.FromString(piece.SerializeToString()) for piece in model.pieces]
    del model.pieces[:]
    model.pieces.extend(piece for piece in kept if piece.piece not in dropped)
    return model.SerializeToString()


def expanded(data: bytes, documents: Sequence[str], number: int) -> bytes:
    """The model with the most frequent strings of two to six characters as new pieces, formable or not."""
    counts = Counter(text[at : at + size] for text in documents for size in range(2, 7) for at in range(len(text)))
    found = [text for text, _ in counts.most_common(2 * number) if not set(text) & set(" ▁\n")][:number]
    characters = sorted(set("".join(found)))
    return with_pieces(data, [(text, -40_000.0 - rank) for rank, text in enumerate([*found, *characters])])


def tiny_model(generator: random.Random) -> bytes:
    """A model of a few letters, trained on random text, with scores that may tie and pieces that may be missing."""
    words = [
        "".join(generator.choices("abcde ▁", k=generator.randrange(1, 7))) for _ in range(generator.randrange(3, 40))
    ]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("".join(generator.choices(words, k=12)) for _ in range(generator.randrange(5, 80))),
        model_writer=written,
        model_type="bpe",
        vocab_size=259 + generator.randrange(30, 300),
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=generator.random() < 0.7,
        split_by_whitespace=generator.random() < 0.5,
        allow_whitespace_only_pieces=generator.random() < 0.7,
        max_sentencepiece_length=generator.choice([3, 8, 16]),
        num_threads=1,
        minloglevel=2,
    )
    model = ModelProto.FromString(written.getvalue())
    normal = [piece for piece in model.pieces if piece.type == NORMAL]
    kind = generator.randrange(4)
    for piece in normal:
        if kind == 1:
            piece.score = generator.choice([-0.0, 0.0, -1.0, 1.0, 2.5])
        elif kind == 2:
            piece.score = generator.random()
        elif kind == 3 and not piece.piece.strip("▁"):
            piece.score = -1e9
    data = model.SerializeToString()
    if generator.random() < 0.5:
        data = without_pieces(data, {piece.piece for piece in normal if generator.random() < 0.2})
    if generator.random() < 0.5:
        texts = ["".join(generator.choices("abcde▁あ x", k=generator.randrange(1, 7))) for _ in range(30)]
        data = with_pieces(data, [(text, generator.choice([0.0, -1.0, -5.5, generator.random()])) for text in texts])
    return data


def tiny_texts(generator: random.Random, number: int) -> list[str]:
    alphabets = ["abcde ", "ab", "a ", "abc▁ ", "a", " ▁", "abcdeあxé🦊 "]
    return [
        "".join(generator.choices(generator.choice(alphabets), k=generator.randrange(generator.choice([4, 30, 80]))))
        for _ in range(number)
    ]


def shared_texts(shared_data: Path, of_each: int | None = None) -> Iterator[str]:
    """All texts, or the first of each file."""
    for path in sorted((shared_data / "text").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line)["text"] for line in islice(lines, of_each))


@pytest.fixture(scope="session")
def base(sentencepiece_base: Path) -> bytes:
    return sentencepiece_base.read_bytes()


@pytest.fixture(scope="session")
def larger(base: bytes) -> bytes:
    return expanded(base, japanese_documents(), 800)


@pytest.fixture
def llama2(shared_data: Path) -> bytes:
    return (shared_data / "models/llama2/tokenizer.model").read_bytes()


def test_random_models_and_texts() -> None:
    """Ties, stale pairs, pieces that cannot be formed, characters without a piece: all in a few letters."""
    for seed in range(40):
        generator = random.Random(seed)
        assert_equal(tiny_model(generator), tiny_texts(generator, 100))


@pytest.mark.slow
def test_many_random_models_and_texts() -> None:
    for seed in range(1000, 3000):
        generator = random.Random(seed)
        assert_equal(tiny_model(generator), tiny_texts(generator, 300))


def test_fuzzed_strings(base: bytes, larger: bytes) -> None:
    assert_equal(base, strings_to_try(2500, seed=5))
    assert_equal(larger, strings_to_try(2500, seed=6))


@pytest.mark.slow
def test_many_fuzzed_strings(llama2: bytes, shared_data: Path) -> None:
    texts = strings_to_try(100_000, seed=7)
    assert_equal(llama2, texts)
    assert_equal(expanded(llama2, list(shared_texts(shared_data, of_each=20)), 16_000), texts)


def test_a_slice_of_the_shared_texts(llama2: bytes, shared_data: Path) -> None:
    texts = [text[:10_000] for text in shared_texts(shared_data, of_each=6)]
    assert sum(map(len, texts)) > 100_000
    assert_equal(llama2, texts)
    assert_equal(expanded(llama2, texts[6:10], 2000), texts)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 11_000, 27_000])
def test_all_shared_texts(llama2: bytes, shared_data: Path, number: int) -> None:
    texts = list(shared_texts(shared_data))
    assert sum(map(len, texts)) > 20_000_000
    assert_equal(expanded(llama2, texts[::40], number), texts)


def test_every_character(larger: bytes) -> None:
    """Beside its neighbours, and the lower ones between two letters."""
    points = [*range(0xD800), *range(0xE000, 0x20000), *range(0x10FF00, 0x110000)]
    characters = [chr(point) for point in points]
    assert_equal(larger, ["".join(characters), "".join(f"t{character}h" for character in characters[:0x3500])])


LONG_LINES = {
    "one letter": lambda size: "a" * size,
    "spaces": lambda size: " " * size + "x",
    "base64": lambda size: base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode(),
    "kana": lambda size: "ました" * (size // 9),
}


@pytest.mark.parametrize("size", [500_000, pytest.param(5_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", LONG_LINES)
def test_long_lines(larger: bytes, kind: str, size: int) -> None:
    """Nothing cuts them; a quadratic search would take hours here."""
    assert_equal(larger, [LONG_LINES[kind](size)])


def test_a_full_table_of_pairs(larger: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one entry every pair replaces the one before."""
    monkeypatch.setattr("tokenizer.bpe.NUM_PAIRS", 1)
    assert_equal(larger, strings_to_try(500, seed=8))


def test_threads_may_share_an_encoder(larger: bytes) -> None:
    encoder = BytePairEncoder(larger)
    texts = strings_to_try(300, seed=9)
    alone = encode(BytePairEncoder(larger), texts)
    with ThreadPoolExecutor(4) as pool:
        assert all(ids == alone for ids in pool.map(lambda _: encode(encoder, texts), range(8)))


def test_zeros_of_both_signs_do_not_tie(base: bytes) -> None:
    """sentencepiece merges 0.0 before -0.0, though they are equal; were they a tie, `ああ`, further left, would win."""
    data = with_pieces(base, [("あ", -9.0), ("い", -9.0), ("ああ", -0.0), ("あい", 0.0)])
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    assert processor.encode("。ああい", out_type=str)[-2:] == ["あ", "あい"]
    assert_equal(data, ["ああい", "あああい", "いああい"])


def test_a_piece_whose_parts_are_missing_is_never_used(base: bytes) -> None:
    data = with_pieces(base, [("ぬねの", 5.0), ("ぬ", -1.0), ("ね", -1.0), ("の", -1.0)])
    assert len(encode(BytePairEncoder(data), ["ぬねの"])[0]) == 4  # ▁ and three characters
    assert_equal(data, ["ぬねの", "ぬねのぬねの"])


def test_characters_without_a_piece_merge_into_one_that_has_them(base: bytes) -> None:
    data = with_pieces(base, [("鱒鯛", -7.0)])
    both = len(ModelProto.FromString(data).pieces) - 1
    texts = ["鱒鯛", "鱒", "鯛鱒", "鱒鱒鯛鯛"]
    assert encode(BytePairEncoder(data), texts)[0][-1] == both
    assert_equal(data, texts)


def test_no_texts_and_empty_ones(base: bytes) -> None:
    encoder = BytePairEncoder(base)
    assert encode(encoder, []) == []
    assert encode(encoder, ["", "あ", ""])[::2] == [[], []]
    ids, bounds = encoder.encode(*packed([b"", b"the"]), np.uint16, prefix=[7, 8], suffix=[9])
    assert ids.dtype == np.uint16
    assert ids[: bounds[1]].tolist() == [7, 8, 9]
    assert ids[bounds[1] :].tolist() == [7, 8, *encode(encoder, ["the"])[0], 9]


def test_a_model_without_a_piece_for_the_space(base: bytes) -> None:
    """Every space becomes three bytes: more ids than bytes of text."""
    pieces = [piece.piece for piece in ModelProto.FromString(base).pieces]
    data = without_pieces(base, {piece for piece in pieces if "▁" in piece})
    assert_equal(data, [" " * 1000, "a b", "▁"])


@pytest.mark.parametrize("octets", MALFORMED)
def test_what_is_not_utf8_is_refused(base: bytes, octets: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        BytePairEncoder(base).encode(*packed([b"good", octets]), np.uint16)


def test_models_that_the_tables_cannot_hold_are_refused(base: bytes) -> None:
    def changed(text: str, kind: int) -> bytes:
        model = ModelProto.FromString(base)
        model.pieces.add(piece=text, score=-1.0, type=kind)
        return model.SerializeToString()

    for data, reason in [
        (changed("[INST]", USER_DEFINED), "user-defined"),
        (changed("んん", UNUSED), "1 unused pieces"),
        (changed("ん", CONTROL), "mistaken for its special pieces"),
        (with_pieces(base, [("んん", float("nan"))]), "no number"),
        (b"nonsense", "not a SentencePiece model"),
    ]:
        with pytest.raises(UnrepresentableModelError, match=reason):
            BytePairEncoder(data)
