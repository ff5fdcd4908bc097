"""Signatures against datasketch: its numbers bit for bit, its LSH's pairs, and what must never change unnoticed."""

from __future__ import annotations

import gzip
import json
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash, MinHashLSH

from tasks.deduplicate.signatures import SCHEME, Signer, exact_digest, shingles, to_datasketch

ALPHABETS = (
    "abcdefgh 123.,\n",
    "いろはにほへとちりぬるを",
    "雲雀野原春風朝霧、。　",
    "🎉🐦👩‍👩‍👧𠮟𩸽",  # four bytes each, some joined by zero-width characters
    "ｱｲｳﾞｶﾞﾊﾟ",
    "か\u3099は\u309ae\u0301",
)

GOLDEN_BANDS = [
    ["b0ea3cd613d978e6", "5d631d0263eeda0c", "87571b33eed7babe", "70d20b8c5651e80d"],
    ["6b75f85376285d79", "cdc48ad15187be60", "72033bbc03c31db1", "566032336003869a"],
    ["04d7fda32f66e250", "1a10a1e9b9509d14", "f1d3d68871e7473e", "b9d32146baacab0e"],
]
GOLDEN_EXACT = [
    "99aa06d3014798d86001c324468d497f",
    "2f87849c848dbd122f45399b5bcf47fc",
    "bed9f407e7ec34f85c3e6f4cd3ddf9dc",
]


def mixed_texts(number: int, seed: int = 1) -> list[str]:
    """Texts of 0 to 60 characters, and a few of some hundreds, of one alphabet or of all."""
    rng = random.Random(seed)
    texts = []
    for _ in range(number):
        alphabets = rng.choice([ALPHABETS, (rng.choice(ALPHABETS),)])
        length = rng.choice([0, 1, 2, 3, 4, 5, 6, 7, rng.randint(8, 60), rng.randint(8, 60), 400])
        texts.append("".join(rng.choice(rng.choice(alphabets)) for _ in range(length)))
    return texts


def sentences(rng: random.Random, number: int) -> list[str]:
    words = [
        "春",
        "あけぼの",
        "やうやう",
        "山ぎは",
        "紫だちたる",
        "雲",
        "細く",
        "夏",
        "夜",
        "月",
        "闇",
        "螢",
        "秋",
        "夕暮",
    ]
    return ["".join(rng.choice(words) for _ in range(8)) + "。" for _ in range(number)]


@pytest.mark.parametrize(
    ("ngram", "bands", "rows"),
    # The bytes of a band pass each border of xxh3: 4, 8, 16, 128, 240.
    [(5, 40, 20), (5, 14, 8), (1, 3, 7), (2, 1, 1), (3, 5, 2), (4, 3, 33), (6, 2, 60), (9, 2, 61), (32, 3, 128)],
)
def test_bit_for_bit_what_datasketch_computes(ngram: int, bands: int, rows: int) -> None:
    texts = mixed_texts(300, seed=ngram) + ["雲" * length for length in (ngram - 1, ngram, ngram + 1)]
    ours = Signer(ngram, bands, rows).sign(pa.array(texts))
    theirs = Signer(ngram, bands, rows, kind="datasketch").sign(pa.array(texts))
    assert ours.bands.shape == (len(texts), bands)
    np.testing.assert_array_equal(ours.bands, theirs.bands)
    np.testing.assert_array_equal(ours.exact, theirs.exact)


@pytest.mark.parametrize("kind", ["hibari", "datasketch"])
def test_a_signature_is_datasketch_s_own(kind: str) -> None:
    """Made with nothing but datasketch's documented interface."""
    text = "".join(sentences(random.Random(2), 5))
    minhash = MinHash(num_perm=40, seed=1, scheme="affine32", hashfunc=to_datasketch(np.zeros(40, np.uint32)).hashfunc)
    for shingle in shingles(text, 5):
        minhash.update(shingle)
    values = Signer(5, 8, 5, kind=kind).minhash(text)  # type: ignore[arg-type]
    assert values.dtype == np.uint32
    np.testing.assert_array_equal(values, minhash.hashvalues)
    assert to_datasketch(values).jaccard(minhash) == 1


@pytest.mark.slow
def test_bit_for_bit_on_web_pages_too(shared_data: Path) -> None:
    """2,000 documents, among them near-duplicates."""
    with gzip.open(shared_data / "oracles" / "oracle_dedup_2k_docs.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = pa.array([json.loads(line)["text"] for line in lines])
    ours, theirs = Signer(5, 40, 20).sign(texts), Signer(5, 40, 20, kind="datasketch").sign(texts)
    np.testing.assert_array_equal(ours.bands, theirs.bands)
    np.testing.assert_array_equal(ours.exact, theirs.exact)


@pytest.mark.parametrize("length", [4100, 20_000])
def test_long_texts(length: int) -> None:
    """More shingles than the kernel evaluates at a time, nearly all different."""
    rng = random.Random(length)
    text = "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(length))
    np.testing.assert_array_equal(Signer(5, 5, 4).minhash(text), Signer(5, 5, 4, kind="datasketch").minhash(text))


def test_repeats_do_not_count() -> None:
    once, often = "いろはにほへと", "いろはにほへと" * 700
    assert shingles(often, 3) == shingles(once * 2, 3)
    np.testing.assert_array_equal(Signer(3, 4, 4).minhash(often), Signer(3, 4, 4).minhash(once * 2))


def test_datasketch_s_lsh_finds_the_pairs_that_share_a_band() -> None:
    """40 texts that are made of one another: pairs of all similarities."""
    rng = random.Random(5)
    texts = [sentences(rng, 20)]
    for _ in range(39):
        text = list(rng.choice(texts))
        for place in rng.sample(range(20), rng.choice([0, 1, 3, 8])):
            text[place] = sentences(rng, 1)[0]
        texts.append(text)
    joined = ["".join(text) for text in texts]
    bands, rows = 14, 8
    signer = Signer(5, bands, rows)
    lsh = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
    minhashes = [to_datasketch(signer.minhash(text)) for text in joined]
    for number, minhash in enumerate(minhashes):
        lsh.insert(number, minhash)
    found = {(one, other) for one, minhash in enumerate(minhashes) for other in lsh.query(minhash) if one < other}
    hashes = signer.sign(pa.array(joined)).bands
    shared = {(one, other) for one, other in combinations(range(40), 2) if (hashes[one] == hashes[other]).any()}
    assert shared == found
    assert 20 < len(shared) < 700  # of 780


def test_short_texts_do_not_all_collide() -> None:
    texts = ["", "あ", "い", "ああ", "雲雀", "雲雀が", "雲雀が鳴", "雲雀が鳴く", "🐦"]
    hashes = Signer(5, 4, 4).sign(pa.array(texts)).bands
    assert all(not (hashes[one] == hashes[other]).any() for one, other in combinations(range(len(texts)), 2))


def test_numbers_of_the_scheme() -> None:
    """Indexes on disk were signed with these: other numbers need another SCHEME."""
    assert SCHEME == "datasketch-affine32-xxh3-codepoints-1"
    signed = Signer(5, 4, 3).sign(pa.array(["", "雲雀", "春はあけぼの。やうやう白くなりゆく山ぎは"]))
    assert [[f"{value:016x}" for value in row] for row in signed.bands.tolist()] == GOLDEN_BANDS
    assert [row.tobytes().hex() for row in signed.exact] == GOLDEN_EXACT


def test_exact_digests_ignore_white_space_only() -> None:
    texts = ["雲雀が 鳴く", "雲雀が鳴く\n", "　雲雀\u00a0が\u2003鳴く", "雲雀が鳴くよ", "", " \n"]
    exact = [row.tobytes() for row in Signer(5, 1, 1).sign(pa.array(texts)).exact]
    assert exact == [exact_digest(text) for text in texts]
    assert exact[0] == exact[1] == exact[2] != exact[3]
    assert exact[4] == exact[5]


@pytest.mark.parametrize("kind", ["hibari", "datasketch"])
def test_any_arrow_array_of_strings(kind: str) -> None:
    """A slice, 64-bit offsets, no text at all, and more texts than one call of the kernel takes."""
    texts = mixed_texts(40)
    signer = Signer(5, 16, 512 if kind == "hibari" else 1, kind=kind)  # type: ignore[arg-type]
    whole = signer.sign(pa.array(texts))
    part = signer.sign(pa.array(texts).slice(7, 20))
    large = signer.sign(pa.array(texts, pa.large_string()).slice(7, 20))
    np.testing.assert_array_equal(part.bands, whole.bands[7:27])
    np.testing.assert_array_equal(part.exact, whole.exact[7:27])
    np.testing.assert_array_equal(large.bands, part.bands)
    np.testing.assert_array_equal(large.exact, part.exact)
    assert signer.sign(pa.array([], pa.string())).bands.shape == (0, 16)
    np.testing.assert_array_equal(signer.sign(pa.array([""])).bands, signer.sign(pa.array(["", ""])).bands[1:])


def test_texts_that_cannot_be_signed_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 documents have no text"):
        Signer(5, 2, 2).sign(pa.array(["雲雀", None]))
    broken = pa.array([b"\xe9\x9b" + b"\xb2" * 40]).view(pa.string())
    with pytest.raises(ValueError, match="not UTF-8"):
        Signer(5, 2, 2).sign(broken)
