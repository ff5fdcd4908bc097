"""A global batch holds the same samples in the same order for any number of ranks, and resumes by one integer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.trainer.ranks import FakeMixture, PackedMixture, tiny_config
from trainer.data import document_numbers, micro_batches, mixture_problems, sample_ids
from trainer.loss import NO_TARGET


@pytest.mark.parametrize(("dp", "micro_batch"), [(1, 1), (1, 4), (2, 2), (4, 1), (8, 1)])
def test_batch_order_is_independent_of_the_layout(dp: int, micro_batch: int) -> None:
    config = tiny_config(global_batch=8, micro_batch=micro_batch, parallel={"dp": dp})
    per_rank = [sample_ids(24, config, rank) for rank in range(dp)]
    passes = range(len(per_rank[0]))
    assert [i for m in passes for rank in range(dp) for i in per_rank[rank][m]] == list(range(24, 32))


def test_micro_batches_hold_the_samples_tokens_shifted_by_one() -> None:
    config, mixture = tiny_config(global_batch=4, micro_batch=2, parallel={"dp": 2}), FakeMixture()
    (batch,) = micro_batches(mixture, 4, config, 1, torch.device("cpu"))
    assert batch.inputs.shape == batch.targets.shape == (2, 16)
    for row, index in enumerate((6, 7)):
        assert batch.inputs[row].tolist() == mixture[index].tokens[:-1].tolist()
        assert batch.targets[row].tolist() == mixture[index].tokens[1:].tolist()
        assert batch.sources[row] == mixture[index].source
    assert batch.documents is None


def test_padding_is_no_target_and_the_step_is_divided_by_those_that_are() -> None:
    config, mixture = tiny_config(global_batch=8, micro_batch=2, parallel={"dp": 2}), PackedMixture()
    targets = 0
    for rank in range(2):
        for ids, batch in zip(
            sample_ids(8, config, rank), micro_batches(mixture, 8, config, rank, torch.device("cpu")), strict=True
        ):
            for row, index in enumerate(ids):
                kept = 16 - index % 5
                assert batch.targets[row, :kept].tolist() == mixture[index].tokens[1 : kept + 1].tolist()
                assert set(batch.targets[row, kept:].tolist()) <= {NO_TARGET}
                assert batch.inputs[row].tolist() == mixture[index].tokens[:-1].tolist()
            targets += int((batch.targets != NO_TARGET).sum())
    assert targets == mixture.num_targets(8, 16)


def test_positions_know_their_document() -> None:
    assert document_numbers(np.array([0, 3, 4], np.int32), 6).tolist() == [0, 0, 0, 1, 2, 2]
    config = tiny_config(global_batch=2, micro_batch=2)
    (batch,) = micro_batches(PackedMixture(), 0, config, 0, torch.device("cpu"))
    assert batch.documents is not None
    assert batch.documents.tolist() == [[0] * 16, [0] * 5 + [1] * 11]


def test_a_mixture_that_runs_out_or_has_other_sequences_is_refused() -> None:
    found = mixture_problems(FakeMixture(seq_len=32, num_samples=64), tiny_config(), num_steps=9)
    assert len(found) == 2
    assert "mix again" in found[0]
    assert "need 72 samples, the mixture has 64" in found[1]
    assert "at most 8 steps" in found[1]
    assert mixture_problems(FakeMixture(), tiny_config(), num_steps=8) == []
