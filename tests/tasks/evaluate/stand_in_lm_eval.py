"""The few parts of lm-evaluation-harness 0.4.13 that the adapter stands on, for where it is not installed."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest


class CacheHook:
    def add_partial(self, attr: str, req: Any, res: Any) -> None: ...


class LM:
    def __init__(self) -> None:
        self._rank = 0
        self._world_size = 1
        self._device: Any = None
        self.cache_hook: Any = CacheHook()

    @property
    def device(self) -> Any:
        return self._device

    def set_cache_hook(self, cache_hook: Any) -> None:
        self.cache_hook = cache_hook


class TemplateLM(LM):
    tokenizer = None


@dataclass
class Instance:
    request_type: str
    doc: dict[str, Any]
    arguments: tuple[Any, ...]
    idx: int
    metadata: tuple[str | None, int | None, int | None] = (None, None, None)
    resps: list[Any] = field(default_factory=list)
    task_name: str | None = None
    doc_id: int | None = None
    repeats: int | None = None

    def __post_init__(self) -> None:
        self.task_name, self.doc_id, self.repeats = self.metadata

    @property
    def args(self) -> tuple[Any, ...]:
        return self.arguments


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import lm_eval` find these."""
    for name, members in {
        "lm_eval": {},
        "lm_eval.api": {},
        "lm_eval.api.instance": {"Instance": Instance},
        "lm_eval.api.model": {"LM": LM, "TemplateLM": TemplateLM},
    }.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
