"""The training job of a run: what the trainer is told, put together from the artifacts of earlier stages.

job = make_job(config, model="runs/initialize/x/model", ...)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from storage.artifact import read_manifest
from storage.checkpoints import FOLDER
from storage.documents import read_texts
from storage.uri import exists, is_local, join
from tasks.train.config import TrainStageConfig
from tokenizer.encoder import Encoder, load_encoder
from trainer.batch_ramp import steps_for
from trainer.config import TrainJob

if TYPE_CHECKING:
    from tasks.stage import StageRecord

CHECK_TEXTS = 4
CHECK_TOKENS = 256


def make_job(
    config: TrainStageConfig,
    *,
    base_model: str,
    model: str,
    tokenizer: str,
    languages: Mapping[str, str],
    tokens: StageRecord,
    mixture: StageRecord,
    seed: int,
    out: str,
    fingerprint: str,
    continued: str | None = None,
) -> TrainJob:
    """Everything `python -m trainer` needs to know.

    Args:
        base_model: folder of the model before expansion.
        model: folder of the model to start from.
        tokenizer: folder of the run's tokenizer; its base lies in `base/` where anything was added.
        languages: source name -> language.
        continued: the checkpoint to start from, where `mixture` continues an earlier training's.
    """
    base_tokenizer = join(tokenizer, "base") if exists(join(tokenizer, "base")) else tokenizer
    return TrainJob(
        train=config.trainer(),
        model=model,
        base_model=base_model,
        mixture=mixture.uri,
        out=out,
        mirror=None if is_local(out) else join(out, FOLDER),
        fingerprint=fingerprint,
        continued=continued,
        seed=seed,
        num_steps=steps_for(mixture.counts["samples"], config.batch_ramp, config.global_batch),
        check_texts=check_texts(load_encoder(base_tokenizer), tokens.uri, languages),
        bytes_per_token=bytes_per_token(tokens, languages),
    )


def check_texts(encoder: Encoder, tokens: str, languages: Mapping[str, str]) -> dict[str, list[list[int]]]:
    """The beginnings of a few held-out documents of each language, in the base vocabulary.

    Returns:
        language -> at most `CHECK_TEXTS` texts of 2 to `CHECK_TOKENS` ids.
    """
    found: dict[str, list[list[int]]] = {}
    for source, language in languages.items():
        texts = found.setdefault(language, [])
        held_out = read_texts(join(tokens, source, "validation.parquet"))
        ids = (encoder.document(text)[:CHECK_TOKENS] for _, text in held_out)
        texts += itertools.islice((document for document in ids if len(document) > 1), CHECK_TEXTS - len(texts))
    return found


def bytes_per_token(tokens: StageRecord, languages: Mapping[str, str]) -> dict[str, float]:
    """language -> UTF-8 bytes a training token stands for, over the language's sources."""
    manifest = read_manifest(tokens.uri)
    assert manifest is not None, f"{tokens.uri} was complete when this stage began"
    ratios = {}
    for language in dict.fromkeys(languages.values()):
        sources = [source for source, of in languages.items() if of == language]
        num_bytes = sum(manifest.counts[f"bytes_{source}_train"] for source in sources)
        ratios[language] = num_bytes / sum(manifest.counts[f"tokens_{source}_train"] for source in sources)
    return ratios
