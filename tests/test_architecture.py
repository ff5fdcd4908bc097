"""The rules of the architecture, held by reading every module's imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "flows": {"flows", "tasks", "trainer", "tokenizer", "storage"},
    "tasks": {"tasks", "trainer", "tokenizer", "storage"},
    "trainer": {"trainer", "storage"},
    "tokenizer": {"tokenizer", "storage"},
    "storage": {"storage"},
}
# Modules of `tasks/` that every stage may use.
SHARED_BY_STAGES = {"code_points", "meter", "profiles", "progress", "shards", "stage", "summary", "task"}
# Folders of `tasks/` that are no stage but a library: refine is what deduplicate does to its survivors, and finds items
# of benchmarks for evaluate.
LIBRARIES = {"deduplicate": {"refine"}, "evaluate": {"refine"}}


def modules() -> list[Path]:
    return sorted(path.relative_to(ROOT) for folder in ALLOWED for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def test_there_is_something_to_look_at() -> None:
    assert len(modules()) > 40


@pytest.mark.parametrize("path", modules(), ids=str)
def test_imports_point_down(path: Path) -> None:
    wrong = [name for name in imports(path) if name.split(".")[0] in ALLOWED.keys() - ALLOWED[path.parts[0]]]
    assert not wrong, f"{path} imports {wrong}: the direction is flows, tasks, trainer and tokenizer, storage"


@pytest.mark.parametrize("path", [path for path in modules() if path.parts[0] == "tasks"], ids=str)
def test_stages_do_not_import_one_another(path: Path) -> None:
    own = path.parts[1] if len(path.parts) > 2 else None
    others = []
    for name in imports(path):
        parts = name.split(".")
        allowed = {own} | LIBRARIES.get(own or "", set()) | SHARED_BY_STAGES
        if parts[0] == "tasks" and len(parts) > 1 and parts[1] not in allowed:
            others.append(name)
    assert not others, f"{path} imports {others}: stages meet in storage formats"


@pytest.mark.parametrize("path", modules(), ids=str)
def test_prefect_stays_in_flows_and_adapters(path: Path) -> None:
    allowed = path.parts[0] == "flows" or (path.parts[0] == "tasks" and path.name == "task.py")
    assert allowed or "prefect" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", modules(), ids=str)
def test_torch_stays_where_it_is_needed(path: Path) -> None:
    allowed = (
        path.parts[0] == "trainer"
        or path.as_posix() in {"tokenizer/hidden_states.py", "flows/doctor.py"}
        or path.parts[:2] == ("tasks", "evaluate")
    )
    assert allowed or "torch" not in {name.split(".")[0] for name in imports(path)}


EXCHANGES = ("all_", "reduce", "broadcast", "gather", "scatter", "barrier", "send", "recv", "isend", "irecv")


@pytest.mark.parametrize("path", [path for path in modules() if path.parts[0] == "trainer"], ids=str)
def test_every_exchange_between_ranks_is_in_one_file(path: Path) -> None:
    """A reader finds each collective, and what it does forward and backward, in trainer/collectives.py."""
    calls = [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dist"
        if node.attr.startswith(EXCHANGES)
    ]
    if path.as_posix() == "trainer/collectives.py":
        assert calls
    else:
        assert not calls, f"{path} calls {calls}; exchanges between ranks are in trainer/collectives.py"


@pytest.mark.parametrize("module", ["flows.cli", "flows.config", "flows.plan", "flows.status", "flows.runner"])
def test_the_command_line_starts_light(module: str) -> None:
    """`--help`, `--dry-run` and `status` answer in under a second because none of these is imported."""
    heavy = "{'prefect', 'torch', 'transformers', 'datasketch', 'sentencepiece', 'matplotlib', 'numba', 'scipy'}"
    program = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
