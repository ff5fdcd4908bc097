"""The comparison of tokenizers as Markdown, and as the rows of a table, for a terminal or the Prefect UI.

text = markdown(facts)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.report import formats
from tasks.report.tokenizer_comparison import bounds, flops, kind_of_text

FERTILITY = (
    "text",
    "tokenizer",
    "tokens per character",
    "bytes per token",
    "tokens against",
    "95 % interval",
    "new pieces",
    "byte fallback",
)
SIZES = ("documents", "characters", "bytes")
COSTS = ("model", "text", "tokenizer", "training per byte", "decoding per character", "steps per 1,000 characters")


def markdown(facts: Mapping[str, Any]) -> str:
    """Texts, fertility, what models save, and the most useful new pieces."""
    parts = [f"# {facts['name']}: tokenizers compared with {facts['reference']}", ""]
    parts += _table(
        ["tokenizer", "vocabulary", "new pieces", "new pieces used"],
        [
            [each["name"], *(formats.count(each[key]) for key in ("vocab", "new_pieces", "new_pieces_used"))]
            for each in facts["tokenizers"]
        ],
    )
    parts += ["", "## Texts", ""]
    parts += _table(
        ["text", "what", *SIZES],
        [
            [
                kind_of_text(each),
                each["origin"],
                *(formats.count(each[key]) for key in SIZES),
            ]
            for each in facts["texts"]
        ],
    )
    parts += ["", f"## Fertility, against {facts['reference']}", ""]
    parts += _table(FERTILITY, [row.values() for row in fertility_rows(facts)])
    if facts["models"]:
        parts += ["", f"## Operations, against {facts['reference']}", ""]
        parts += _table(COSTS, [row.values() for row in cost_rows(facts)])
    for each in facts["tokenizers"]:
        if each["most_useful"]:
            pieces = ", ".join(f"{use['text']} ({formats.count(use['tokens_saved'])})" for use in each["most_useful"])
            parts += ["", f"New pieces of {each['name']} that save most tokens here: {pieces}"]
    return "\n".join(parts) + "\n"


def fertility_rows(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row per text and tokenizer, with the columns `FERTILITY`."""
    rows = []
    for text in facts["texts"]:
        for name, measures in text["measures"].items():
            change, is_reference = measures["tokens_change"], name == facts["reference"]
            cells = (
                kind_of_text(text),
                name,
                formats.decimal(measures["tokens_per_character"]["value"]),
                formats.decimal(measures["bytes_per_token"]["value"]),
                "" if is_reference else formats.change(change["value"]),
                "" if is_reference else bounds(change, percent=True),
                formats.share(measures["new_piece_share"]),
                formats.share(measures["part_of_character_share"], 2),
            )
            rows.append(dict(zip(FERTILITY, cells, strict=True)))
    return rows


def cost_rows(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row per model, text and tokenizer, with the columns `COSTS`."""
    labels = {text["name"]: kind_of_text(text) for text in facts["texts"]}
    rows = []
    for model in facts["models"]:
        texts = next(iter(model["tokenizers"].values()))["texts"]
        for text in texts:
            for name, row in model["tokenizers"].items():
                found = row["texts"][text]
                cells = [model["name"], labels.get(text, text), name]
                for key, write in (
                    ("training_flops_per_byte", flops),
                    ("decoding_flops_per_character", flops),
                    ("steps_per_1000_characters", formats.count),
                ):
                    versus = "" if name == facts["reference"] else f" ({formats.change(found['change'][key])})"
                    cells.append(write(found[key]) + versus)
                rows.append(dict(zip(COSTS, cells, strict=True)))
    return rows


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of a Markdown table; what stands in a cell cannot end it."""
    head = list(head)
    return [_line(head), _line(["---"] * len(head)), *(_line(list(row)) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
