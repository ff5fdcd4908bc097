"""Steps of two processes of one thread each (dp 2, tp 2, pp 2) beside one process of two threads, and of one.

`layout_figures` starts torchrun on this module once per layout and round, in turn; each rank builds the model, makes a
step to warm up and times the next ones. Figures are of the slowest rank, and CPU seconds of all ranks together.

    torchrun --nproc-per-node 2 -m benchmarks.train_layouts JOB.json
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import measured
from benchmarks.train_steps import Hibari, random_batch, random_weights, train_config
from trainer.config import ParallelConfig
from trainer.mesh import build_mesh, started

LAYOUTS: dict[str, dict[str, int]] = {
    "one process": {},
    "one thread": {},
    "dp 2": {"dp": 2},
    "tp 2": {"tp": 2},
    "pp 2": {"pp": 2},
}
_STEPS = 3


def threads_of(layout: str) -> int:
    """Of each process."""
    return 2 if layout == "one process" else 1


def layout_figures(
    fields: dict[str, Any], sequences: int, rounds: int, layouts: dict[str, dict[str, int]]
) -> dict[str, Any]:
    """Medians over rounds of each layout's seconds a step; the layouts in turn."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in layouts}
    for _ in range(rounds):
        for name, parallel in layouts.items():
            ranks = ParallelConfig(**parallel).world_size
            job = {"fields": fields, "sequences": sequences, "parallel": parallel, "threads": threads_of(name)}
            found[name].append(_run(job, ranks))
    return {
        "tokens": sequences * fields["max_position_embeddings"],
        "layouts": {
            name: {
                "ranks": ParallelConfig(**layouts[name]).world_size,
                "threads": threads_of(name),
                "seconds": statistics.median(result["seconds"] for result in results),
                "cpu_seconds": statistics.median(result["cpu_seconds"] for result in results),
                "loss": results[0]["loss"],
            }
            for name, results in found.items()
        },
    }


def _run(job: dict[str, Any], ranks: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="hibari-train-") as folder:
        path = Path(folder, "job.json")
        path.write_text(json.dumps(job | {"result": str(Path(folder, "result.json"))}))
        measured(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
             "--nproc-per-node", str(ranks), "-m", "benchmarks.train_layouts", str(path)]
        )  # fmt: skip
        return json.loads(Path(folder, "result.json").read_text())


def main() -> None:
    """One rank."""
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    parallel = ParallelConfig(**job["parallel"])
    fields, sequences = job["fields"], job["sequences"]
    with started(timeout_s=600) as device:
        mesh = build_mesh(parallel, device)
        config = train_config(fields, sequences, micro_batch=1, dtype="fp32", parallel=job["parallel"])
        step = Hibari(fields, random_weights(fields, device), config, mesh)
        batch = random_batch(fields["vocab_size"], sequences, fields["max_position_embeddings"], device)
        loss = step(batch)
        wall, cpu = [], []
        for _ in range(_STEPS):
            mesh.barrier()
            began, cpu_began = time.perf_counter(), time.process_time()
            step(batch)
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - cpu_began)
        walls, cpus = mesh.gathered([statistics.median(wall)]), mesh.gathered([statistics.median(cpu)])
        if mesh.is_first:
            result = {"seconds": max(walls), "cpu_seconds": sum(cpus), "loss": loss}
            Path(job["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
