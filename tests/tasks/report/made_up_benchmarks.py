"""A made-up evaluation with benchmarks: the files that evaluate leaves, small, with a few outputs that mean harm."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# task -> (label, language, kind, headline metric, averaged, scores of base and trained)
TASKS: Mapping[str, tuple[str, str, str, str, bool, tuple[float, float]]] = {
    "jcommonsenseqa": ("JCommonsenseQA", "ja", "MC", "accuracy", True, (0.3852, 0.4808)),
    "jemhopqa": ("JEMHopQA", "ja", "QA", "character_f1", True, (0.424, 0.5078)),
    "niilc": ("NIILC", "ja", "QA", "character_f1", True, (0.341, 0.5968)),
    "jsquad": ("JSQuAD", "ja", "RC", "character_f1", True, (0.7917, 0.8573)),
    "xlsum_ja": ("XL-Sum", "ja", "SUM", "rouge_2", True, (0.1905, 0.183)),
    "mgsm_ja": ("MGSM", "ja", "MATH", "exact_match", True, (0.076, 0.124)),
    "wmt20_en_ja": ("WMT20 En-Ja", "ja", "MT", "bleu", True, (0.1783, 0.251)),
    "wmt20_ja_en": ("WMT20 Ja-En", "ja", "MT", "bleu", True, (0.1738, 0.1511)),
    "jnli": ("JNLI", "ja", "NLI", "accuracy", False, (0.55, 0.29)),
    "openbookqa": ("OpenBookQA", "en", "MC", "accuracy", True, (0.358, 0.318)),
    "triviaqa": ("TriviaQA", "en", "QA", "exact_match", True, (0.6265, 0.4836)),
    "gsm8k": ("GSM8K", "en", "MATH", "exact_match", True, (0.141, 0.113)),
}
PROFILES = ("strict", "swallow-2023")
MODELS = ("base", "trained")
CORPUS_LEVEL = ("bleu",)
HOSTILE = "<script>alert('雲雀')</script>\x00\x1b[31m\u202egnirts\u202c \ud800 \\textbf{|}"
LONG = "雲雀が鳴く。" * 2_000
NUM_ITEMS = 12
IDS = [f"item-{number:02d}" for number in range(NUM_ITEMS)]

Rows = list[dict[str, Any]]


def write_evaluation(
    folder: Path,
    models: Sequence[str] = MODELS,
    profiles: Sequence[str] = PROFILES,
    tasks: Iterable[str] = TASKS,
    shift: float = 0.0,
) -> Path:
    """The files of an evaluation without a manifest; `shift` is added to the trained model's scores."""
    chosen = list(tasks)
    write_rows(folder / "scores.jsonl", score_rows(models, profiles, chosen, shift))
    write_json(folder / "benchmarks.json", {task: {p: about(task) for p in profiles} for task in chosen})
    write_json(folder / "diagnostics.json", diagnostic_rows(models, profiles, chosen))
    for model in models:
        for profile in profiles:
            for task in chosen:
                write_rows(folder / "examples" / f"{model}-{task}-{profile}.jsonl", example_rows(model, task))
                write_rows(folder / "prompts" / f"{model}-{task}-{profile}.jsonl", prompt_rows(task))
                record = {"details": {"seconds": 75.0 if model == "base" else 8.2, "resumed": task == "niilc"}}
                write_json(folder / "_shards" / f"{model}@{task}-{profile}.json", record)
    return folder


def score_rows(models: Sequence[str], profiles: Sequence[str], tasks: Sequence[str], shift: float = 0.0) -> Rows:
    rows = []
    for number, model in enumerate(models):
        for profile in profiles:
            for task in tasks:
                rows += _task_rows(model, min(number, 1), profile, task, shift)
            rows += [row for code in ("ja", "en") if (row := _average(model, profile, code, rows, tasks))]
    return rows


def _task_rows(model: str, which: int, profile: str, task: str, shift: float) -> Rows:
    label, language, kind, metric, _, scores = TASKS[task]
    value = round(scores[which] + (0.02 if profile == "swallow-2023" else 0) + (shift if which else 0), 6)
    row: dict[str, Any] = {
        "model": model,
        "task": task,
        "task_version": 1,
        "profile": profile,
        "metric": metric,
        "unit": "share",
        "language": language,
        "category": None,
        "n": 250,
        "value": value,
        "ci_low": round(value - 0.03, 6),
        "ci_high": round(value + 0.03, 6),
        "label": label,
        "kind": kind,
        "headline": True,
        "subset": "all",
        "mde_unpaired": 0.066,
        "flags": {},
        "collapsed": None,
        "backend": "transformers-fp32",
    }
    if which:
        difference = round(scores[1] - scores[0] + shift, 6)
        bounds = {"difference_low": round(difference - 0.04, 6), "difference_high": round(difference + 0.04, 6)}
        p = 0.0004 if abs(difference) > 0.1 else 0.03 if abs(difference) > 0.04 else 0.4
        row |= {"difference": difference, **bounds, "relative": round(difference / scores[0], 6)}
        row |= {"p_mcnemar": p, "p_bootstrap": p, "p_holm": min(1.0, 4 * p), "mde": 0.045}
    rows = [row]
    for subset, off, n in (("clean", -0.01, 230), ("dirty", 0.1, 20)):
        if task == "jsquad":
            rows.append(row | {"subset": subset, "n": n, "value": round(value + off, 6), "p_holm": None})
    if kind in ("NLI", "MC"):
        rows.append(row | {"metric": "balanced_accuracy", "value": 0.34, "headline": False, "p_holm": None})
    return rows


def _average(model: str, profile: str, language: str, rows: Rows, tasks: Sequence[str]) -> dict[str, Any] | None:
    own = [
        row
        for row in rows
        if (row["model"], row["profile"], row["language"]) == (model, profile, language)
        and row["headline"] and row["subset"] == "all" and TASKS[row["task"]][4]
    ]  # fmt: skip
    if not own:
        return None
    value = sum(row["value"] for row in own) / len(own)
    row = own[0] | {"task": "average", "metric": "average", "kind": "average", "label": f"{language} average"}
    row |= {"value": round(value, 6), "ci_low": round(value - 0.01, 6), "ci_high": round(value + 0.01, 6)}
    missing = [] if language == "ja" else ["hellaswag", "squad2", "xwinograd_en"]
    row |= {"n": len(own), "tasks": [one["task"] for one in own], "missing": missing}
    if "difference" in row:
        difference = sum(one["difference"] for one in own) / len(own)
        row |= {"difference": round(difference, 6), "p_holm": None}
        row |= {"difference_low": round(difference - 0.01, 6), "difference_high": round(difference + 0.01, 6)}
    return row


def about(task: str) -> dict[str, Any]:
    label, language, kind, metric, averaged, _ = TASKS[task]
    return {
        "label": label,
        "language": language,
        "category": kind,
        "version": 2,
        "num_shots": 4,
        "metrics": [{"name": metric, "unit": "share", "lower_is_better": False}],
        "quirks": ["The answer is <cut> at the first line break."],
        "where": "Published by the larks under CC BY 4.0.",
        "n": 250,
        "n_all": 1_119 if task == "jcommonsenseqa" else 250,
        "malformed": ["line 7: no answer"] if task == "niilc" else [],
        "num_malformed": 1 if task == "niilc" else 0,
        "left_out": 2 if task == "niilc" else 0,
        "shots_from": "strict/jsquad.json",
        "averaged": averaged,
        "notes": [],
    }


def diagnostic_rows(models: Sequence[str], profiles: Sequence[str], tasks: Sequence[str]) -> Rows:
    rows = []
    for model in models:
        for profile in profiles:
            for task in tasks:
                row: dict[str, Any] = {"model": model, "task": task, "profile": profile, "label": TASKS[task][0]}
                row |= {"n": 250, "counts": {}, "shares": {}, "warnings": [], "collapsed": None}
                if task == "jnli" and model != "base":
                    row |= {"collapsed": {"class": "neutral", "share": 0.97}, "counts": {"unparsable": 3}}
                    row["warnings"] = ["97 % of the predictions are neutral, the right answer of 29 %"]
                if task == "mgsm_ja":
                    row |= {"counts": {"empty_output": 40, "token_limit": 2}, "shares": {"empty_output": 0.16}}
                    row["warnings"] = ["16 % of the outputs are empty"]
                rows.append(row)
    return rows


def example_rows(model: str, task: str) -> Rows:
    metric = TASKS[task][3]
    rows = []
    for number, id_ in enumerate(IDS):
        right = number % 3 != 0 if model != "base" else number % 2 == 0
        output = "札幌市" if right else ("", HOSTILE, LONG, "函館市")[number % 4]
        rows.append({
            "id": id_,
            "language": TASKS[task][1],
            "category": None,
            "prompt_hash": f"{number:016x}",
            "output": output,
            "normalised_output": output.strip(),
            "gold": "札幌市",
            "predicted": None,
            "columns": {"score": float(right)},
            "score": None if metric in CORPUS_LEVEL else float(right),
            "flags": ["empty_output"] if not output else [],
            "tokens": 3 + number,
            "shots_dropped": 1 if number == 5 else 0,
            "characters_cut": 0,
            "ids_cut": 0,
        })  # fmt: skip
    return rows


def prompt_rows(task: str) -> Rows:
    choices = ["札幌市", "函館市"] if TASKS[task][2] == "MC" else []
    prompt = "質問に答えてください。\n\n質問：北海道の道庁がある市は？\n回答："
    return [{"id": id_, "prompt": prompt, "continuations": choices} for id_ in IDS]


def write_rows(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
