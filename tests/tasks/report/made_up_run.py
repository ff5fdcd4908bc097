"""A whole run made up: nine sealed artifacts with the counts, details and files that the stages leave."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from storage.artifact import FileEntry, Manifest, Outcome, content_digest, new_file, seal
from tests.tasks.report.made_up_duplicates import DUPLICATES
from tests.tasks.report.made_up_files import example_rows, write_corpus, write_curated, write_held_out, write_mixture
from tokenizer.expand import ExpandOptions, expand

JAPANESE = (
    "春の朝、雲雀は麦畑から空へまっすぐに上がる。",
    "設定を変えたら、サービスを再起動して動作を確かめてください。",
    "図書館で借りた本は、来週の水曜日までに返してください。",
    "麦畑のそばの図書館では、朝から雲雀の声が聞こえる。",
)
ENGLISH = (
    "The skylark rises above the wheat in the morning and sings.",
    "Please restart the service after you have changed its settings.",
)
STAGES = ("curate", "deduplicate", "expand", "initialize", "binarize", "mix", "train", "export", "evaluate")
RUN: dict[str, Any] = {
    "name": "made-up",
    "root": "runs",
    "seed": 1234,
    "curate": {"sources": ["warc/*.warc.gz"], "profile": "hibari"},
    "expand": {"base": "models/small"},
    "initialize": {"base_model": "models/small", "new_rows": "mean"},
    "sources": [
        {"name": "corpus", "language": "ja", "weight": 0.9, "documents": None},
        {"name": "web-en", "language": "en", "weight": 0.1, "documents": ["text/en.jsonl.gz"]},
    ],
    "train": {"seq_len": 512, "global_batch": 16, "lr": 1e-4},
    "evaluate": {"window": 512, "stride": 384, "dtype": "fp32", "confidence": 0.95, "resamples": 1000},
}
LICENCES: list[dict[str, str | None]] = [
    {
        "what": "WARC files",
        "licence": "CC-BY-4.0",
        "attribution": "the larks",
        "url": None,
        "stated_by": "the run file",
    },
    {"what": "base model", "licence": "apache-2.0", "attribution": None, "url": None, "stated_by": "README.md"},
]
ENVIRONMENT: dict[str, Any] = {
    "python": "3.11.7",
    "system": "Linux 6.1 x86_64",
    "processor": "Made-up 9000",
    "cores": 16,
    "memory_gib": 64.0,
    "gpus": ["Made-up H900"],
    "libraries": {"numpy": "2.4.6", "torch": "2.13.0"},
}
CURATE = {
    "records": 19_265,
    "documents": 1_204,
    "kept": 1_204,
    "dropped": 18_061,
    "characters": 3_456_789,
    "other_records": 61,
    "torn_members": 3,
    "lines_removed": 4_321,
    "characters_removed": 98_765,
    "dropped_torn_member": 3,
    "dropped_not_html": 420,
    "dropped_no_japanese_bytes": 14_900,
    "dropped_empty_text": 38,
    "dropped_not_japanese": 1_200,
    "dropped_too_few_letters": 1_100,
    "dropped_too_little_hiragana": 250,
    "dropped_top_2gram": 150,
}
DEDUPLICATE = {
    "documents": 1_204,
    "kept": 1_100,
    "dropped": 104,
    "exact_duplicates": 40,
    "near_duplicates": 64,
    "clusters": 52,
    "characters": 3_210_987,
}

CHARSETS = {
    "utf-8": {"pages": 3_100, "lossy": 12, "mojibake": 3, "undecodable": 0, "kept": 1_150},
    "cp932": {"pages": 81, "lossy": 2, "mojibake": 0, "undecodable": 1, "kept": 54},
}


NEW_ROWS = {
    "new_rows": "mean",
    "new_output_rows": "mean",
    "output_shift": "frequency",
    "shift": {"mean": -1.875, "lowest": -4.5, "highest": 0.25},
    "calibration": {"documents": 17, "tokens": 4_099, "new_pieces_per_base_token": 0.3, "direction_norm": 0.06},
}


def make_run(root: Path, num_steps: int = 120) -> dict[str, str]:
    """Write all nine artifacts; stage -> URI."""
    outcomes = {
        "curate": Outcome(write_curated(uri_of(root, "curate")), CURATE, details={"charsets": CHARSETS}),
        "deduplicate": Outcome(
            write_corpus(uri_of(root, "deduplicate")),
            DEDUPLICATE,
            details=DUPLICATES,
        ),
        "expand": _expand(root),
        "initialize": Outcome(counts={"new_rows": 64, "parameters": 134_600_000}, details=NEW_ROWS),
        "binarize": _binarize(root),
        "mix": _mix(root),
        "train": _train(root, num_steps),
        "export": Outcome(
            counts={"parameters": 134_600_000}, details={"dtype": "bfloat16", "max_logit_difference": 0.0}
        ),
        "evaluate": _evaluate(root),
    }
    settings: dict[str, Any] = {
        "deduplicate": {"literals": {"ngram": 5, "bands": 40, "rows": 20}},
        "train": {"literals": {"lr": 1e-4, "warmup_steps": 12}, "recorded": {"parallel": {"dp": 2, "tp": 1}}},
    }
    for stage in STAGES:
        recorded = settings.setdefault(stage, {}).setdefault("recorded", {})
        recorded |= {"environment": ENVIRONMENT, "attempts": 2 if stage == "train" else 1}
    return {stage: seal_stage(root, stage, outcome, **settings[stage]) for stage, outcome in outcomes.items()}


def uri_of(root: Path, stage: str) -> str:
    return str(root / stage / f"made-up-{stage}")


def seal_stage(root: Path, stage: str, outcome: Outcome, **fields: Any) -> str:
    """Publish a manifest of this outcome."""
    number = STAGES.index(stage)
    manifest = Manifest(
        stage=stage,
        name="made-up",
        fingerprint=f"{number}123456789ab" * 5,
        algorithm_version="1",
        literals=fields.pop("literals", {}),
        inputs={},
        libraries=fields.pop("libraries", {"numpy": "2.4.6"}),
        files=outcome.files,
        counts=outcome.counts,
        content_digest=content_digest(outcome.files),
        started=f"2026-11-21T2{number // 6}:{number * 7:02d}:00+00:00",
        seconds=(41.2, 7.75, 12.0, 3.1, 9.4, 0.62, 483.0, 11.8, 164.3)[number],
        details=outcome.details,
        host="made-up-host",
        revision="0123456789ab",
        **fields,
    )
    seal(uri_of(root, stage), manifest)
    return uri_of(root, stage)


def write_rows(root: Path, stage: str, path: str, rows: list[dict[str, Any]]) -> FileEntry:
    with new_file(uri_of(root, stage), path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return FileEntry.of(path, file)


def _expand(root: Path) -> Outcome:
    """A real expansion of a small byte-level tokenizer."""
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    base.train_from_iterator(
        ENGLISH, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    )
    folder = root / "base"
    folder.mkdir(parents=True)
    base.save(str(folder / "tokenizer.json"))
    options = ExpandOptions(num_candidates=64, min_count=2)
    return expand(str(folder), lambda: iter(JAPANESE * 4), options, out=uri_of(root, "expand"), seed=1)


def _binarize(root: Path) -> Outcome:
    def source(name: str, language: str, documents: int, tokens: int, size: int) -> dict[str, Any]:
        def split(part: float) -> dict[str, Any]:
            numbers = {"documents": documents, "tokens": tokens, "bytes": size}
            return {key: round(value * part) for key, value in numbers.items()} | {"bin_sha256": "", "idx_sha256": ""}

        splits = {"train": split(0.98), "validation": split(0.02)}
        dropped = {"read": documents + 5, "empty": 0, "duplicate": 5, "held_out_elsewhere": 0, "shared_id": 0}
        return {"name": name, "language": language, "splits": splits, **dropped}

    sources = [source("corpus", "ja", 1_100, 1_010_000, 9_200_000), source("web-en", "en", 3_000, 2_000_000, 8_900_000)]
    files = write_held_out(uri_of(root, "binarize"))
    return Outcome(files, details={"vocab_size": 50_152, "dtype": "uint16", "sources": sources})


def _mix(root: Path) -> Outcome:
    def planned(name: str, language: str, weight: float, tokens: int, epochs: float) -> dict[str, Any]:
        row = {"name": name, "language": language, "weight": weight, "achieved": tokens / 983_040, "tokens": tokens}
        return {**row, "available_tokens": 989_800, "epochs": epochs}

    sources = [planned("corpus", "ja", 0.9, 884_736, 0.894), planned("web-en", "en", 0.1, 98_304, 0.05)]
    train = {"num_samples": 1_920, "digest": "ab" * 32, "max_deviation_samples": 0.8, "sources": sources}
    files = write_mixture(uri_of(root, "mix"), str(root / "tokens"))
    return Outcome(files, {"samples": 1_920, "tokens": 983_040}, {"seq_len": 512, "splits": {"train": train}})


def _train(root: Path, num_steps: int) -> Outcome:
    """Rounded, because the last digit of a sine is the machine's affair."""
    rows = []
    for step in range(1, num_steps + 1):
        wobble = round(0.12 * math.sin(step * 2.7) + 0.07 * math.sin(step * 7.1), 4)
        losses = {"ja": round(2.2 + 2.0 * math.exp(-step / 35) + wobble, 4)}
        if step % 3:
            losses["en"] = round(2.75 + 0.1 * math.exp(-step / 20) + 2 * wobble, 4)
        row: dict[str, Any] = {
            "step": step,
            "consumed_samples": step * 16,
            "consumed_tokens": step * 8_192,
            "loss": 0.9 * losses["ja"] + 0.3,
            "language_loss": losses,
            "bits_per_byte": {name: round(loss / math.log(2) / 4.4, 4) for name, loss in losses.items()},
            "grad_norm": 1.0 + wobble,
            "lr": round(1e-4 * min(step / 12, 0.5 + 0.5 * math.cos(math.pi * step / num_steps)), 9),
            "step_seconds": 32 + wobble,
            "tokens_per_second": 255 + wobble,
            "tflops": {"model_causal": 0.21, "swallow_2023_12": 0.28},
            "mfu": 0.42,
            "skipped_steps": step // 100,
            "memory_gib": 3.1,
        }
        rows.append(row)
    languages = {
        "ja": {
            "tokens": 2_040,
            "base_loss": 1.2345678,
            "masked_loss": 1.2345678,
            "unmasked_loss": 1.35,
            "unmasked_rise": 0.1154322,
        },
        "en": {"tokens": 1_990, "base_loss": 2.5, "masked_loss": 2.5, "unmasked_loss": 2.5004, "unmasked_rise": 0.0004},
    }
    held_out = [
        {
            "step": step,
            "languages": {
                name: {"loss": loss, "bits_per_byte": round(loss / math.log(2) / 4.4, 4), "tokens": 24_576}
                for name, loss in (("en", 2.7 + step / 1000), ("ja", round(2.3 + 1.9 * math.exp(-step / 35), 4)))
            },
        }
        for step in (0, *range(40, num_steps + 1, 40))
    ]
    checks = {"base_vocab": 49_152, "vocab": 50_152, "tolerance": 0.0, "languages": languages}
    files = [
        write_rows(root, "train", "metrics.jsonl", rows),
        write_rows(root, "train", "validation.jsonl", held_out),
        write_rows(root, "train", "start_checks.json", [checks]),
    ]
    counts = {"steps": num_steps, "tokens": num_steps * 8_192, "samples": num_steps * 16}
    details = {"layout": {"dp": 2, "tp": 1, "pp": 1, "ranks": 2}, "restarts": 1}
    return Outcome(files=files, counts=counts, details=details)


def _evaluate(root: Path) -> Outcome:
    values: Mapping[tuple[str, str, str], tuple[float, float | None, float]] = {
        ("bits_per_byte", "ja", "bits/byte"): (1.704, 1.867, 1.395),
        ("bits_per_byte", "en", "bits/byte"): (1.008, 1.008, 0.985),
        ("accuracy", "ja", "share"): (0.391, None, 0.422),
        ("accuracy", "en", "share"): (0.614, None, 0.591),
        ("margin", "ja", "bits/byte"): (-0.031, None, 0.012),
        ("margin", "en", "bits/byte"): (0.094, None, 0.09),
    }
    rows = []
    for (metric, language, unit), scores in values.items():
        task = "bits_per_byte" if metric == "bits_per_byte" else "hibari_probe"
        for category in (None, "everyday", "science") if metric == "accuracy" else (None,):
            for model, value in zip(("base", "initialized", "trained"), scores, strict=True):
                if value is not None:
                    row: dict[str, Any] = {
                        "model": model,
                        "task": task,
                        "metric": metric,
                        "unit": unit,
                        "language": language,
                        "category": category,
                    }
                    row |= {"n": 64, "value": value, "ci_low": value - 0.04, "ci_high": value + 0.05}
                    if model != "base":
                        off = value - (scores[0] or 0)
                        row |= {"difference": off, "difference_low": off - 0.03, "difference_high": off + 0.03}
                    rows.append(row)
    files = [write_rows(root, "evaluate", "scores.jsonl", rows)]
    for model in ("base", "trained"):
        for task in ("bits_per_byte", "hibari_probe"):
            files.append(write_rows(root, "evaluate", f"examples/{model}-{task}.jsonl", example_rows(model, task)))
    counts = {"documents_ja": 9, "bytes_ja": 39_900, "documents_en": 11, "bytes_en": 38_000}
    return Outcome(files=files, counts=counts, details={"device": "cpu"})
