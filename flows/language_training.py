"""`hibari language train`: train the language model and say how it does.

run_training(["ja.jsonl.gz"], ["en.jsonl.gz", "zh.jsonl.gz"], Path("ja-ngram.json"), console)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console


def run_training(
    japanese: Sequence[str], other: Sequence[str], out: Path, console: Console, *, max_characters: int, num_ngrams: int
) -> None:
    """Train on the files, write the model, show its figures on samples that it has not seen.

    Raises:
        ConfigError: a file is missing or unreadable, or they hold too little text.
    """
    from flows.config import ConfigError
    from tasks.curate.ngram_model import write_model
    from tasks.curate.train_language import TrainingConfig, train_language

    def say(line: str) -> None:
        console.print(line, highlight=False)

    config = TrainingConfig(max_characters=max_characters, num_ngrams=num_ngrams)
    try:
        model, report = train_language(japanese, other, config, say)
    except (FileNotFoundError, ValueError) as error:
        raise ConfigError([str(error)]) from error
    write_model(out, model)
    say(
        f"{report.held_out:,} samples held out, mixed ones among them: precision {report.held_out_precision:.4f}, "
        f"recall {report.held_out_recall:.4f}"
    )
    size = out.stat().st_size / 1e3
    console.print(f"model: {out} ({report.num_ngrams:,} n-grams, {size:.0f} kB)", highlight=False, soft_wrap=True)
    console.print(f"to use it: --set curate.language.model={out}", highlight=False, soft_wrap=True)
