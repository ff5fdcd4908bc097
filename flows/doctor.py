"""`hibari doctor`: is this machine fit to run Hibari, and if not, what to do.

for check in examine("runs"):
    print(check.ok, check.name, check.found, check.advice)
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from storage.environment import num_cores
from storage.uri import is_local, join, local_path, remove, write_bytes

MIN_FREE_GB = 10
MIN_MEMORY_GB = 8


@dataclass(frozen=True)
class Check:
    """One thing looked at; `needed` is False for what only some uses want."""

    name: str
    ok: bool
    found: str
    advice: str = ""
    needed: bool = True


def examine(root: str) -> Iterator[Check]:
    """Look at Python, packages, cores, memory, disk, the root, GPUs, apt and a Prefect server."""
    yield Check("Python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or later")
    yield _packages()
    yield Check("cores", True, str(num_cores()))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Check("memory", memory >= MIN_MEMORY_GB, f"{memory:.0f} GiB", f"the demo wants {MIN_MEMORY_GB} GiB")
    yield from _storage(root)
    yield _accelerator()
    apt = shutil.which("apt-get") and shutil.which("dpkg-deb")
    yield Check(
        "apt",
        bool(apt),
        "found" if apt else "not found",
        "demo only: use hibari demo --warc PATH",
        needed=False,
    )
    yield _prefect_server()


def _packages() -> Check:
    from packaging.requirements import Requirement

    problems = []
    for text in metadata.requires("hibari") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} {version}, wanted {requirement.specifier}")
    return Check(
        "packages",
        not problems,
        "; ".join(problems) or "all as required",
        "pip install -c constraints.txt -e '.[demo]'",
    )


def _storage(root: str) -> Iterator[Check]:
    if is_local(root):
        folder = local_path(root).resolve()
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free / 1e9
        yield Check(
            "disk",
            free >= MIN_FREE_GB,
            f"{free:,.0f} GB free below {folder}",
            f"the demo wants {MIN_FREE_GB} GB",
        )
    probe = join(root, ".doctor")
    fresh = is_local(root) and not Path(local_path(root)).exists()
    try:
        write_bytes(probe, b"hibari")
        remove(probe)
        if fresh:
            local_path(root).rmdir()
        yield Check("root", True, f"{root} can be written")
    except OSError as error:
        yield Check("root", False, f"{root}: {error}", "choose another --root, or mend its permissions or credentials")


def _accelerator() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("GPU", False, f"none (torch {torch.__version__})", "training runs on the CPU", needed=False)
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Check("GPU", True, names, needed=False)


def _prefect_server() -> Check:
    from flows.server import DEFAULT_URL, answers

    url = os.environ.get("PREFECT_API_URL", DEFAULT_URL)
    found = answers(url)
    advice = "hibari run starts one for itself; for a lasting UI: prefect server start"
    return Check("Prefect server", found, url if found else f"none at {url}", advice, needed=False)
