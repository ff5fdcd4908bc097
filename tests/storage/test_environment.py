"""The recorded environment is JSON, knows this process, and misses nothing it can name."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from storage import environment as module
from storage.environment import environment


def test_it_is_json_and_names_this_python() -> None:
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["python"] == platform.python_version()
    assert found["cores"] >= 1
    assert found["processor"]


def test_libraries_are_those_hibari_needs_without_those_of_extras() -> None:
    libraries = environment()["libraries"]
    assert {"prefect", "pyarrow", "torch"} <= set(libraries)
    assert "pytest" not in libraries


def test_gpus_are_read_from_the_drivers_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, text in enumerate(["Model: \t\t NVIDIA H200\nIRQ: 5\n", "IRQ: 6\n"]):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
        (tmp_path / f"0000:0{number}:00.0" / "information").write_text(text)
    monkeypatch.setattr(module, "_GPUS", tmp_path)
    assert module._gpus() == ["NVIDIA H200", "NVIDIA device"]
    monkeypatch.setattr(module, "_GPUS", tmp_path / "no driver")
    assert module._gpus() == []
