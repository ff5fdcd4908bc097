"""Which checkpoints a training has saved: read from the folder's names and manifests, without torch.

Training keeps them in `checkpoints/step-00000050/` below its artifact, each whole as soon as it has a `manifest.json`
(`trainer.checkpoint` writes and verifies them). A root that is no local folder gets only the last one; the others lie
where the trainer works.

    saved_steps("runs/train/demo-0123456789ab/checkpoints")  # [50, 100]
    saved_checkpoint("runs/train/demo-0123456789ab/checkpoints/step-00000050")
"""

from __future__ import annotations

import re

from storage.uri import join, listing

FOLDER = "checkpoints"
JOB = "job.json"  # beside it: what the trainer was told
_MANIFEST = re.compile(r"step-(\d{8,})/manifest\.json")


def checkpoint_uri(folder: str, step: int) -> str:
    """Where the checkpoint of `step` lies, or would lie."""
    return join(folder, f"step-{step:08}")


def saved_steps(folder: str) -> list[int]:
    """Steps of which a checkpoint is there and whole, in order; none where there is no such folder."""
    return sorted(int(found[1]) for name in listing(folder) if (found := _MANIFEST.fullmatch(name)))


def saved_checkpoint(uri: str) -> str:
    """`uri`, where a whole checkpoint is there.

    Raises:
        ValueError: there is none; with the steps that are saved beside it.
    """
    folder, _, name = uri.rpartition("/")
    step, saved = int(name.removeprefix("step-")), saved_steps(folder)
    if step not in saved:
        have = ", ".join(map(str, saved)) or "none"
        raise ValueError(
            f"no checkpoint of step {step} in {folder}; saved are {have}. One is saved every train.save_every steps, "
            f"and only the newest train.keep_checkpoints stay: what is deleted cannot be scored any more"
        )
    return uri
