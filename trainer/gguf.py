"""GGUF in: a quantised llama.cpp file becomes a Hugging Face folder.

In: a .gguf file of the Llama architecture. Out: a folder with config.json, safetensors and the tokenizer.
transformers dequantises the blocks to fp32 (a 4-bit weight stays as coarse as it was) and renames; the weights
are then rounded to `dtype`. Needs the packages `gguf` and `accelerate` (extra `demo`).

    convert_gguf(Path("SmolLM2-135M-Instruct.Q4_1.gguf"), Path("base"))
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch


def convert_gguf(gguf: Path, out: Path, dtype: str = "bfloat16") -> None:
    """Write the Hugging Face folder `out` of a GGUF file.

    Args:
        dtype: torch's name of the dtype that weights are stored in.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: `gguf` or `accelerate` is not installed.
    """
    if not gguf.is_file():
        raise FileNotFoundError(f"no GGUF file at {gguf}")
    if missing := [name for name in ("gguf", "accelerate") if find_spec(name) is None]:
        raise ModuleNotFoundError(f"reading GGUF needs {' and '.join(missing)}: pip install 'hibari[demo]'")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # Without `dequantize` the model keeps a quantisation config that save_pretrained refuses.
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.to(getattr(torch, dtype)).save_pretrained(out)
    tokenizer.save_pretrained(out)
