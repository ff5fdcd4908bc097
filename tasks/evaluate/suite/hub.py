"""Rows of a dataset of the Hugging Face hub, or of a folder that the `datasets` library (an extra) saved.

In: `hf:owner/name[:config][@split]`; out: its rows in their order. Without a network `hf:/data/squad_v2@validation`
reads what `save_to_disk` left there.

    for row in hub_rows("hf:rajpurkar/squad_v2@validation"):
        print(row["question"])
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from storage.source_records import Record
from storage.uri import is_local, local_path
from tasks.evaluate.benchmark import MissingDataError

HUB = "hf:"
_NAME = re.compile(r"hf:(?P<name>[^:@]+)(?::(?P<config>[^@]+))?(?:@(?P<split>.+))?")


def hub_rows(uri: str) -> Iterator[Record]:
    """The rows of one split.

    Raises:
        MissingDataError: `datasets` is not installed, the hub cannot be reached, or it has no such configuration.
        ValueError: the name is none, or leaves open which split is meant.
    """
    match = _NAME.fullmatch(uri)
    if match is None:
        raise ValueError(f"{uri}: expected hf:owner/name, then :config and @split where the dataset has several")
    dataset = _load_dataset(uri, **match.groupdict())
    if isinstance(dataset, dict):  # of splits
        if len(dataset) != 1:
            raise ValueError(f"{uri}: it has the splits {', '.join(dataset)}; say which: {uri}@{next(iter(dataset))}")
        dataset = next(iter(dataset.values()))
    yield from dataset


def _load_dataset(uri: str, name: str, config: str | None, split: str | None) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingDataError(
            f"{uri} needs the `datasets` library: pip install datasets; or give the benchmark's files"
        ) from error
    try:
        if is_local(name) and local_path(name).is_dir() and any(local_path(name).glob("**/state.json")):
            saved = datasets.load_from_disk(name)
            return saved[split] if split else saved
        return datasets.load_dataset(name, config, split=split)
    except (OSError, ValueError, KeyError) as error:  # not reachable; no such config or split
        offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
        told = "the hub is switched off here; HF_HUB_OFFLINE=0 in the environment allows it. " if offline else ""
        raise MissingDataError(f"{uri}: {told}{type(error).__name__}: {error}") from error
