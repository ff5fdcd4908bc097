"""torchrun that does not outlive whoever started it, and says how training ended.

    python -m trainer.torchrun PARENT_PID TORCHRUN_ARGUMENTS -m trainer JOB.json

When its parent is gone, even by kill -9, torchrun gets SIGTERM and passes it on to its ranks, which save a checkpoint.
The ranks learn torchrun's pid from the environment, so that they can do the same when it is torchrun that was killed.

Exit status: 0 finished; 75 (EX_TEMPFAIL) told to stop, whether torchrun or a rank got the SIGTERM, and a checkpoint
saved, from which the same command goes on; anything else failed. Plain `torchrun` works too, without that 75: it ends
with 0 when a rank got the signal and with 1 when it did itself; `stopped.json` in the job's folder tells
(`trainer.ending`).

Several machines: the same command on each, with a folder `out` that all share. The ranks of a machine are neighbours,
so that tensor parallelism stays inside (`trainer.layout`). As a Slurm step, told two minutes before its time is over:

    srun --signal=TERM@120 bash -c 'python -m trainer.torchrun $$ --nnodes $SLURM_NNODES --nproc-per-node 8 \\
        --rdzv-backend c10d --rdzv-id $SLURM_JOB_ID --rdzv-endpoint HOST:29500 --max-restarts 2 \\
        --shutdown-timeout 100 -m trainer JOB.json'

A rank that dies ends all; with `--max-restarts` torchrun starts them again, and they go on from the last checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from storage.processes import die_with_parent
from trainer.config import TrainConfig
from trainer.ending import clear, stopped_step

PID = "HIBARI_TORCHRUN_PID"
NCCL_HEARTBEAT_S = 480  # torch's own


def end_with_torchrun() -> None:
    """In a rank, before it handles SIGTERM: be sent one when torchrun is gone."""
    if agent := os.environ.get(PID):
        die_with_parent(signal.SIGTERM, int(agent))


def rank_environment(config: TrainConfig, out: str | None, arguments: list[str]) -> dict[str, str]:
    """What torch, CUDA and NCCL are told, where the user has not said otherwise.

    NCCL's errors end the process by torch's default (TORCH_NCCL_ASYNC_ERROR_HANDLING 3) and need no setting.

    Args:
        out: the job's folder.
        arguments: torchrun's.
    """
    told = {
        # Freed memory of one size serves another: pipelines and chunked losses otherwise leave gaps.
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        # After a time-out every rank writes which collective it was in.
        "TORCH_NCCL_DUMP_ON_TIMEOUT": "1",
        "TORCH_FR_BUFFER_SIZE": "2000",
        # The watchdog's own watchdog may not kill a rank before the time-out that names the collective.
        "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC": str(max(NCCL_HEARTBEAT_S, int(config.collective_timeout_s) + 60)),
    }
    if config.parallel.tp > 1 and config.parallel.data_parallel == "zero1":
        # Kernels then start in the order they were launched, so an exchange that was launched before a product runs
        # beside it (Megatron-LM requires it). FSDP's prefetching needs more queues than the one.
        told["CUDA_DEVICE_MAX_CONNECTIONS"] = "1"
    if _num_nodes(arguments) not in ("", "1", "1:1"):
        # torchrun counts restarts per machine, and one that follows another machine's does not count: ranks could not
        # agree on a prefix of the shared store (`trainer.mesh.started`). So each restart has a store of its own.
        told["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    if out is not None:
        told["TORCH_FR_DUMP_TEMP_FILE"] = f"{out}/nccl_trace_rank_"
    if "PYTORCH_CUDA_ALLOC_CONF" in os.environ:  # its older name
        del told["PYTORCH_ALLOC_CONF"]
    return told


def main() -> None:
    """torchrun itself."""
    die_with_parent(signal.SIGTERM, int(sys.argv.pop(1)))
    os.environ[PID] = str(os.getpid())
    given = _given(sys.argv[-1])
    out = given.get("out")
    if "train" in given:
        for name, value in rank_environment(TrainConfig(**given["train"]), out, sys.argv).items():
            os.environ.setdefault(name, value)
    if out is not None:
        clear(out)
    from torch.distributed.run import main as torchrun  # after the lines above: importing it takes seconds

    try:
        torchrun()
    except Exception:  # SIGTERM is one: torchrun raises it once its ranks have ended
        if out is None or stopped_step(out) is None:
            raise
    if out is not None and (step := stopped_step(out)) is not None:
        logging.getLogger(__name__).warning("stopped after step %d, of which there is a checkpoint", step)
        raise SystemExit(os.EX_TEMPFAIL)


def _given(path: str) -> dict[str, Any]:
    """The job or probe that the ranks are given, torchrun's last argument; empty for another program."""
    if not path.endswith(".json") or not Path(path).is_file():
        return {}
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _num_nodes(arguments: list[str]) -> str:
    """torchrun's --nnodes, empty where it is not there."""
    for at, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--nnodes", "--nnode"):
            return value or arguments[at + 1]
    return ""


if __name__ == "__main__":
    main()
