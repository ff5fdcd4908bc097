"""The benchmarks of training run on small shapes, and refuse to compare different work."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.train import OURS, check_losses, compare, contestants, ratio, show
from benchmarks.train_gpu import Bench, Case, cases, shapes
from benchmarks.train_kernels import kernel_table, kind_of
from benchmarks.train_loop import loop_figures
from benchmarks.train_steps import hugging_face_fields, random_batch

CPU = torch.device("cpu")


@pytest.fixture
def fields() -> dict[str, Any]:
    return hugging_face_fields(vocab=96, hidden=32, ffn=48, layers=2, heads=4, seq_len=16)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_all_programs_do_the_same_work(
    fields: dict[str, Any], precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = contestants(precision, fields, 2)
    figures = compare(precision, steps, random_batch(96, 2, 16, CPU), rounds=2, warm_up=False)
    assert figures["tokens"] == 32
    assert {name: len(seconds) for name, seconds in figures["seconds"].items()} == dict.fromkeys(steps, 2)
    show(figures, flops_per_token=1e5)
    assert OURS in capsys.readouterr().out


def test_a_program_with_another_loss_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"other: the first loss is 4\.1, ours 4\.0: not the same work"):
        check_losses({OURS: 4.0, "other": 4.1}, 1e-2)
    check_losses({OURS: 4.0, "other": 4.03}, 1e-2)


def test_the_ratio_is_of_rounds_not_of_medians() -> None:
    assert ratio([2.0, 30.0, 3.0], [1.0, 10.0, 3.0]) == 2.0


def test_the_loop_is_measured_around_engine_and_optimizer(fields: dict[str, Any]) -> None:
    figures = loop_figures(fields, sequences=2, steps=2)
    assert 0 < figures["rest_seconds"] < figures["seconds_per_step"]
    assert figures["rest_share"] == pytest.approx(figures["rest_seconds"] / figures["seconds_per_step"], rel=0.5)
    assert figures["reading_seconds"] > 0


def test_cases_that_do_not_fit_are_tried_with_fewer_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(_options(tmp_path))
    build = Bench._build

    def too_large(self: Bench, case: Case, layers: int) -> Any:
        if layers > 1 and case.fewer:
            raise torch.OutOfMemoryError("no room")
        return build(self, case, layers)

    monkeypatch.setattr(Bench, "_build", too_large)
    case = next(case for case in cases(bench.sizes) if case.fewer)
    result = bench.measure(case)
    assert (result.layers, result.out_of_memory) == (1, False)
    assert bench.fitting_layers == 1
    fixed = bench.measure(Case("7b layers", case.program, 2, 1))
    assert not fixed.out_of_memory
    assert fixed.layers == 2


@pytest.mark.slow
def test_the_gpu_benchmark_runs_whole_on_small_shapes(tmp_path: Path) -> None:
    bench = Bench(_options(tmp_path))
    bench.run_all()
    found = json.loads((tmp_path / "train_gpu.json").read_text())
    assert len(found["results"]) == len(cases(shapes(tiny=True)))
    assert all(result["tokens_per_second"] > 0 for result in found["results"])
    losses = [result["first_loss"] for result in found["results"] if result["case"]["model"] == "1.3b"]
    assert max(losses) == pytest.approx(min(losses), rel=2e-2), "all programs begin with the same weights and batch"
    text = (tmp_path / "train_gpu.md").read_text()
    assert text.count("Kernels of a step") == 2


def test_what_there_was_no_time_for_is_listed(tmp_path: Path) -> None:
    bench = Bench(_options(tmp_path, minutes=0))
    bench.run_all()
    assert len(bench.found["left_out"]) == len(cases(bench.sizes))
    assert "Not run, for want of time" in (tmp_path / "train_gpu.md").read_text()


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_NNT", "matrix products"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm>", "matrix products"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop", "attention"),
        ("triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_0", "compiled by triton"),
        ("void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedAdamMathFunctor>", "optimizer"),
        ("Memcpy DtoD (Device -> Device)", "copies"),
        ("void at::native::vectorized_elementwise_kernel<4, MulFunctor>", "elementwise"),
        ("something_new", "other"),
    ],
)
def test_kernels_have_kinds(kernel: str, kind: str) -> None:
    assert kind_of(kernel) == kind


def test_a_step_is_taken_apart_into_operations() -> None:
    x = torch.randn(128, 128)
    found = kernel_table(lambda: torch.relu(x @ x), CPU)
    assert found["kinds"]["matrix products"] > 0
    assert found["kernels"][0][2] >= found["kernels"][-1][2]


def _options(out: Path, minutes: float = 10) -> Any:
    return SimpleNamespace(device="cpu", tiny=True, eager=True, minutes=minutes, out=out)
