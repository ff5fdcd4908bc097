"""Profiles of a run file's section: named defaults that lie beneath what the file says.

beneath({"footer": {"files": []}}, {"footer": {"num_lines": 5}})  # {"footer": {"files": [], "num_lines": 5}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def beneath(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with what they leave out taken from `defaults`, section by section."""
    filled = {**defaults, **values}
    for name, default in defaults.items():
        if isinstance(default, dict) and isinstance(filled[name], dict):
            filled[name] = beneath(default, filled[name])
    return filled
