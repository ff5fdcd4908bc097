"""A config with some of its settings replaced, of those whose effect the stored metrics tell.

config, changes = propose(run.curate, ["min_letters=200", "sentences=swallow"])
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import yaml
from pydantic import ValidationError

from tasks.curate.config import CurateConfig
from tasks.curate.quality_config import QualityConfig
from tasks.curate.rules import QUALITY_RULES

MIN_SCORE = "language.min_score"


@dataclass(frozen=True)
class Change:
    """A setting that is tried: its name as in the run file's `curate` section."""

    name: str
    old: Any
    new: Any


def propose(config: CurateConfig, settings: Iterable[str]) -> tuple[CurateConfig, list[Change]]:
    """The config with some thresholds replaced.

    Args:
        settings: `name=value` each: a field of `quality`, the label of its rule, or `min_score` of the language.

    Raises:
        ValueError: not of that form, no such threshold, or a value that it cannot have; says which there are.
    """
    values = config.model_dump()
    changes = []
    for setting in settings:
        name, equals, value = setting.partition("=")
        section, key = _place(name.strip(), config.quality)
        if not equals:
            raise ValueError(f"--what-if {setting}: expected name=value, such as min_letters=200")
        changes.append(Change(f"{section}.{key}", values[section][key], yaml.safe_load(value)))
        values[section] = values[section] | {key: changes[-1].new}
    try:
        return CurateConfig.model_validate(values), changes
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ValueError(f"--what-if: {found}") from error


def _place(name: str, quality: QualityConfig) -> tuple[str, str]:
    """The section and the field of a setting that is called so."""
    fields = tried_fields()
    places = {key: ("quality", key) for key in fields}
    places |= dict.fromkeys(("min_score", MIN_SCORE), ("language", "min_score"))
    for rule in QUALITY_RULES:
        if isinstance(rule.threshold, str) and rule.is_asked(quality):
            places[rule.rule.label] = ("quality", rule.threshold)
    short = name.removeprefix("curate.").removeprefix("quality.")
    if short not in places:
        close = get_close_matches(short, places, 3)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(fields)}, min_score"
        raise ValueError(f"--what-if {name}: no setting of this name can be tried on stored metrics; {hint}")
    return places[short]


def tried_fields() -> list[str]:
    """The fields of `quality` that decide over stored metrics: thresholds, and which metric a rule looks at."""
    used = {rule.threshold for rule in QUALITY_RULES} | {rule.asked_if[0] for rule in QUALITY_RULES if rule.asked_if}
    return [name for name in QualityConfig.model_fields if name in used]
