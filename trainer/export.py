"""Export: a checkpoint becomes a Hugging Face folder that transformers loads.

In: a verified checkpoint, the folder that training started from (its config.json, generation config), a folder with the
tokenizer. Out: config.json, safetensors in `dtype`, tokenizer files. The fp32 master weights are rounded once. They are
read and written a few tensors at a time, so that of a model of any size one output file (5 GB) is in memory.

The result is then read back. Where two models in fp32 fit (`COMPARE_LOGITS_UP_TO` parameters), transformers loads it
and its logits on a probe are compared with those of our own model from the same files: both compute in fp32 with
scaled-dot-product attention, so on a CPU they are equal to the bit. A larger one is compared tensor by tensor with the
checkpoint, byte for byte, and its names and shapes with those of the model that transformers makes of config.json.

    outcome = export(Path("checkpoints/step-00000200"), Path("base"), Path("tokenizer"), Path("out"))
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import torch

from storage.artifact import Outcome, file_entries
from trainer.checkpoint import read_manifest, verify
from trainer.dcp import read_tensors, weight_shapes
from trainer.hf import copy_other_files, load_model, open_weights, parameter_shapes, stream_weights, tensor_bytes
from trainer.llama_config import llama_config, read_config_json
from trainer.sharding import HEAD

logger = logging.getLogger(__name__)

PROBE_TOKENS = 48
COMPARE_LOGITS_UP_TO = 8_000_000_000  # parameters; 8 bytes each for two models in fp32


def export(
    checkpoint: Path,
    model: Path,
    tokenizer: Path,
    out: Path,
    dtype: str = "bfloat16",
    compare_logits_up_to: int = COMPARE_LOGITS_UP_TO,
) -> Outcome:
    """Write and verify the Hugging Face folder `out`.

    Args:
        model: folder whose architecture was trained.
        tokenizer: folder whose tokenizer files are copied; may be `model`.
        dtype: torch's name of the dtype of the weights.
        compare_logits_up_to: parameters up to which logits are compared, and tensors above.

    Returns:
        The files, the number of parameters and of tokens trained on, what was `compared` (logits or tensors), and in
        the first case `max_logit_difference` (0.0).

    Raises:
        ValueError: the checkpoint is damaged or of another architecture, or transformers computes other logits.
    """
    if found := verify(checkpoint):
        raise ValueError(
            f"checkpoint {checkpoint} is damaged: {'; '.join(found)}; export an earlier one or train again"
        )
    fields = read_config_json(model)
    shapes = weight_shapes(checkpoint)
    _check_names(checkpoint, model, parameter_shapes(llama_config(fields)), shapes)
    files = copy_other_files(model, out)
    if tokenizer != model:
        files += copy_other_files(tokenizer, out)
    config = {**fields, "dtype": dtype} | ({"torch_dtype": dtype} if "torch_dtype" in fields else {})
    (out / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2, sort_keys=True) + "\n", "utf-8")
    rounded = getattr(torch, dtype)
    sizes = {name: math.prod(shape) * rounded.itemsize for name, shape in shapes.items()}
    masters = read_tensors(checkpoint, only_weights=True)
    files += ["config.json", *stream_weights(out, ((name, master.to(rounded)) for name, master in masters), sizes)]
    parameters = sum(math.prod(shape) for shape in shapes.values())
    state = read_manifest(checkpoint)
    return Outcome(
        files=file_entries(str(out), sorted(set(files))),
        counts={"parameters": parameters, "steps": state["step"]},
        details={
            "dtype": dtype,
            **(
                _compared_logits(out, model)
                if parameters <= compare_logits_up_to
                else _compared_tensors(checkpoint, out)
            ),
            "checkpoint_digest": state["content_digest"],
            "tied": HEAD not in shapes,
        },
    )


def _compared_logits(out: Path, model: Path) -> dict[str, str | float]:
    difference = logit_difference(out)
    if difference != 0.0:
        raise ValueError(
            f"{out}: transformers' logits differ from ours by {difference}; the folder is not a faithful export. "
            f"Compare config.json with {model} and the installed transformers with the version Hibari is tested with"
        )
    return {"compared": "logits", "max_logit_difference": difference}


def _compared_tensors(checkpoint: Path, out: Path) -> dict[str, str | float]:
    """Read what was written again, and ask transformers for names and shapes, without memory for weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with open_weights(out) as written:
        different = [
            name
            for name, master in read_tensors(checkpoint, only_weights=True)
            if tensor_bytes(written[name]) != tensor_bytes(master.to(written[name].dtype))
        ]
        with torch.device("meta"):
            theirs = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(out))
        expected = {name: list(parameter.shape) for name, parameter in theirs.named_parameters()}
        different += [name for name in expected if name not in written or written.shape(name) != expected[name]]
        different += [name for name in written if name not in expected]
    if different:
        raise ValueError(
            f"{out}: {len(different)} tensors are not the checkpoint's, or not as transformers expects them, first "
            f"{different[0]}; the folder is not a faithful export: check the disk, and export again"
        )
    return {"compared": "tensors"}


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


def _check_names(checkpoint: Path, model: Path, shapes: dict[str, list[int]], stored: dict[str, list[int]]) -> None:
    wrong = sorted(name for name in shapes.keys() | stored.keys() if shapes.get(name) != stored.get(name))
    if wrong:
        raise ValueError(
            f"{checkpoint} is not a checkpoint of {model}: {len(wrong)} parameters are missing, unexpected or of "
            f"another shape, first {wrong[0]}; give the folder that training started from"
        )
