"""Training on one CUDA device, in one call: speed beside peers, options, memory beside its formulas, kernels.

    python -m benchmarks.train_gpu --out FOLDER                 # an H200: about nine minutes
    python -m benchmarks.train_gpu --out FOLDER --minutes 20    # more of the cases
    python -m benchmarks.train_gpu --out FOLDER --device cpu --tiny    # the same code on small shapes, in a minute

Two models: one of 1.3 B parameters at sequence 2,048 (`configs/llm-jp-1.3b.yaml`), whole, and Llama 2 7B's layers at
sequence 4,096, as many as fit with the optimizer's state. All train in bf16. Hibari (fp32 master weights, sums and
moments) runs compiled and eager, with each mode of recomputation and two micro-batches; beside it transformers, in
autocast over fp32 weights and in pure bf16, and plain torch: the same model, eager, with whole logits and autocast. A
step has several micro-batches, so that the optimizer's share is that of a real step.

Of each case: tokens a second, TFLOPS of the causal model and MFU (over the data sheet's dense bf16 peak), the fastest
square matrix product of this device beside it, and the most memory that tensors took, beside what `trainer.memory`
says. Of Hibari's fastest case of each model: its kernels, and how long the device was idle.

Cases run in order of weight until the minutes are used up; what was left out is listed. Running out of memory is a
result. Results are written after every case: `FOLDER/train_gpu.json`, and `FOLDER/train_gpu.md` to read.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.train_kernels import kernel_table
from benchmarks.train_steps import (
    Hibari,
    PlainTorch,
    Transformers,
    hugging_face_fields,
    matrix_product,
    one_process,
    random_batch,
    random_weights,
    synchronize,
    train_config,
)
from trainer.device_peak import published_tflops
from trainer.flops import flops_per_step
from trainer.llama_config import llama_config
from trainer.memory import largest_memory

logger = logging.getLogger(__name__)
GIB = 1 << 30
WARM_UP, TIMED = 3, 6


@dataclass(frozen=True)
class Case:
    """One contestant on one model.

    `layers` are the most that are tried: where they do not fit, fewer are, `fewer` at a time.
    """

    model: Literal["1.3b", "7b layers"]
    program: Literal["hibari", "transformers, autocast", "transformers, bf16", "plain torch, autocast"]
    layers: int
    micro_batch: int
    compiled: bool = False
    recompute: Literal["none", "selective", "full"] = "none"
    fewer: int = 0

    @property
    def name(self) -> str:
        words: list[str] = [self.program]
        if self.program == "hibari":
            words += ["compiled" if self.compiled else "eager", f"recompute {self.recompute}"]
        return ", ".join(words)


@dataclass
class Result:
    """What a case came to; `layers` are those that fitted."""

    case: Case
    layers: int
    parameters: int = 0
    out_of_memory: bool = False
    seconds: list[float] = field(default_factory=list)
    tokens_per_second: float = 0.0
    tflops: float = 0.0
    mfu: float | None = None
    of_product: float = 0.0
    peak_gib: float = 0.0
    predicted_gib: float | None = None
    first_loss: float = 0.0
    started_in_s: float = 0.0


@dataclass(frozen=True)
class Shape:
    """Sizes of the two models; `sequences` of a step."""

    fields: dict[str, Any]
    sequences: int


def shapes(*, tiny: bool) -> dict[str, Shape]:
    if tiny:
        small = hugging_face_fields(vocab=128, hidden=64, ffn=96, layers=2, heads=4, seq_len=32, tied=True)
        return {"1.3b": Shape(small, 4), "7b layers": Shape({**small, "tie_word_embeddings": False}, 2)}
    # 50,570 pieces, to a multiple of 8.
    small = hugging_face_fields(vocab=50_576, hidden=2048, ffn=5504, layers=24, heads=16, seq_len=2048, tied=True)
    large = hugging_face_fields(vocab=32_000, hidden=4096, ffn=11_008, layers=32, heads=32, seq_len=4096)
    return {"1.3b": Shape(small, 32), "7b layers": Shape(large, 8)}


def cases(sizes: dict[str, Shape]) -> list[Case]:
    """In order of weight. The 7B cases after the first take the layers that fitted there."""
    small, large = (sizes[name].fields["num_hidden_layers"] for name in ("1.3b", "7b layers"))
    fewer = max(1, large // 16)
    best_small = Case("1.3b", "hibari", small, 4, compiled=True)
    best_large = Case("7b layers", "hibari", large, 1, compiled=True, fewer=fewer)
    return [
        best_small,
        best_large,
        Case("1.3b", "transformers, autocast", small, 4),
        Case("7b layers", "transformers, autocast", large, 1, fewer=fewer),
        replace(best_small, compiled=False),
        replace(best_large, compiled=False),
        Case("1.3b", "plain torch, autocast", small, 4),
        Case("7b layers", "plain torch, autocast", large, 1, fewer=fewer),
        Case("1.3b", "transformers, bf16", small, 4),
        Case("7b layers", "transformers, bf16", large, 1, fewer=fewer),
        replace(best_large, recompute="full"),
        replace(best_large, recompute="selective"),
        replace(best_small, micro_batch=8),
        replace(best_small, recompute="full"),
        replace(best_small, recompute="selective"),
        replace(best_large, micro_batch=2, recompute="full"),
        replace(best_small, micro_batch=2),
    ]


class Bench:
    """The device, the clock and the results so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.device = torch.device(options.device)
        self.sizes = shapes(tiny=options.tiny)
        self.compile = not options.eager
        self.ends = time.monotonic() + 60 * options.minutes
        self.out: Path = options.out
        self.out.mkdir(parents=True, exist_ok=True)
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        self.published = published_tflops(name) if self.device.type == "cuda" else None
        size = 8192 if self.device.type == "cuda" else 256
        self.found: dict[str, Any] = {
            "device": name,
            "torch": torch.__version__,
            "published_tflops": self.published,
            "product_tflops": matrix_product(size, torch.bfloat16, self.device, seconds=1).flops / 1e12,
            "results": [],
            "left_out": [],
            "kernels": {},
        }
        self.fitting_layers: int | None = None

    def run_all(self) -> None:
        best: dict[str, Result] = {}
        waiting = cases(self.sizes)
        while waiting:
            case = waiting.pop(0)
            if time.monotonic() > self.ends:
                self.found["left_out"] = [f"{case.model}: {case.name}" for case in [case, *waiting]]
                break
            result = self.measure(case)
            self.found["results"].append(asdict(result))
            self.write()
            if case.program == "hibari" and not result.out_of_memory and result.tokens_per_second > _speed(best, case):
                best[case.model] = result
        for model, result in best.items():
            self.found["kernels"][model] = {"case": result.case.name} | self.kernels(result)
        self.write()

    def measure(self, case: Case) -> Result:
        """Time a case, with as many of its layers as fit."""
        layers = min(case.layers, self.fitting_layers or case.layers) if case.fewer else case.layers
        for number in range(layers, 0, -(case.fewer or layers)):
            result = self._measure(replace(case, compiled=case.compiled and self.compile), number)
            logger.info(_line(result))
            if not result.out_of_memory:
                if case.fewer and case.program == "hibari" and self.fitting_layers is None:
                    self.fitting_layers = number
                return result
        return result

    def kernels(self, result: Result) -> dict[str, Any]:
        """The kernels of one step of a case, and the device's idle share."""
        step, batch = self._build(result.case, result.layers)
        for _ in range(WARM_UP):
            step(batch)
        found = kernel_table(lambda: step(batch), self.device)
        self._free()
        return found

    def _measure(self, case: Case, layers: int) -> Result:
        shape = llama_config(self._fields(case, layers))
        result = Result(case, layers, shape.num_parameters, predicted_gib=self._predicted_gib(case, layers))
        began = time.monotonic()
        try:
            self._time(case, layers, result, began)
        except torch.OutOfMemoryError:
            result.out_of_memory = True
        self._free()
        if result.out_of_memory:
            return result
        sequences = self.sizes[case.model].sequences
        seconds, seq_len = statistics.median(result.seconds), shape.max_positions
        result.tokens_per_second = sequences * seq_len / seconds
        result.tflops = flops_per_step("model_causal", shape, seq_len, sequences) / seconds / 1e12
        result.mfu = result.tflops / self.published if self.published else None
        result.of_product = result.tflops / self.found["product_tflops"]
        return result

    def _time(self, case: Case, layers: int, result: Result, began: float) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        step, batch = self._build(case, layers)
        result.first_loss = step(batch)
        result.started_in_s = time.monotonic() - began
        for _ in range(WARM_UP - 1):
            step(batch)
        for _ in range(TIMED):
            synchronize(self.device)
            begin = time.perf_counter()
            step(batch)
            synchronize(self.device)
            result.seconds.append(time.perf_counter() - begin)
        if self.device.type == "cuda":
            result.peak_gib = torch.cuda.max_memory_allocated(self.device) / GIB

    def _build(self, case: Case, layers: int) -> tuple[Any, Any]:
        fields, sequences = self._fields(case, layers), self.sizes[case.model].sequences
        read = random_weights(fields, self.device)
        batch = random_batch(fields["vocab_size"], sequences, fields["max_position_embeddings"], self.device)
        rows = min(case.micro_batch, sequences)
        if case.program == "hibari":
            return Hibari(fields, read, self._config(case, layers), one_process(self.device)), batch
        if case.program == "plain torch, autocast":
            return PlainTorch(fields, read, "bf16 autocast", self.device, rows), batch
        precision: Any = "bf16" if case.program == "transformers, bf16" else "bf16 autocast"
        return Transformers(fields, read, precision, self.device, rows), batch

    def _config(self, case: Case, layers: int) -> Any:
        sequences = self.sizes[case.model].sequences
        return train_config(
            self._fields(case, layers), sequences, micro_batch=min(case.micro_batch, sequences), dtype="bf16",
            recompute=case.recompute, compile=case.compiled,
        )  # fmt: skip

    def _fields(self, case: Case, layers: int) -> dict[str, Any]:
        return {**self.sizes[case.model].fields, "num_hidden_layers": layers}

    def _predicted_gib(self, case: Case, layers: int) -> float | None:
        """What `trainer.memory` says of Hibari's cases."""
        if case.program != "hibari":
            return None
        shape = llama_config(self._fields(case, layers))
        return largest_memory(shape, self._config(case, layers)).total / GIB

    def _free(self) -> None:
        gc.collect()
        torch.compiler.reset()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def write(self) -> None:
        (self.out / "train_gpu.json").write_text(json.dumps(self.found, indent=1) + "\n")
        (self.out / "train_gpu.md").write_text("\n".join(markdown(self.found)) + "\n")


def _speed(best: dict[str, Result], case: Case) -> float:
    return best[case.model].tokens_per_second if case.model in best else 0.0


def _line(result: Result) -> str:
    where = f"{result.case.model}, {result.layers} layers, micro-batch {result.case.micro_batch}: {result.case.name}"
    if result.out_of_memory:
        return f"{where}: out of memory"
    return f"{where}: {result.tokens_per_second:,.0f} tokens/s, {result.tflops:.1f} TFLOPS, {result.peak_gib:.1f} GiB"


def markdown(found: dict[str, Any]) -> Iterator[str]:
    """The tables as text."""
    published = found["published_tflops"]
    yield f"{found['device']}, torch {found['torch']}; bf16 product {found['product_tflops']:.0f} TFLOPS" + (
        f", data sheet {published:.0f} TFLOPS dense" if published else ""
    )
    yield ""
    heads = ["model", "layers", "micro-batch", "program", "tokens/s", "TFLOPS", "MFU", "of the product", "GiB"]
    heads += ["by formula", "start, s"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for result in found["results"]:
        case = result["case"]
        begin = f"| {case['model']} | {result['layers']} | {case['micro_batch']} | {Case(**case).name} |"
        predicted = f"{result['predicted_gib']:.1f}" if result["predicted_gib"] is not None else ""
        if result["out_of_memory"]:
            yield f"{begin} out of memory | | | | | {predicted} | |"
            continue
        mfu = f"{result['mfu']:.1%}" if result["mfu"] is not None else ""
        yield (
            f"{begin} {result['tokens_per_second']:,.0f} | {result['tflops']:.1f} | {mfu} | "
            f"{result['of_product']:.2f} | {result['peak_gib']:.1f} | {predicted} | {result['started_in_s']:.0f} |"
        )
    yield ""
    if found["left_out"]:
        yield f"Not run, for want of time: {'; '.join(found['left_out'])}."
    for model, kernels in found["kernels"].items():
        yield ""
        yield f"Kernels of a step: {model}, {kernels['case']}; the device is idle {kernels['idle_share']:.1%} of it."
        yield ""
        yield "| kind | ms | share |"
        yield "|---|---|---|"
        for kind, milliseconds in kernels["kinds"].items():
            yield f"| {kind} | {milliseconds:.2f} | {milliseconds / max(kernels['busy_ms'], 1e-9):.1%} |"
        yield ""
        yield "| kernel | calls | ms |"
        yield "|---|---|---|"
        for name, calls, milliseconds in kernels["kernels"]:
            yield f"| `{name}` | {calls} | {milliseconds:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of train_gpu.json and train_gpu.md")
    parser.add_argument("--minutes", type=float, default=8.0, help="no case begins after these")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes: a trial of this program")
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    bench = Bench(options)
    bench.run_all()
    print((options.out / "train_gpu.md").read_text())


if __name__ == "__main__":
    main()
