"""What must be true before the first step: this model is the base model plus new vocabulary rows, and nothing else.

In: the folder to start from, the base model's folder, and texts as token ids of the base vocabulary. Out:
`start_checks.json`. Training refuses to start unless
- every tensor is byte-equal to the base model's; of the embedding and the output matrix, the base model's rows are;
- on each text, with the new logits masked, the loss equals the base model's: to the bit on CPU, within 1e-4 on CUDA.
The new logits are masked by leaving their rows out of the last product, so that both sides run the same kernels on the
same shapes. The second check also covers what the first cannot see: the rest of config.json, and the loader. What the
new rows cost before they are trained (the loss with all logits, minus the base's) is reported per language.

One process checks, and a model of any size fits: the texts go through it a layer at a time, so that what is in memory
is one layer, or the embedding, or the head, beside the texts' hidden states.

    check_start(model, base_model, check_texts, dtype, device)   # raises, or returns the report
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer.config import ParallelConfig
from trainer.hf import Weights, open_weights
from trainer.layout import Coordinates
from trainer.llama_config import read_llama_config
from trainer.loss import token_losses
from trainer.model import Llama, linear
from trainer.parallelize import cut_to_stage, materialize
from trainer.sharding import EMBEDDING, HEAD, stage_blocks
from trainer.stages import split_stages

logger = logging.getLogger(__name__)

START_CHECKS = "start_checks.json"
CUDA_TOLERANCE = 1e-4


def check_start(
    model: Path, base_model: Path, texts: dict[str, list[list[int]]], dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """Check a model against its base.

    Args:
        texts: language -> texts as token ids below the base vocabulary's size, at least two ids each.

    Returns:
        What start_checks.json holds: tensors and rows compared, and per language the tokens and the losses of base,
        masked and unmasked model in nats per token, and the unmasked rise.

    Raises:
        ValueError: something differs; everything that does is named.
    """
    base_vocab = read_llama_config(base_model).vocab_size
    found = _changed_tensors(model, base_model, base_vocab)
    if found:
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise ValueError(
            f"training refuses to start: {model} is not {base_model} plus new vocabulary rows: "
            f"{'; '.join(found[:5])}{more}. Initialise the model again from this base model"
        )
    _check_ids(texts, base_vocab)
    base = _losses(base_model, texts, base_vocab, dtype, device)
    own = _losses(model, texts, base_vocab, dtype, device)
    tolerance = CUDA_TOLERANCE if device.type == "cuda" else 0.0
    languages = {}
    for language, (tokens, base_loss, _) in base.items():
        _, masked, unmasked = own[language]
        languages[language] = {
            "tokens": tokens,
            "base_loss": base_loss,
            "masked_loss": masked,
            "unmasked_loss": unmasked,
            "unmasked_rise": unmasked - base_loss,
        }
        if not abs(masked - base_loss) <= tolerance:
            raise ValueError(
                f"training refuses to start: on {language} text with the new logits masked the loss is {masked!r}, "
                f"{base_model} has {base_loss!r} (allowed difference {tolerance}): the weights are equal, so the two "
                f"config.json differ in something that computes; compare rope_parameters, rms_norm_eps and head counts"
            )
        logger.info("start check, %s: loss %.4f as the base; unmasked %+.4f", language, base_loss, unmasked - base_loss)
    vocab = read_llama_config(model).vocab_size
    return {"base_vocab": base_vocab, "vocab": vocab, "tolerance": tolerance, "languages": languages}


def _changed_tensors(model: Path, base_model: Path, base_vocab: int) -> list[str]:
    with open_weights(model) as own, open_weights(base_model) as base:
        found = [f"{name} is missing" for name in base if name not in own]
        found += [f"{name} is not in the base model" for name in own if name not in base]
        for name in sorted(set(own) & set(base)):
            rows = base_vocab if name in (EMBEDDING, HEAD) else None
            found += _difference(name, own, base, rows)
    return found


def _difference(name: str, own: Weights, base: Weights, rows: int | None) -> list[str]:
    """How a tensor differs from the base's, of which `own` may have more rows where `rows` is given."""
    ours, theirs = own[name], base[name]
    if rows is not None:
        ours = ours[:rows]
    if ours.dtype != theirs.dtype:
        return [f"{name} is {ours.dtype}, the base's {theirs.dtype}"]
    if ours.shape != theirs.shape:
        return [f"{name} has shape {list(ours.shape)}, the base's {list(theirs.shape)}"]
    differs = ours.contiguous().view(torch.uint8) != theirs.contiguous().view(torch.uint8)
    if not differs.any():
        return []
    if rows is None:
        return [f"{name} differs"]
    changed = differs.any(dim=1).nonzero().flatten().tolist()
    return [f"{name} differs in {len(changed)} of its {rows} old rows, first row {changed[0]}"]


def _check_ids(texts: dict[str, list[list[int]]], base_vocab: int) -> None:
    for language, lists in texts.items():
        for ids in lists:
            if len(ids) < 2 or min(ids) < 0 or max(ids) >= base_vocab:
                raise ValueError(
                    f"check_texts: a {language} text has {len(ids)} ids up to {max(ids, default=-1)}; expected at "
                    f"least 2 ids below {base_vocab}, from the base model's tokenizer"
                )


@torch.no_grad()
def _losses(
    folder: Path, texts: dict[str, list[list[int]]], base_vocab: int, dtype: torch.dtype, device: torch.device
) -> dict[str, tuple[int, float, float]]:
    """Per language: predicted tokens, mean loss over the base vocabulary, mean loss over all logits."""
    if not texts:
        return {}
    tokens = {language: [torch.tensor([ids], device=device) for ids in lists] for language, lists in texts.items()}
    hidden = {language: [ids[:, :-1] for ids in lists] for language, lists in tokens.items()}
    for layer in _layer_by_layer(folder, dtype, device):
        hidden = {language: [layer.hidden(x) for x in states] for language, states in hidden.items()}
    assert layer.lm_head is not None, "the last one has the head"
    head = layer.lm_head.weight
    found = {}
    for language, states in hidden.items():
        masked = unmasked = torch.zeros((), dtype=torch.float64, device=device)
        for x, ids in zip(states, tokens[language], strict=True):
            masked = masked + _total(linear(x, head[:base_vocab]), ids)
            unmasked = unmasked + _total(linear(x, head), ids)
        count = sum(ids.shape[1] - 1 for ids in tokens[language])
        found[language] = (count, masked.item() / count, unmasked.item() / count)
    return found


def _layer_by_layer(folder: Path, dtype: torch.dtype, device: torch.device) -> Iterator[Llama]:
    """A model as the stages of a pipeline that has one for each layer, each read when it is asked for."""
    shape = read_llama_config(folder)
    parallel = ParallelConfig(pp=shape.num_layers, layers_per_stage=[1] * shape.num_layers)
    with open_weights(folder) as weights:
        for stage in split_stages(shape, parallel):
            blocks = stage_blocks(shape, parallel, Coordinates(tp=0, dp=0, pp=stage.pp_rank), stage)
            with torch.device("meta"):
                layer = Llama(shape, dtype)
            cut_to_stage(layer, stage)
            materialize(layer, blocks, dtype, device)
            for name, parameter in layer.named_parameters():
                parameter.copy_(weights.block(blocks[name]))
            yield layer


def _total(logits: Tensor, tokens: Tensor) -> Tensor:
    return token_losses(logits, tokens[:, 1:]).sum(dtype=torch.float64)
