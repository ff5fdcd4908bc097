"""The program that torchrun starts on every rank: `torchrun --nproc-per-node 2 -m trainer JOB.json`."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.errors import record

from trainer.config import TrainJob
from trainer.loop import StopSignal, train
from trainer.mesh import build_mesh, started
from trainer.problems import problems
from trainer.torchrun import end_with_torchrun


def set_up_logging(rank: int) -> None:
    """To stderr, which torchrun keeps per rank; from other ranks than the first only what is wrong."""
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING,
        format=f"%(asctime)s %(levelname)s rank {rank}: %(message)s",
    )


@record
def main() -> None:
    """Train the job whose path is the only argument."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: torchrun --nproc-per-node RANKS -m trainer JOB.json")
    from storage.mixture import Mixture

    end_with_torchrun()
    job = TrainJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    set_up_logging(int(os.environ.get("RANK", "0")))
    if found := problems(job.train, world=int(os.environ.get("WORLD_SIZE", "1"))):
        raise ValueError(f"this training cannot run: {'; '.join(found)}")
    if job.train.threads_per_rank:
        torch.set_num_threads(job.train.threads_per_rank)
    with started(job.train.collective_timeout_s) as device:
        mesh = build_mesh(job.train.parallel, device)
        stop = StopSignal()  # not before: a rank that still waits for others that may never come has nothing to save
        train(job, mesh, Mixture.open(job.mixture, "train"), stop)


if __name__ == "__main__":
    main()
