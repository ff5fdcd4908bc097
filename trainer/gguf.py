"""GGUF in: a quantised llama.cpp file becomes a Hugging Face folder.

In: a .gguf file of the Llama architecture with a byte-level BPE tokenizer. Out: a folder with config.json, safetensors
and the tokenizer. transformers dequantises the blocks to fp32 (a 4-bit weight stays as coarse as it was) and renames;
the weights are then rounded to `dtype`. What transformers 5.23 loses is put back: it knows one pre-tokenizer for all
byte-level tokenizers, so SmolLM2's, which parts digits first, would encode runs of spaces before digits otherwise
than the model was trained ("a  1" as `a Ġ Ġ 1`, not `a ĠĠ 1`). Needs the packages `gguf` and `accelerate` (extra
`demo`).

    convert_gguf(Path("SmolLM2-135M-Instruct.Q4_1.gguf"), Path("base"))
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
# llama.cpp's name of a pre-tokenizer (`tokenizer.ggml.pre`) -> the same for the tokenizers library.
PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "gpt-2": BYTE_LEVEL,
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL],
    },
}


def convert_gguf(gguf: Path, out: Path, dtype: str = "bfloat16") -> None:
    """Write the Hugging Face folder `out` of a GGUF file.

    Args:
        dtype: torch's name of the dtype that weights are stored in.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: `gguf` or `accelerate` is not installed.
        ValueError: another architecture, or a tokenizer that cannot be written faithfully.
    """
    if not gguf.is_file():
        raise FileNotFoundError(f"no GGUF file at {gguf}")
    if missing := [name for name in ("gguf", "accelerate") if find_spec(name) is None]:
        raise ModuleNotFoundError(f"reading GGUF needs {' and '.join(missing)}: pip install 'hibari[demo]'")
    pre_tokenizer = _pre_tokenizer(gguf)
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
    path = out / "tokenizer.json"
    fields = json.loads(path.read_text(encoding="utf-8")) | {"pre_tokenizer": pre_tokenizer}
    path.write_text(json.dumps(fields, ensure_ascii=False, indent=2), encoding="utf-8")


def _pre_tokenizer(gguf: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields
    names = ("general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre")
    architecture, model, pre = (fields[name].contents() if name in fields else None for name in names)
    if (architecture, model) != ("llama", "gpt2") or pre not in PRE_TOKENIZERS:
        raise ValueError(
            f"{gguf}: architecture {architecture!r}, tokenizer {model!r}, pre-tokenizer {pre!r}; expected 'llama', "
            f"'gpt2' and one of {sorted(PRE_TOKENIZERS)}. Use the model's original Hugging Face folder instead"
        )
    return PRE_TOKENIZERS[pre]
