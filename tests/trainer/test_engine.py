"""One step as the loop makes it: the same micro-batches, gradients and losses, whether or not there is a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.trainer.parity import block_reader
from tests.trainer.ranks import PackedMixture, run_ranks, tiny_config, write_tiny_model
from trainer.config import TrainConfig
from trainer.data import micro_batches
from trainer.engine import Engine
from trainer.hf import load_model
from trainer.llama_config import read_llama_config
from trainer.loss import LossSums
from trainer.mesh import Mesh
from trainer.optimizer import build_optimizer
from trainer.parallelize import build_chunks
from trainer.sharding import rank_blocks


def engine_on(mesh: Mesh, folder: Path, config: TrainConfig) -> Engine:
    shape = read_llama_config(folder)
    chunks = build_chunks(shape, config, mesh)
    optimizer = build_optimizer(chunks, rank_blocks(shape, config.parallel, mesh.place), config, mesh)
    optimizer.load_weights(block_reader(folder))
    return Engine(shape, chunks, optimizer, config, mesh)


def one_step(mesh: Mesh, folder: Path, config: TrainConfig) -> dict[str, Any]:
    """Losses and gradient norm of a global batch, and the losses of evaluations around it."""
    engine, mixture = engine_on(mesh, folder, config), PackedMixture()
    found: dict[str, Any] = {}

    def batches() -> Any:
        return micro_batches(mixture, 0, config, mesh.place.dp, mesh.device)

    def evaluate() -> tuple[float, dict[str, float]]:
        losses = LossSums(mixture.languages, mesh.device)
        engine.evaluate(batches(), losses)
        return losses.reduce(mesh)

    evaluate()
    losses = LossSums(mixture.languages, mesh.device)
    num_passes = config.global_batch // (config.micro_batch * config.parallel.dp)
    assert engine.train(batches(), num_passes, mixture.num_targets(0, config.global_batch), losses)
    found["trained"] = losses.reduce(mesh)
    found["norm"] = engine.optimizer.reduce_gradients().item()
    found["evaluated"] = evaluate()
    engine.optimizer.step(1e-3)
    found["after the update"] = evaluate()
    return found


def whole_batch(folder: Path, config: TrainConfig) -> dict[str, Any]:
    """The same of the plain model, in one batch."""
    model, mixture = load_model(folder, torch.float64), PackedMixture()
    whole = config.model_copy(update={"micro_batch": config.global_batch, "parallel": type(config.parallel)()})
    (batch,) = micro_batches(mixture, 0, whole, 0, torch.device("cpu"))
    logits = model(batch.inputs, batch.documents)
    losses = cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")
    loss = losses.sum() / mixture.num_targets(0, config.global_batch)
    loss.backward()
    sums = LossSums(mixture.languages, torch.device("cpu"))
    sums.add(losses, batch.targets, batch.sources)
    squares = [parameter.grad.square().sum() for parameter in model.parameters() if parameter.grad is not None]
    one = Mesh(whole.parallel, 0, None, torch.device("cpu"))  # type: ignore[arg-type]
    return {"loss": loss.item(), "languages": sums.reduce(one)[1], "norm": torch.stack(squares).sum().sqrt().item()}


@pytest.mark.parametrize(
    "parallel",
    [{}, {"pp": 2}, {"dp": 2, "data_parallel": "fsdp"}, {"pp": 2, "dp": 2, "data_parallel": "fsdp"}],
    ids=["one", "pp2", "fsdp2", "pp2-fsdp2"],
)
def test_a_global_batch_is_run_as_one_batch_would_be(tmp_path: Path, parallel: dict[str, Any]) -> None:
    """And an evaluation, before it or between gradients and update, changes nothing and sees the weights of then."""
    folder = write_tiny_model(tmp_path / "model")
    config = tiny_config(parallel=parallel, dtype="float64")
    expected = whole_batch(folder, config)
    for rank in run_ranks(config.parallel, one_step, folder, config):
        loss, languages = rank["trained"]
        np.testing.assert_allclose(loss, expected["loss"], rtol=1e-12)
        assert languages == pytest.approx(expected["languages"], rel=1e-12)
        np.testing.assert_allclose(rank["norm"], expected["norm"], rtol=1e-12)
        np.testing.assert_allclose(rank["evaluated"][0], expected["loss"], rtol=1e-12)
        assert rank["after the update"][0] < expected["loss"]


def stopping(mesh: Mesh, folder: Path, config: TrainConfig) -> dict[str, Any]:
    """Ask to stop after the second of four micro-batches, then run the step to its end."""
    engine, mixture, read = engine_on(mesh, folder, config), PackedMixture(), []

    def batches() -> Any:
        for number, batch in enumerate(micro_batches(mixture, 0, config, mesh.place.dp, mesh.device)):
            read.append(number)
            yield batch

    def run(stop_after: int) -> bool:
        losses = LossSums(mixture.languages, mesh.device)
        targets = mixture.num_targets(0, config.global_batch)
        return engine.train(batches(), 4, targets, losses, stopped=lambda: len(read) == stop_after)

    finished = [run(stop_after=2)]
    read_until_stopped = list(read)
    read.clear()
    finished.append(run(stop_after=99))
    return {"finished": finished, "read": read_until_stopped, "norm": engine.optimizer.reduce_gradients().item()}


def test_a_stop_ends_after_a_micro_batch_and_drops_its_gradients(tmp_path: Path) -> None:
    folder, config = write_tiny_model(tmp_path / "model"), tiny_config(dtype="float64")
    (found,) = run_ranks(1, stopping, folder, config)
    assert found["finished"] == [False, True]
    assert found["read"] == [0, 1]
    assert found["norm"] == pytest.approx(whole_batch(folder, config)["norm"], rel=1e-12)


def left_behind(mesh: Mesh, folder: Path, config: TrainConfig) -> tuple[bool, bool]:
    """Whether evaluating left a gradient or an autograd graph."""
    engine, mixture = engine_on(mesh, folder, config), PackedMixture()
    graphs: list[bool] = []
    engine.chunks[-1].register_forward_hook(lambda *args: graphs.append(args[-1].requires_grad))
    engine.evaluate(
        micro_batches(mixture, 0, config, mesh.place.dp, mesh.device), LossSums(mixture.languages, mesh.device)
    )
    assert graphs
    return any(p.grad is not None for chunk in engine.chunks for p in chunk.parameters()), any(graphs)


@pytest.mark.parametrize("parallel", [{}, {"pp": 2, "virtual_stages": 2}], ids=["one", "pp2-interleaved"])
def test_an_evaluation_keeps_no_graph(tmp_path: Path, parallel: dict[str, Any]) -> None:
    folder, config = write_tiny_model(tmp_path / "model"), tiny_config(parallel=parallel)
    assert set(run_ranks(config.parallel, left_behind, folder, config)) == {(False, False)}
