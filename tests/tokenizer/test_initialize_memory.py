"""A model of many shards passes through embedding initialisation block by block."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tokenizer.expansion import EXPANSION, Expansion, NewPiece
from tokenizer.random_model import EMBEDDING, HEAD

ROOT = Path(__file__).resolve().parents[2]
VOCAB, HIDDEN = 32_000, 4096  # a table of 262 MB in bf16
PROGRAM = """
import resource, sys
from tokenizer.initialize import initialize

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak()
initialize(sys.argv[1], None, tokenizer=sys.argv[2], out=sys.argv[3], seed=1)
print((peak() - before) >> 10)
"""


def write_zeros(path: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of bf16 zeros that takes no space on disk."""
    header: dict[str, object] = {}
    offset = 0
    for name, shape in tensors.items():
        size = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        file.truncate(8 + len(encoded) + offset)


@pytest.mark.slow
def test_two_gigabytes_in_eight_shards_take_one_block_of_memory(tmp_path: Path) -> None:
    base, tokenizer = tmp_path / "base", tmp_path / "tokenizer"
    base.mkdir()
    tokenizer.mkdir()
    weight_map = {}
    for number in range(8):
        tensors = {f"model.layers.{number}.mlp.up_proj.weight": (VOCAB, HIDDEN)}
        if number in (0, 7):
            tensors = {EMBEDDING if number == 0 else HEAD: (VOCAB, HIDDEN)}
        name = f"model-{number + 1:05}-of-00008.safetensors"
        write_zeros(base / name, tensors)
        weight_map |= dict.fromkeys(tensors, name)
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (base / "config.json").write_text(json.dumps({"vocab_size": VOCAB}))
    pieces = [NewPiece(VOCAB + n, "", "", b"", n, (n, 31_999 - n, n * 7 % VOCAB)) for n in range(8000)]
    (tokenizer / EXPANSION).write_bytes(Expansion("sentencepiece", VOCAB, pieces).to_json())
    command = [sys.executable, "-c", PROGRAM, str(base), str(tokenizer), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert sum(path.stat().st_size for path in (tmp_path / "out/model").glob("*.safetensors")) > 2_000_000_000
    assert int(done.stdout) < 200, f"{done.stdout} MiB more than the imports"
