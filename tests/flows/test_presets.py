"""Every run file in configs/ can be read as it is, and the presets add up to what was published."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

from flows import cli
from flows.config import RunConfig, load_run
from flows.variants import load_sweep
from tests.flows.conftest import ROOT

CONFIGS = ROOT / "configs"
SWEEPS = [path for path in sorted(CONFIGS.glob("*.yaml")) if "run" in yaml.safe_load(path.read_text())]
RUNS = [path for path in sorted(CONFIGS.glob("*.yaml")) if path not in SWEEPS]
PRESETS = ("swallow-7b", "swallow-7b-parallel", "llm-jp-1.3b", "llm-jp-13b")


def preset(name: str) -> RunConfig:
    return load_run(CONFIGS / f"{name}.yaml")


def share(run: RunConfig, *languages: str) -> float:
    """The part of the weights that sources of some languages have."""
    chosen = [weight for name, weight in run.weights.items() if run.languages[name] in languages]
    return math.fsum(chosen) / math.fsum(run.weights.values())


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_run_file_is_valid_without_its_inputs(path: Path) -> None:
    run = load_run(path)
    assert run.num_steps > run.train.warmup_steps


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_file_is_valid_without_its_inputs(path: Path) -> None:
    sweep = load_sweep(path)
    assert len(sweep.runs) > 1


def test_swallow_has_the_published_weights_and_steps() -> None:
    run = preset("swallow-7b")
    parts = (10_605_477_142, 10_464_907_226, 12_465_407_213, 16_446_568_076, 38_345_096_470)
    assert run.weights == {"corpus": sum(parts), "ja-wiki": 1_672_543_873, "refinedweb": 5e9, "arxiv": 5e9}
    assert math.fsum(run.weights.values()) == 100_000_000_000
    assert share(run, "ja") == 0.9
    assert run.num_steps == 25_000
    assert run.train.tokens_per_step * run.num_steps == run.mix.train_tokens == 104_857_600_000
    assert run.expand.max_new_pieces is not None
    assert (32_000 + run.expand.max_new_pieces) == 43_176 == 8 * 5_397
    train = run.train
    assert (train.lr, train.min_lr, train.warmup_steps, train.beta2) == (1e-4, 3.3e-6, 1000, 0.95)


def test_swallows_variants_are_half_english_and_two_per_cent_parallel() -> None:
    variants = {run.variant: run for run in load_sweep(CONFIGS / "sweep-swallow-7b.yaml").runs.values()}
    assert share(variants["50-50"], "ja") == 0.5
    assert share(variants["90-10"], "ja") == 0.9
    assert not variants["none"].expand.enabled
    plain, parallel = preset("swallow-7b"), preset("swallow-7b-parallel")
    assert math.fsum(parallel.weights.values()) == 100_000_000_000
    assert share(parallel, "mul") == 0.02
    assert share(parallel, "en") == share(plain, "en")
    assert parallel.train == plain.train
    assert parallel.mix == plain.mix


def test_llm_jp_has_the_published_tokens_and_shapes() -> None:
    small, large = preset("llm-jp-1.3b"), preset("llm-jp-13b")
    assert math.fsum(small.weights.values()) == 287.5e9
    assert small.num_steps == 87_430
    assert small.train.warmup_steps == round(3e9 / small.train.tokens_per_step)
    assert math.fsum(large.weights.values()) == pytest.approx(254_619_248_570, abs=1)
    assert large.num_steps == 61_000
    assert (share(large, "ja"), share(large, "en")) == (pytest.approx(0.516, abs=1e-3), pytest.approx(0.450, abs=1e-3))
    for run in (small, large):
        assert run.mix.train_tokens == run.num_steps * run.train.tokens_per_step
        assert run.initialize.folder is None


@pytest.mark.parametrize("name", PRESETS)
def test_a_dry_run_names_every_missing_input(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = preset(name)
    with pytest.raises(SystemExit) as ended:
        cli.app(["run", str(CONFIGS / f"{name}.yaml"), "--dry-run"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    for missing in ("data/warc/", "tokenizer.model", *(source for source in run.weights if source != "corpus")):
        assert missing in said, said
