"""A template of this folder as a page: autoescaped, and an error where a figure that it names is missing.

page = render_page("report.html", facts, charts=svgs)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.report.formats import FILTERS
from tasks.report.tables import interval, shown


def render_page(
    template: str, facts: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]] | None = None, **more: Any
) -> str:
    """The page of these figures.

    Args:
        filters: the template's own, beside `FILTERS`.
        more: what the page shows besides the facts.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS, shown=shown, ends=interval, **(filters or {}))
    return environment.get_template(template).render(**facts, **more)
