"""lm-evaluation-harness on local tasks: what it asked, what came back, and when.

    python lm_eval_run.py ASKED.json FOUND.json

ASKED.json: `model` (a Hugging Face folder), `batch_size`, `threads`, `runner` (`hf` for lm-eval's own model, `hibari`
for ours behind `HibariLM`), `softmax_dtype` (of `hf`; null: float32), and `runs`, each with `task` (as lm-eval
takes it) and `shots`. FOUND.json gets a list: for each run `samples` (requests, responses and metrics of each
document), `started_s` and `answered_s` (wall seconds from the start of the process to its first and behind its last
request), `started_cpu_s` (processor seconds before the first) and `cpu_s` (from there on).
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
METHODS = ("loglikelihood", "loglikelihood_rolling", "generate_until")


def main(asked_path: str, found_path: str) -> None:
    """Run the tasks."""
    asked = json.loads(Path(asked_path).read_text(encoding="utf-8"))
    import torch

    torch.set_num_threads(asked["threads"])
    import lm_eval
    from lm_eval.tasks import TaskManager

    times: dict[str, float] = {}
    lm, tasks = timed(load(asked), times), TaskManager()
    found = []
    for run in asked["runs"]:
        times.clear()
        results = lm_eval.simple_evaluate(
            model=lm,
            tasks=[run["task"]],
            task_manager=tasks,
            num_fewshot=run["shots"],
            batch_size=asked["batch_size"],
            log_samples=True,
            bootstrap_iters=0,
        )
        (samples,) = results["samples"].values()
        found.append(times | {"samples": [told(sample) for sample in samples]})
    Path(found_path).write_text(json.dumps(found, default=str))


def load(asked: dict[str, Any]) -> Any:
    """The model behind lm-eval's interface."""
    if asked["runner"] == "hibari":
        from tasks.evaluate.lm_eval_adapter import HibariLM

        return HibariLM.load(asked["model"], batch_size=asked["batch_size"])
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=asked["model"],
        device="cpu",
        dtype="float32",
        softmax_dtype=asked["softmax_dtype"],
        batch_size=asked["batch_size"],
    )


def timed(lm: Any, times: dict[str, float]) -> Any:
    """The same model; its calls leave their times."""
    for name in METHODS:

        def call(requests: Any, *rest: Any, answer: Any = getattr(lm, name), **options: Any) -> Any:
            times.setdefault("started_s", since_start())
            times.setdefault("started_cpu_s", time.process_time())
            cpu = time.process_time()
            found = answer(requests, *rest, **options)
            times["answered_s"] = since_start()
            times["cpu_s"] = times.get("cpu_s", 0) + time.process_time() - cpu
            return found

        setattr(lm, name, call)
    return lm


def since_start() -> float:
    """Wall seconds since this process was made, to a hundredth."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def told(sample: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a document."""
    kept = ("doc_id", "target", "arguments", "resps", "filtered_resps", "filter")
    metrics = {name: sample[name] for name in sample.get("metrics", ())}
    return {name: sample.get(name) for name in kept} | {"metrics": metrics}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
