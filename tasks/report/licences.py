"""The licences of what came from outside: pages, documents of other sources, base tokenizer, base model.

In: the resolved run file. Out: a row per input: its licence, whom to name, where it is published, and who says so. What
the run file states comes first. Where it says nothing, the terms of Common Crawl hold for pages of Common Crawl, and a
tokenizer's or model's folder is asked: `license:` at the head of its README.md (the model card), else the first line of
its licence file. The rows are part of the report's fingerprint: another licence makes another page, and nothing else.

    licences(run.model_dump(mode="json"))[0]["licence"]  # 'CC-BY-SA-3.0 or GPL-2+'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from storage.uri import exists, join, read_bytes

COMMON_CRAWL = "commoncrawl:"
COMMON_CRAWL_TERMS = "Common Crawl's terms of use; every page stays under the copyright of its publisher"
COMMON_CRAWL_URL = "https://commoncrawl.org/terms-of-use"
RUN_FILE = "the run file"
_CARD = "README.md"
_LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING")
_MAX_LINE = 200


def licences(run: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """A row per input: `what`, `licence`, `attribution`, `url`, `stated_by`; None where nobody says."""
    curate, expand, initialize = (run.get(name) or {} for name in ("curate", "expand", "initialize"))
    rows = [_pages(curate)] if curate.get("sources") else []
    rows += [
        _row(f"documents of {source.get('name')}", source)
        for source in run.get("sources") or []
        if source.get("documents")
    ]
    for what, section, folder in (
        ("base tokenizer", expand, expand.get("base")),
        ("base model", initialize, initialize.get("base_model")),
    ):
        if isinstance(folder, str):
            found = None if section.get("licence") else folder_licence(folder)
            rows.append(_row(what, section) if found is None else _row(what, {"licence": found[0]}, found[1]))
    return rows


def folder_licence(folder: str) -> tuple[str, str] | None:
    """What a model's or tokenizer's folder says of its licence, and the file that says so; None where it is silent."""
    if exists(join(folder, _CARD)):
        card = read_bytes(join(folder, _CARD)).decode("utf-8", errors="replace")
        head = re.match(r"---\s*\n(.*?)\n---\s*\n", card, re.DOTALL)
        found = re.search(r"^license:[ \t]*([^\s#].*)$", head[1], re.MULTILINE) if head else None
        if found:
            return found[1].strip().strip("'\"")[:_MAX_LINE], _CARD
    for name in _LICENCE_FILES:
        if exists(join(folder, name)):
            lines = read_bytes(join(folder, name)).decode("utf-8", errors="replace").splitlines()
            if first := next((line.strip() for line in lines if line.strip()), None):
                return first[:_MAX_LINE], name
    return None


def _pages(curate: Mapping[str, Any]) -> dict[str, str | None]:
    row = _row("WARC files", curate)
    if row["licence"] is None and any(str(source).startswith(COMMON_CRAWL) for source in curate["sources"]):
        row |= {"licence": COMMON_CRAWL_TERMS, "url": COMMON_CRAWL_URL, "stated_by": "Common Crawl"}
    return row


def _row(what: str, stated: Mapping[str, Any], stated_by: str = RUN_FILE) -> dict[str, str | None]:
    licence = stated.get("licence")
    return {
        "what": what,
        "licence": licence,
        "attribution": stated.get("attribution"),
        "url": stated.get("url"),
        "stated_by": stated_by if licence else None,
    }
