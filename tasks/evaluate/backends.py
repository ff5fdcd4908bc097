"""The backends by name, and what they need.

backend = load_backend("vllm", Path("runs/export/demo-0123"), dtype="bf16")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from tasks.evaluate.requests import Backend

if TYPE_CHECKING:
    from tokenizer.encoder import Encoder

BackendName = Literal["transformers", "vllm", "lm-eval"]


def load_backend(
    name: BackendName,
    folder: Path,
    *,
    dtype: Literal["fp32", "bf16"] = "fp32",
    device: str | None = None,
    max_length: int | None = None,
    encoder: Encoder | None = None,
) -> Backend:
    """A model, ready to answer.

    Args:
        name: `transformers`; `vllm` (extra `vllm`, a GPU); `lm-eval` (extra `lm-eval`): its Hugging Face model.
        folder: a Hugging Face model folder with tokenizer files.
        device: `cpu`, `cuda`, `cuda:1`; None: CUDA where there is one. vLLM takes what CUDA_VISIBLE_DEVICES shows.
        max_length: ids the model may read, where that is to be less than it can.
        encoder: of this folder, where it is loaded already.

    Raises:
        ValueError: no backend is called so.
        ImportError: its extra is not installed; says which.
    """
    if name == "transformers":
        from tasks.evaluate.model import LanguageModel

        return LanguageModel.load(folder, dtype=dtype, device=device, max_length=max_length, encoder=encoder)
    if name == "vllm":
        from tasks.evaluate.vllm_backend import VllmBackend

        return VllmBackend.load(folder, dtype=dtype, max_length=max_length, encoder=encoder)
    if name == "lm-eval":
        from tasks.evaluate.lm_eval_adapter import load_lm_eval

        return load_lm_eval(folder, dtype=dtype, device=device, max_length=max_length, encoder=encoder)
    raise ValueError(f"no backend is called {name}; there are {', '.join(get_args(BackendName))}")
