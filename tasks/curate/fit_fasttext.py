"""The program that trains a fastText classifier, in a process of its own.

With one thread, which determinism needs, fastText initialises a tenth of its input matrix and leaves the rest as
malloc returns it (`DenseMatrix::uniform` of 0.9.3 and of fasttext-numpy2 0.10.4): what an earlier computation left
there becomes weights, which differ from run to run and end in "Encountered NaN". In a process whose malloc
returns zeros, those rows start at zero like fastText's output matrix, and the same lines give the same model.

    fit(Path("lines.txt"), Path("model.bin"), {"lr": 0.2, "epoch": 5, "thread": 1}, quantize=False)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# glibc: large blocks come from the kernel, which zeroes them; smaller ones are filled with the complement of 255.
_ZEROED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_PERTURB_": "255", "OMP_NUM_THREADS": "1"}


def fit(lines: Path, model: Path, options: Mapping[str, Any], *, quantize: bool) -> None:
    """Train on lines of `__label__K token token ...`.

    Args:
        options: of fastText's `train_supervised`.

    Raises:
        ValueError: fastText gave up; with its message.
    """
    ended = subprocess.run(
        [sys.executable, "-m", __name__, str(lines), str(model), json.dumps(options), json.dumps(quantize)],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, **_ZEROED},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        reason = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
        raise ValueError(f"fastText could not be trained: {reason[0]}")


def main() -> None:
    """In the process: the arguments of `fit`."""
    import fasttext

    lines, out, options, quantize = sys.argv[1:]
    model = fasttext.train_supervised(input=lines, **json.loads(options))
    if json.loads(quantize):
        model.quantize()
    model.save_model(out)


if __name__ == "__main__":
    main()
