"""`hibari classifier train`: which files are of which class, and what the trained classifier does.

run_training({1: ["good.jsonl.gz"], 0: ["bad.jsonl.gz"]}, "quality.bin", console)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tasks.curate.train_classifier import TrainingReport


def class_files(positive: Sequence[str], negative: Sequence[str], graded: Sequence[str]) -> dict[int, list[str]]:
    """Class -> files, from files of good and bad texts, or from `K=FILE` for each grade.

    Raises:
        ValueError: neither or both are named, or a grade is malformed.
    """
    if bool(graded) == bool(positive or negative) or bool(positive) != bool(negative):
        raise ValueError("expected --positive FILE and --negative FILE, or --class K=FILE for every grade from 0")
    if not graded:
        return {0: list(negative), 1: list(positive)}
    files: dict[int, list[str]] = {}
    for entry in graded:
        if not (match := re.fullmatch(r"(\d)=(.+)", entry)):
            raise ValueError(f"--class {entry}: expected K=FILE, for example 3=excellent.jsonl.gz")
        files.setdefault(int(match[1]), []).append(match[2])
    if sorted(files) != list(range(len(files))) or len(files) < 2:
        raise ValueError(f"--class: expected grades 0, 1, ... without a gap, got {', '.join(map(str, sorted(files)))}")
    return files


def run_training(
    files: dict[int, list[str]], out: str, console: Console, *, held_out: float, quantize: bool, seed: int
) -> None:
    """Train, and show what the classifier does to texts that it has not seen.

    Raises:
        ConfigError: the files are missing or unreadable, or hold too few texts.
    """
    from flows.config import ConfigError
    from tasks.curate.train_classifier import train_classifier

    try:
        with console.status(f"training on {sum(map(len, files.values()))} files"):
            report = train_classifier(files, out, held_out=held_out, quantize=quantize, seed=seed)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError([str(error)]) from error
    _show(report, console)
    console.print(f"model: {out} ({report.model_bytes / 1e6:.1f} MB), what is known of it: {out}.json", soft_wrap=True)
    console.print(
        f"to use it: --set curate.classifier.model={out} --set curate.quality.min_quality_score=0.5", soft_wrap=True
    )


def _show(report: TrainingReport, console: Console) -> None:
    trained = ", ".join(f"{count:,} of class {number}" for number, count in report.texts.items())
    console.print(
        f"trained on {trained}; {sum(report.held_out.values()):,} texts held out, "
        f"{report.duplicates:,} left out because they came before",
        soft_wrap=True,
    )
    console.print(f"held out: precision {report.precision:.3f}, recall {report.recall:.3f}, AUC {report.auc:.4f}")
    table = Table("min_quality_score", "good kept", "bad kept")
    for effect in report.effects:
        table.add_row(f"{effect.min_quality_score:g}", f"{effect.good_kept:.1%}", f"{effect.bad_kept:.1%}")
    console.print(table)
