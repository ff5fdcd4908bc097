"""The compiled kernel against xxhash and `str.split`, and how its machine code is kept."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xxhash

from tasks.deduplicate.kernel import compact, fill_bands

ROOT = Path(__file__).resolve().parents[3]


def hash64(data: bytes, texts: int = 1) -> list[int]:
    """The kernel's xxh3-64 of each of so many equally long parts."""
    octets, hashes = np.frombuffer(data or b"\0", np.uint8)[: len(data)], np.empty((texts, 1), np.uint64)
    fill_bands(octets, hashes)
    return hashes[:, 0].tolist()


def without_white_space(texts: list[str]) -> list[bytes]:
    """What the kernel leaves of each text."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)])
    left, ends = np.empty(int(offsets[-1]), np.uint8), np.empty(len(offsets), np.int64)
    compact(np.frombuffer(b"".join(encoded), np.uint8), offsets, left, ends)
    return [left[first:last].tobytes() for first, last in pairwise(ends)]


def test_xxh3_is_xxhash_at_every_length() -> None:
    """Shingles have up to 128 bytes, bands up to 512: every path of the algorithm, and its borders."""
    noise = random.Random(1).randbytes(1024)
    wrong = [length for length in range(1025) if hash64(noise[:length]) != [xxhash.xxh3_64_intdigest(noise[:length])]]
    assert wrong == []


@pytest.mark.parametrize("length", [3, 7, 13, 60, 132, 244])
def test_xxh3_starts_anywhere(length: int) -> None:
    noise = random.Random(length).randbytes(9 * length)
    parts = [noise[at : at + length] for at in range(0, len(noise), length)]
    assert hash64(noise, texts=9) == [xxhash.xxh3_64_intdigest(part) for part in parts]


def test_white_space_is_what_split_splits_at() -> None:
    """Every character of Unicode, between others and at both ends of a text."""
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = ["".join(characters[at : at + 4096]) for at in range(0, len(characters), 4096)]
    spaces = [character for character in characters if character.isspace()]
    texts += [f"{space}雲{space}{space}a{space}é{space}" for space in spaces] + ["", "".join(spaces), "雲雀"]
    assert len(spaces) == 29
    assert without_white_space(texts) == ["".join(text.split()).encode() for text in texts]


def test_the_start_of_a_white_space_character_at_the_end_of_a_text_does_not_reach_into_the_next() -> None:
    """Such a text is not UTF-8, and the next one's bytes would complete the character."""
    octets = np.frombuffer("雲".encode() + b"\xe3\x80" + b"\x80" + "雀".encode(), np.uint8)
    left, ends = np.empty(9, np.uint8), np.empty(3, np.int64)
    compact(octets, np.array([0, 5, 9]), left, ends)
    assert left.tobytes() == octets.tobytes()
    assert ends.tolist() == [0, 5, 9]


@pytest.mark.slow
def test_processes_that_compile_at_once_compute_the_same(tmp_path: Path) -> None:
    """The first workers on a machine find nothing compiled, and write what they compile to the same files."""
    program = (
        "import pyarrow as pa; from tasks.deduplicate.signatures import Signer; "
        "print(Signer(5, 2, 3).sign(pa.array(['春はあけぼの。やうやう白くなりゆく'])).bands.tolist())"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )

    at_once = [process.communicate()[0] for process in [start(), start(), start()]]
    assert len(list(tmp_path.rglob("*.nbc"))) == 3
    assert {*at_once, start().communicate()[0]} == {at_once[0]}
    assert at_once[0].startswith("[[")
