"""Training steps per second: Hibari's beside transformers', on the same weights and batch, in turn.

    python -m benchmarks.train                       # steps, fp32 and bf16, beside the machine's matrix products
    python -m benchmarks.train --layouts             # two processes beside one: wall of 2 threads, CPU of 1
    python -m benchmarks.train --loop                # what the training loop adds to its steps
    python -m benchmarks.train --profile --rounds 1  # where the time goes, operation by operation

The model has 58.1 M parameters (hidden 512, 8 layers, 8 heads, ffn 1,376, vocabulary 32,000), the batch four sequences
of 512 random tokens. `Hibari` keeps fp32 master weights, sums and moments whatever it computes in. transformers runs
with its own loss, torch's clipping and torch's fused AdamW: in fp32, in bf16 autocast over fp32 weights (what Hibari's
bf16 is to be compared with) and in pure bf16, moments included. In every round each makes one step and the machine's
matrix product of 2,048 is timed; a ratio is the median over rounds of theirs / ours, in wall and in CPU seconds. The
first losses must agree, so that all do the same work. `of the product` compares CPU seconds, which a busy machine
changes least.

Without bf16 instructions (AVX-512 or AMX, `trainer.precision.computes_bf16`) torch multiplies bf16 in a plain loop,
thirty times slower than fp32; then bf16 is shown on one short sequence and one round, and fp32 is the fair comparison.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.train_layouts import LAYOUTS, layout_figures
from benchmarks.train_loop import loop_figures
from benchmarks.train_steps import (
    Hibari,
    Transformers,
    hugging_face_fields,
    matrix_product,
    one_process,
    random_batch,
    random_weights,
    train_config,
)
from trainer.data import Batch
from trainer.flops import flops_per_step
from trainer.llama_config import llama_config
from trainer.precision import computes_bf16

Step = Callable[[Batch], float]
CPU = torch.device("cpu")
OURS = "Hibari"
WANTED = {("bf16", "transformers, bf16 autocast"): 1.15, ("bf16", "transformers, bf16"): 1.0}
_SHORT = {"sequences": 1, "seq_len": 64}  # of the batch where bf16 products run in a plain loop


def contestants(precision: str, fields: dict[str, Any], sequences: int) -> dict[str, Step]:
    """The steps that are compared in "fp32" or "bf16", each with weights of its own."""
    read = random_weights(fields, CPU)
    found: dict[str, Step] = {
        OURS: Hibari(fields, read, train_config(fields, sequences, dtype=precision), one_process(CPU))
    }
    if precision == "fp32":
        return found | {"transformers, fp32": Transformers(fields, read, "fp32", CPU)}
    return found | {
        "transformers, bf16 autocast": Transformers(fields, read, "bf16 autocast", CPU),
        "transformers, bf16": Transformers(fields, read, "bf16", CPU),
    }


def compare(precision: str, steps: dict[str, Step], batch: Batch, rounds: int, *, warm_up: bool) -> dict[str, Any]:
    """Seconds of every step of every round, each round in another order, and the machine's speed in each.

    Raises:
        RuntimeError: the first losses differ.
    """
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    wall: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    losses = {name: step(batch) for name, step in steps.items()} if warm_up else {}
    products, names = [], list(steps)
    for number in range(rounds):
        size = 2048 if warm_up else 512
        products.append(matrix_product(size, dtype, CPU, seconds=0.3))
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            began, cpu_began = time.perf_counter(), time.process_time()
            loss = steps[name](batch)
            wall[name].append(time.perf_counter() - began)
            cpu[name].append(time.process_time() - cpu_began)
            losses.setdefault(name, loss)
    check_losses(losses, 1e-4 if precision == "fp32" else 2e-2)
    return {"precision": precision, "tokens": batch.inputs.numel(), "seconds": wall, "cpu_seconds": cpu,
            "products": [asdict(product) for product in products], "losses": losses}  # fmt: skip


def check_losses(losses: dict[str, float], tolerance: float) -> None:
    for name, loss in losses.items():
        if abs(loss - losses[OURS]) > tolerance * losses[OURS]:
            raise RuntimeError(f"{name}: the first loss is {loss}, ours {losses[OURS]}: not the same work")


def profiles(steps: dict[str, Step], batch: Batch, rows: int) -> dict[str, str]:
    """The operations that take most time in one step of each, after a step to warm up."""
    found = {}
    for name, step in steps.items():
        step(batch)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            step(batch)
        found[name] = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=rows)
    return found


def ratio(theirs: Iterable[float], ours: Iterable[float]) -> float:
    """Median over rounds of theirs / ours: how many times as fast ours is."""
    return statistics.median(their / our for their, our in zip(theirs, ours, strict=True))


def show(figures: dict[str, Any], flops_per_token: float) -> None:
    tokens = figures["tokens"]
    product, per_cpu_s = (
        statistics.median(measured[name] for measured in figures["products"]) for name in ("flops", "flops_per_cpu_s")
    )
    title = (
        f"{figures['precision']}, {tokens:,} tokens a step, {len(figures['products'])} rounds, "
        f"{torch.get_num_threads()} threads; matrix product {product / 1e9:.0f} GFLOPS, {per_cpu_s / 1e9:.0f} a CPU-s"
    )
    table = Table(
        "step", "tokens/s", "best", "tokens/CPU-s", "of the product", "Hibari is", "by CPU", "wanted", title=title
    )
    for name, seconds in figures["seconds"].items():
        cpu = figures["cpu_seconds"][name]
        median = statistics.median(seconds)
        wanted = WANTED.get((figures["precision"], name))
        table.add_row(
            name,
            f"{tokens / median:,.0f}",
            f"{tokens / min(seconds):,.0f}",
            f"{tokens / statistics.median(cpu):,.0f}",
            f"{tokens / statistics.median(cpu) * flops_per_token / per_cpu_s:.2f}",
            "" if name == OURS else f"{ratio(seconds, figures['seconds'][OURS]):.2f} x",
            "" if name == OURS else f"{ratio(cpu, figures['cpu_seconds'][OURS]):.2f} x",
            f"{wanted:.2f} x" if wanted else "",
        )
    Console().print(table)


def step_figures(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Both precisions, each alone in memory, printed as they come."""
    found = []
    for precision in options.precisions:
        short = precision == "bf16" and not computes_bf16(CPU)
        fields = model_fields(options, **({"seq_len": min(options.seq_len, _SHORT["seq_len"])} if short else {}))
        sequences = _SHORT["sequences"] if short else options.batch
        if short:
            print("no bf16 instructions here: torch multiplies bf16 in a plain loop; bf16 is shown on a short batch,")
            print("and says nothing about machines that have them")
        steps = contestants(precision, fields, sequences)
        batch = random_batch(options.vocab, sequences, fields["max_position_embeddings"], CPU)
        if options.profile and not short:
            for name, table in profiles(steps, batch, options.profile_rows).items():
                print(f"\n{name}, {precision}\n{table}")
        figures = compare(precision, steps, batch, 1 if short else options.rounds, warm_up=not short)
        seq_len = fields["max_position_embeddings"]
        show(figures, flops_per_step("model_causal", llama_config(fields), seq_len, 1) / seq_len)
        found.append(figures)
        del steps
    return found


def model_fields(options: argparse.Namespace, **changes: Any) -> dict[str, Any]:
    names = ("vocab", "hidden", "ffn", "layers", "heads", "seq_len")
    return hugging_face_fields(**{name: getattr(options, name) for name in names} | changes)


def show_layouts(figures: dict[str, Any]) -> None:
    tokens = figures["tokens"]
    title = f"fp32, {tokens:,} tokens a step, micro-batches of 1"
    table = Table("layout", "processes x threads", "tokens/s", "tokens/CPU-s", "wall", "CPU", title=title)
    one, one_thread = (figures["layouts"][name] for name in ("one process", "one thread"))
    for name, found in figures["layouts"].items():
        table.add_row(
            name,
            f"{found['ranks']} x {found['threads']}",
            f"{tokens / found['seconds']:,.0f}",
            f"{tokens / found['cpu_seconds']:,.0f}",
            "" if found is one else f"{found['seconds'] / one['seconds'] - 1:+.0%}",
            "" if found is one_thread else f"{found['cpu_seconds'] / one_thread['cpu_seconds'] - 1:+.0%}",
        )
    Console().print(table)


def show_loop(figures: dict[str, float]) -> None:
    print(
        f"training loop, {figures['steps']} steps of {figures['seconds_per_step']:.2f} s: beside engine and optimizer "
        f"{figures['rest_seconds'] * 1e3:.1f} ms ({figures['rest_share']:.2%}); of the main thread's CPU time "
        f"{figures['rest_cpu_seconds'] * 1e3:.1f} ms ({figures['rest_cpu_share']:.2%}); reading samples "
        f"{figures['reading_seconds'] * 1e3:.2f} ms of it"
    )


def main() -> None:
    options = _parser().parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.layouts:
        figures: Any = layout_figures(model_fields(options), options.batch, options.rounds, LAYOUTS)
        show_layouts(figures)
    elif options.loop:
        figures = loop_figures(model_fields(options), options.batch, options.rounds)
        show_loop(figures)
    else:
        figures = step_figures(options)
    if options.json:
        print(json.dumps(figures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, value in (
        ("vocab", 32000), ("hidden", 512), ("ffn", 1376), ("layers", 8), ("heads", 8), ("seq-len", 512),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--batch", type=int, default=4, help="sequences a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of the one process; none given: torch's own choice")
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--profile", action="store_true", help="print the operations of a step")
    parser.add_argument("--profile-rows", type=int, default=15)
    parser.add_argument("--layouts", action="store_true", help="compare two processes with one")
    parser.add_argument("--loop", action="store_true", help="measure the training loop around the steps")
    parser.add_argument("--json", action="store_true", help="end with every figure as one line of JSON")
    return parser


if __name__ == "__main__":
    main()
