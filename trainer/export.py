"""Export: a checkpoint becomes a Hugging Face folder that transformers loads.

In: a verified checkpoint, the folder that training started from (its config.json, generation config), a folder with the
tokenizer. Out: config.json, safetensors in `dtype`, tokenizer files. The fp32 master weights are rounded once. The
result is then loaded through transformers and its logits on a probe are compared with those of our own model from the
same files: both compute in fp32 with scaled-dot-product attention, so on a CPU they are equal to the bit.

    outcome = export(Path("checkpoints/step-00000200"), Path("base"), Path("tokenizer"), Path("out"))
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from torch import Tensor

from storage.artifact import Outcome, file_entries
from trainer.checkpoint import read_manifest, verify
from trainer.dcp import read_tensors
from trainer.hf import HEAD, copy_other_files, load_model, parameter_shapes, write_weights
from trainer.llama_config import llama_config, read_config_json

logger = logging.getLogger(__name__)

PROBE_TOKENS = 48


def export(checkpoint: Path, model: Path, tokenizer: Path, out: Path, dtype: str = "bfloat16") -> Outcome:
    """Write and verify the Hugging Face folder `out`.

    Args:
        model: folder whose architecture was trained.
        tokenizer: folder whose tokenizer files are copied; may be `model`.
        dtype: torch's name of the dtype of the weights.

    Returns:
        The files, the number of parameters and of tokens trained on, and `max_logit_difference` (0.0).

    Raises:
        ValueError: the checkpoint is damaged or of another architecture, or transformers computes other logits.
    """
    if found := verify(checkpoint):
        raise ValueError(
            f"checkpoint {checkpoint} is damaged: {'; '.join(found)}; export an earlier one or train again"
        )
    fields = read_config_json(model)
    shapes = parameter_shapes(llama_config(fields))
    weights = {name: tensor.to(getattr(torch, dtype)) for name, tensor in read_tensors(checkpoint, only_weights=True)}
    _check_names(checkpoint, model, shapes, weights)
    files = copy_other_files(model, out)
    if tokenizer != model:
        files += copy_other_files(tokenizer, out)
    config = {**fields, "dtype": dtype} | ({"torch_dtype": dtype} if "torch_dtype" in fields else {})
    (out / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")
    files += ["config.json", *write_weights(out, weights)]
    difference = logit_difference(out)
    if difference != 0.0:
        raise ValueError(
            f"{out}: transformers' logits differ from ours by {difference}; the folder is not a faithful export. "
            f"Compare config.json with {model} and the installed transformers with the version Hibari is tested with"
        )
    state = read_manifest(checkpoint)
    return Outcome(
        files=file_entries(str(out), sorted(set(files))),
        counts={"parameters": sum(tensor.numel() for tensor in weights.values()), "steps": state["step"]},
        details={
            "dtype": dtype,
            "max_logit_difference": difference,
            "checkpoint_digest": state["content_digest"],
            "tied": HEAD not in weights,
        },
    )


@torch.no_grad()
def logit_difference(folder: Path) -> float:
    """Largest absolute difference between transformers' logits and ours on a fixed probe, on the CPU.

    Both compute in fp32, which holds every bf16 weight exactly: whether a CPU has bf16 instructions plays no part.
    """
    from transformers import AutoModelForCausalLM

    ours = load_model(folder, torch.float32)
    generator = torch.Generator().manual_seed(0)
    length = min(PROBE_TOKENS, ours.config.max_positions)
    probe = torch.randint(0, ours.config.vocab_size, (1, length), generator=generator)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    return (ours(probe).double() - theirs(probe, use_cache=False).logits.double()).abs().max().item()


def _check_names(checkpoint: Path, model: Path, shapes: dict[str, list[int]], weights: dict[str, Tensor]) -> None:
    wrong = sorted(
        name for name in shapes.keys() | weights.keys()
        if name not in shapes or name not in weights or list(weights[name].shape) != shapes[name]
    )  # fmt: skip
    if wrong:
        raise ValueError(
            f"{checkpoint} is not a checkpoint of {model}: {len(wrong)} parameters are missing, unexpected or of "
            f"another shape, first {wrong[0]}; give the folder that training started from"
        )
