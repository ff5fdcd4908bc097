"""Breaks when machine code needs a folder that can be written."""

from __future__ import annotations

import numba
import pytest

from storage.compiled import compiled


def test_where_nothing_can_be_kept_compiling_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "ZipCacheLocator")  # which finds no place for this file
    assert compiled(lambda number: number + 1)(41) == 42
