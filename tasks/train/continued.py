"""The training that another one continues: which it is, and where its checkpoints lie.

In: the URI of a train artifact, finished or not, or the folder in which it works. Below a root that is no local folder
an artifact has copies of the checkpoints (`TrainJob.mirror`); trainings of before that have them in the folder of this
machine's cache in which they worked.

    training_fingerprint("runs/train/demo-0123456789ab")
    continued_checkpoint("runs/train/demo-0123456789ab", step=4000)
"""

from __future__ import annotations

import json

from storage.artifact import read_manifest
from storage.checkpoints import FOLDER, JOB, checkpoint_uri, saved_steps
from storage.uri import exists, join, read_bytes
from tasks.train.launch import work_folder

CONTINUES = "continues"  # in the plan's record: {training, step} that this training goes on from


def training_fingerprint(training: str) -> str:
    """What a training is made of: its artifact's fingerprint, known before it is finished.

    Raises:
        ValueError: nothing was ever trained there.
    """
    if (manifest := read_manifest(training)) is not None:
        return manifest.fingerprint
    for job in (join(training, JOB), str(work_folder(training) / JOB)):
        if exists(job) and (fingerprint := json.loads(read_bytes(job)).get("fingerprint")):
            return str(fingerprint)
    raise ValueError(
        f"{training} is no training: it has neither a manifest nor {JOB} with a fingerprint; expected the folder of a "
        f"train artifact, as runs/train/NAME-0123456789ab"
    )


def continued_checkpoint(training: str, step: int) -> str:
    """Where a training has, or would have, its checkpoint of `step`."""
    uploaded = join(training, FOLDER)
    folder = uploaded if step in saved_steps(uploaded) else str(work_folder(training) / FOLDER)
    return checkpoint_uri(folder, step)
