"""The machine and the software that an artifact is made with; recorded in its manifest, part of no fingerprint.

Read from the operating system and the installed packages' metadata: nothing is imported and no device is opened, so
sealing an artifact costs nothing and works on a machine without an accelerator.

    environment()["processor"], environment()["gpus"]  # ('AMD EPYC 7763 64-Core Processor', [])
"""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_CPU_INFO = Path("/proc/cpuinfo")
_GPUS = Path("/proc/driver/nvidia/gpus")


@cache
def environment() -> dict[str, Any]:
    """`python`, `system`, `processor`, `cores` usable by this process, `memory_gib`, `gpus`, `libraries`."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": num_cores(),
        "memory_gib": _memory_gib(),
        "gpus": _gpus(),
        "libraries": _libraries(),
    }


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str | None:
    """The processor's name; on ARM, where /proc/cpuinfo has none, the architecture."""
    found = None
    if _CPU_INFO.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", _CPU_INFO.read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine() or None


def _memory_gib() -> float | None:
    """Physical memory, GiB."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):  # names that this system does not know
        return None


def _gpus() -> list[str]:
    """Models of the NVIDIA devices that the driver shows, one entry each."""
    models = []
    for information in sorted(_GPUS.glob("*/information")):
        found = re.search(r"^Model:\s*(.+)$", information.read_text(), re.MULTILINE)
        models.append(found[1].strip() if found else "NVIDIA device")
    return models


def _libraries() -> dict[str, str]:
    """Versions of the libraries that Hibari needs, as installed; none where Hibari itself is not installed."""
    try:
        required = metadata.requires("hibari") or []
    except metadata.PackageNotFoundError:
        return {}
    names = {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in required if "extra ==" not in line}
    versions = {}
    for name in sorted(names):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an old installation beside a newer checkout
            continue
    return versions
