"""The program that torchrun starts on every rank: `torchrun --nproc-per-node 2 -m trainer JOB.json`.

Exit status: 0 when training is finished, and 0 when it was told to stop (SIGTERM) and saved a checkpoint: torchrun
would take anything else for a failure and restart the ranks. The folder then has a `stopped.json` (`trainer.ending`),
which `python -m trainer.torchrun` turns into exit status 75. Anything else is a failure.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from trainer.config import TrainJob
from trainer.ending import NO_RESTART, REFUSALS, clear, record_refusal, record_stop, refusal, restarts_before
from trainer.llama_config import read_llama_config
from trainer.problems import problems
from trainer.sharding import kv_copies
from trainer.torchrun import PID, end_with_torchrun

logger = logging.getLogger(__name__)


def set_up_logging(rank: int) -> None:
    """To stderr, which torchrun keeps per rank; from other ranks than the first only what is wrong."""
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING,
        format=f"%(asctime)s %(levelname)s rank {rank}: %(message)s",
    )


def main() -> None:
    """Train the job whose path is the only argument."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: torchrun --nproc-per-node RANKS -m trainer JOB.json")
    end_with_torchrun()
    job = TrainJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    rank = int(os.environ.get("RANK", "0"))
    set_up_logging(rank)
    if PID not in os.environ and restarts_before() == 0:  # `trainer.torchrun` has done it
        if rank == 0:
            clear(job.out)
    elif error := refusal(job.out):
        raise SystemExit(f"{NO_RESTART}{error}")
    from torch.distributed.elastic.multiprocessing.errors import record  # torch: not before a refusal is repeated

    record(_train)(job)


def _train(job: TrainJob) -> None:
    """Join the other ranks and train.

    Raises:
        ValueError, FloatingPointError, TrainingRefusedError: also left in `refused.json`; a restart would end so again.
    """
    import torch

    from storage.mixture import Mixture
    from trainer.loop import StopSignal, train
    from trainer.mesh import build_mesh, started
    from trainer.validation import open_validation

    config, world = job.train, int(os.environ.get("WORLD_SIZE", "1"))
    try:
        shape = read_llama_config(job.model)
        ranks_per_node = int(os.environ.get("LOCAL_WORLD_SIZE", world))
        if found := problems(config, shape, world, job.num_steps, ranks_per_node, torch.cuda.device_count()):
            raise ValueError(f"this training cannot run: {'; '.join(found)}")
        if config.threads_per_rank:
            torch.set_num_threads(config.threads_per_rank)
        with started(config.collective_timeout_s) as device:
            copies = kv_copies(shape.num_kv_heads, config.parallel.tp)
            mesh = build_mesh(config.parallel, device, copies, config.collective_timeout_s)
            stop = StopSignal()  # not before: a rank that waits for others that may never come has nothing to save
            state = train(job, mesh, Mixture.open(job.mixture, "train"), stop, open_validation(job, mesh))
            if mesh.is_first and state.step < job.num_steps:
                record_stop(job.out, state.step)
    except REFUSALS as error:
        record_refusal(job.out, error)
        raise


if __name__ == "__main__":
    main()
