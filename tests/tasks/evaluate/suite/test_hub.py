"""`hf:` names, with a stand-in for the library that asks what it was called with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tasks.evaluate.benchmark import MissingDataError
from tasks.evaluate.suite.hub import hub_rows

ROWS = [{"question": "雲雀は鳥ですか？"}, {"question": "港はどこ？"}]


def rows_of(uri: str) -> list[Any]:
    return list(hub_rows(uri))


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Any]]:
    def install(answer: Any) -> list[Any]:
        calls: list[Any] = []

        def load(*args: Any, **options: Any) -> Any:
            calls.append((*args, options))
            if isinstance(answer, Exception):
                raise answer
            return answer

        module = ModuleType("datasets")
        module.load_dataset = module.load_from_disk = load  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "datasets", module)
        return calls

    return install


@pytest.mark.parametrize(
    ("uri", "name", "config", "split"),
    [
        ("hf:someone/birds@test", "someone/birds", None, "test"),
        ("hf:someone/birds:ja@test", "someone/birds", "ja", "test"),
        ("hf:birds:ja", "birds", "ja", None),
    ],
)
def test_a_name_is_taken_apart(
    library: Callable[[Any], list[Any]], uri: str, name: str, config: str | None, split: str | None
) -> None:
    calls = library(ROWS)

    assert rows_of(uri) == ROWS
    assert calls == [(name, config, {"split": split})]


def test_the_only_split_needs_no_name_and_of_several_one_must_be_said(library: Callable[[Any], list[Any]]) -> None:
    library({"test": ROWS})
    assert rows_of("hf:someone/birds") == ROWS

    library({"train": ROWS, "test": ROWS})
    with pytest.raises(ValueError, match=r"splits train, test; say which: hf:someone/birds@train"):
        rows_of("hf:someone/birds")


def test_a_saved_folder_is_read_from_disk(library: Callable[[Any], list[Any]], tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "state.json").write_text("{}")
    calls = library({"test": ROWS, "train": []})

    assert rows_of(f"hf:{tmp_path}@test") == ROWS
    assert calls == [(str(tmp_path), {})]


def test_a_switched_off_hub_is_named(library: Callable[[Any], list[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    library(ConnectionError("offline mode is enabled"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(
        MissingDataError, match=r"hf:a/b@test: the hub is switched off here; HF_HUB_OFFLINE=0 .*allows it"
    ):
        rows_of("hf:a/b@test")


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(MissingDataError, match="pip install datasets"):
        rows_of("hf:a/b@test")


def test_a_name_that_is_none() -> None:
    with pytest.raises(ValueError, match="expected hf:owner/name"):
        rows_of("hf:@test")
