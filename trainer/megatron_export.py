"""A Hugging Face folder becomes a checkpoint that Megatron-LM loads: weights only.

Out: `iter_0000100/mp_rank_TT[_PPP]/model_optim_rng.pt`, a file for each tensor- and pipeline-parallel rank (the
pipeline's number only with several stages), and `latest_checkpointed_iteration.txt`, written last. Each file is what
torch.save makes of {args, checkpoint_version 3.0, iteration, model}: Megatron's format `torch`, which Megatron-LM has
loaded since 2021 and does at core 0.20. Its newer format `torch_dist` depends on Megatron-core's version and needs it
for writing; Megatron-LM converts with --ckpt-convert-format torch_dist. One file's tensors are in memory at a time.

    write_megatron(Path("model"), Path("megatron"), step=25000, tp=2, pp=2)
"""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from trainer.hf import Weights, open_weights
from trainer.llama_config import LinearRopeScaling, Llama3RopeScaling, read_llama_config
from trainer.megatron import (
    FILE,
    TRACKER,
    MegatronLayout,
    Spec,
    arguments,
    even_stages,
    extra_states,
    layout_problems,
    padded_vocab,
    rank_folder,
    rank_parameters,
)
from trainer.sharding import NORM, Block


def write_megatron(
    model: Path,
    out: Path,
    step: int,
    tp: int = 1,
    pp: int = 1,
    spec: Spec = "transformer_engine",
    vocab_multiple: int = 128,
) -> MegatronLayout:
    """Write the weights of a Hugging Face folder as iteration `step` of a Megatron checkpoint folder.

    Args:
        spec: Megatron's --transformer-impl.
        vocab_multiple: Megatron's --make-vocab-size-divisible-by; the vocabulary's rows are padded with 0 to a multiple
            of it times `tp`. Megatron does not mask padding: each row adds exp(0) to its softmax; 1 keeps it smallest.

    Raises:
        ValueError: Megatron-core cannot hold this model in this layout (all reasons), or the iteration exists.
    """
    config = read_llama_config(model)
    layout = MegatronLayout(tp, pp, spec, padded_vocab(config.vocab_size, tp, vocab_multiple))
    if found := layout_problems(config, layout):
        raise ValueError(f"{model} cannot become a Megatron checkpoint: {'; '.join(found)}")
    folder = out / f"iter_{step:07}"
    if folder.exists():
        raise ValueError(f"{folder} is there already; remove it, or choose another folder")
    unfinished = out / f".{folder.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    with open_weights(model) as weights:
        dtype = weights[NORM].dtype
        args = Namespace(
            **arguments(config, layout),
            make_vocab_size_divisible_by=vocab_multiple,
            params_dtype=dtype,
            bf16=dtype == torch.bfloat16,
            fp16=dtype == torch.float16,
            iteration=step,
        )
        for stage in even_stages(config.num_layers, pp):
            for tp_rank in range(tp):
                state: dict[str, Tensor | None] = dict.fromkeys(extra_states(layout, stage))
                for name, blocks in rank_parameters(config, layout, stage, tp_rank).items():
                    state[name] = _stack(weights, blocks)
                path = unfinished / rank_folder(tp_rank, stage.pp_rank, pp) / FILE
                path.parent.mkdir(parents=True)
                torch.save({"args": args, "checkpoint_version": 3.0, "iteration": step, "model": state}, path)
                del state  # before the next file's tensors are read
    unfinished.rename(folder)
    (out / TRACKER).write_text(f"{step}\n", encoding="utf-8")
    return layout


def megatron_options(model: Path, out: Path, spec: Spec) -> list[str]:
    """Options with which Megatron-LM continues from such a folder: those that it does not read from the checkpoint."""
    config = read_llama_config(model)
    options = [f"--load {out}", "--finetune", "--no-load-optim", "--no-load-rng", "--use-checkpoint-args"]
    options += ["--auto-detect-ckpt-format", f"--transformer-impl {spec}", f"--norm-epsilon {config.rms_norm_eps:g}"]
    if isinstance(config.rope_scaling, Llama3RopeScaling):
        options += ["--use-rope-scaling", f"--rope-scaling-factor {config.rope_scaling.factor:g}"]
    if isinstance(config.rope_scaling, LinearRopeScaling):
        options += [f"--rotary-seq-len-interpolation-factor {config.rope_scaling.factor:g}"]
    return options


def _stack(weights: Weights, blocks: Sequence[Block]) -> Tensor:
    """A rank's parameter: its blocks below one another, rows of padding 0."""
    rows = []
    for block in blocks:
        part = weights.block(block)
        rows += [part, part.new_zeros(block.local[0] - block.size[0], *block.local[1:])]
    return torch.cat(rows)
