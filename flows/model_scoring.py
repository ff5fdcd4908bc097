"""`hibari evaluate model`: score any Hugging Face folders on the benchmarks, without a run and without Prefect.

The folder that is written holds what the stage `evaluate` leaves (`tasks.evaluate.evaluate`), the page and the tables
made of it, and `settings.json`: all that decides the scores. Started again with the same settings it goes on where it
stopped; other settings want another folder.

    asked = model_evaluation([Path("models/swallow-7b")], Path("models/llama-2-7b"), data="data/eval", limit=50)
    score_models(asked, Console())
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from flows.benchmarks import benchmark_digest, benchmark_libraries, form_versions
from flows.config import ConfigError
from flows.digests import folder_digest
from flows.plan import ALGORITHMS
from flows.status import changed
from storage.artifact import library_versions
from storage.lease import LeaseHeldError, hold
from storage.rows import read_rows
from storage.uri import exists, join, write_bytes
from tasks.evaluate.benchmark import MissingDataError
from tasks.evaluate.benchmark_scoring import journal_folder
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.parallel import fitting_processes
from tasks.evaluate.suite import MODULES, load_benchmark
from tasks.evaluate.suite_plan import files_of
from tasks.progress import narrating, report_progress
from tasks.stage import StageError

BASE = "base"
SEED = 1234  # of the bootstrap
SETTINGS = "settings.json"


@dataclass(frozen=True)
class ModelEvaluation:
    """Which models are asked what; `folders` by the models' names, the base first."""

    folders: Mapping[str, Path]
    config: EvaluateConfig
    out: Path


def model_evaluation(
    folders: Sequence[Path],
    base: Path | None = None,
    *,
    tasks: Sequence[str] = (),
    out: Path | None = None,
    **settings: Any,
) -> ModelEvaluation:
    """What the command line asked for.

    Args:
        tasks: benchmarks; none given: all whose files are there, without the profiles that lack a prompt file.
        out: else `evaluations/<names of the models>`.
        settings: fields of `EvaluateConfig`; `processes` None: one per GPU or core, as memory allows.

    Raises:
        ConfigError: a folder is not there, a field is wrong, or no benchmark has its files.
    """
    every = [*folders, *([base] if base else [])]
    if missing := [str(folder) for folder in every if not (folder / "config.json").is_file()]:
        raise ConfigError(
            [f"{folder}: no config.json there; expected a Hugging Face model folder" for folder in missing]
        )
    named = model_names([folder for folder in folders if base is None or folder.resolve() != base.resolve()])
    if base is not None:
        named = {BASE: base} | named
    settings["processes"] = settings.get("processes") or fitting_processes(every, settings.get("backend"))
    try:
        # Which files there are is looked up with the settings; so these come first, with tasks that need none.
        config = EvaluateConfig(
            **settings,
            tasks=list(tasks) or ["hibari_probe"],
            skip_unprompted=not tasks,
            skip_benchmarks=[],
            skip_probe=[],
        )
    except ValidationError as error:
        raise ConfigError(
            [f"{'.'.join(map(str, each['loc']))}: {each['msg']}, got {each['input']}" for each in error.errors()]
        ) from error
    if not tasks:
        if config.prompts and not exists(config.prompts):
            raise ConfigError([f"{config.prompts}: no such folder; name that of the prompt files with --prompts"])
        config = config.model_copy(update={"tasks": _found(config)})
    return ModelEvaluation(named, config, out or Path("evaluations") / "+".join(named))


def model_names(folders: Sequence[Path]) -> dict[str, Path]:
    """A name for each folder: its own, with as many of those above it as tell it from the others.

    Raises:
        ConfigError: a folder is named twice.
    """
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise ConfigError([f"{path}: named {times} times" for path, times in Counter(paths).items() if times > 1])
    for depth in range(1, max((len(path.parts) for path in paths), default=1)):
        names = [re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(path.parts[-depth:])).strip("-") for path in paths]
        if len(set(names)) == len(names) and BASE not in names:
            return dict(zip(names, folders, strict=True))
    raise ConfigError([f"no different names for {', '.join(map(str, folders))}; rename one"])


def score_models(asked: ModelEvaluation, console: Console) -> None:
    """Score the models, or go on where an earlier attempt stopped; write pages, print the table.

    Raises:
        ConfigError: other settings in the same folder, missing files, a folder that is no model.
        StageError: another process works in the same folder, or one that computes has died.
    """
    from tasks.evaluate.evaluate import evaluate  # numpy, tokenizers
    from tasks.report.evaluation_files import EvaluationFiles
    from tasks.report.evaluation_page import write_pages  # matplotlib

    out = str(asked.out)
    try:
        with hold(join(out, "evaluation.lease"), "evaluate model", wait=False), narrating("evaluate"):
            _keep_settings(asked)
            evaluate(
                {name: str(folder) for name, folder in asked.folders.items()},
                {},
                asked.config,
                out=out,
                seed=SEED,
                progress=_report,
                beside_base=BASE in asked.folders,
            )
            written = write_pages(out, out)
    except ValueError as error:
        raise ConfigError(str(error).splitlines()) from error
    except (RuntimeError, LeaseHeldError) as error:
        raise StageError(f"evaluate: {error}") from error
    for table in score_tables(read_rows(join(out, "scores.jsonl"))):
        console.print(table)
    if skipped := EvaluationFiles.read(out).not_scored:
        labels = ", ".join(row["label"] for row in skipped)
        told = f"not scored, for want of a prompt or shot file: {labels}"
        console.print(told, highlight=False, soft_wrap=True)
    console.print(f"{len(written)} files in {out}: {', '.join(written[:4])}", highlight=False, soft_wrap=True)


def settings_of(asked: ModelEvaluation) -> dict[str, Any]:
    """All that decides the scores.

    Raises:
        ValueError: files are missing; of all benchmarks.
    """
    config = asked.config
    problems: list[str] = []
    benchmarks: dict[str, str] = {}
    for name in config.benchmarks:
        try:
            benchmarks[name] = benchmark_digest(name, config)[:12]
        except (OSError, ValueError) as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise ValueError("\n".join(problems))
    version, libraries = ALGORITHMS["evaluate"]
    return {
        "algorithm": version,
        "models": {name: folder_digest(str(folder))[:12] for name, folder in asked.folders.items()},
        "settings": config.literals | {"seed": SEED},
        "forms": form_versions(config),
        "benchmarks": benchmarks,
        "libraries": library_versions((*libraries, *benchmark_libraries(config))),
    }


def score_tables(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """For each profile the headline scores of every benchmark by model, with intervals, and the averages."""
    shown = [row for row in rows if row["headline"] and row["category"] is None and row["subset"] == "all"]
    models = list(dict.fromkeys(row["model"] for row in shown))
    tables = []
    for profile in dict.fromkeys(row["profile"] for row in shown):
        table = Table(title=f"profile {profile}", title_justify="left")
        for column in ("", "metric", "items"):
            table.add_column(column, justify="right" if column == "items" else "left")
        for model in models:
            table.add_column(model, justify="right")
        lines: dict[tuple[str, str, str], dict[str, str]] = {}
        sizes: dict[tuple[str, str, str], int] = {}
        for row in (row for row in shown if row["profile"] == profile):
            key = row["task"], row["language"], row["metric"]
            lines.setdefault(key, {"label": row["label"]})[row["model"]] = _cell(row)
            sizes[key] = row["n"]
        for (task, language, metric), line in lines.items():
            label = line["label"] if task in MODULES or task == "average" else f"{line['label']}, {language}"
            cells = (line.get(model, "") for model in models)
            table.add_row(label, metric.replace("_", " "), f"{sizes[task, language, metric]:,}", *cells)
        tables.append(table)
    return tables


def tasks_table(data: str | None) -> Table:
    """The benchmarks, where their files come from, and whether they are there."""
    table = Table(title="benchmarks", title_justify="left")
    for column in ("name", "", "language", "category", "files", "where they come from"):
        # On a narrow terminal a path goes over two lines; it is never cut.
        table.add_column(column, overflow="fold")
    for name in MODULES:
        benchmark = load_benchmark(name)
        expected = " or ".join(" + ".join(paths) for paths in benchmark.default_items)
        found = expected
        if data is not None:
            there = _found(EvaluateConfig(data=data), (name,))
            found = f"[green]found[/]: {expected}" if there else f"[red]missing[/]: {expected}"
        table.add_row(name, benchmark.label, benchmark.language, benchmark.category, found, benchmark.where)
    return table


def _keep_settings(asked: ModelEvaluation) -> None:
    """Leave the settings in the folder, or make sure that those of what has been scored there are the same.

    Raises:
        ValueError: they are not; with what differs.
    """
    settings = settings_of(asked)
    path = asked.out / SETTINGS
    if path.is_file() and any(folder.is_dir() for folder in (asked.out / "_shards", journal_folder(str(asked.out)))):
        earlier = json.loads(path.read_text(encoding="utf-8"))
        differences = changed("", earlier, settings)
        if differences:
            # That other tasks have other files, forms and libraries need not be said.
            told = [each for each in differences if each.startswith(("settings.", "models.")) or "None" not in each]
            raise ValueError(
                f"{asked.out} holds scores of other settings: {'; '.join(told)}. Name another folder with --out, or "
                "remove this one"
            )
    write_bytes(str(path), json.dumps(settings, ensure_ascii=False, indent=1).encode() + b"\n")


def _found(config: EvaluateConfig, names: Sequence[str] = tuple(MODULES)) -> list[str]:
    """The benchmarks whose files are there.

    Raises:
        ConfigError: none is, of all of them.
    """
    found = []
    for name in names:
        try:
            files_of(load_benchmark(name), config)
        except MissingDataError:
            continue
        found.append(name)
    if not found and len(names) == len(MODULES):
        raise ConfigError(
            [f"no benchmark has its files in {config.data}; name their folder with --data, see `hibari evaluate tasks`"]
        )
    return found


def _cell(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "-"
    interval = "" if row["ci_low"] is None else f" [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
    return f"{row['value']:.3f}{interval}"


def _report(done: int, total: int, note: str) -> None:
    report_progress("evaluate", done, total, "tokens", note)
