"""The order of samples: Megatron's arrays, index for index, and what they promise."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.blend import blend, largest_deviation, normalised, samples_to_build
from storage.sample_order import source_order

ORDERS = [
    "ja_1epoch.train",
    "ja_multi.train",
    "ja_multi.valid",
    "en_multi_seed7.train",
    "tiny_many_epochs.train",
    "blend_9_1.train.src0",
    "blend_9_1.train.src1",
    "blend_9_1.valid.src0",
    "blend_9_1.valid.src1",
    "blend_swallow7.train.src0",
    "blend_swallow7.train.src1",
    "blend_swallow7.train.src2",
]
BLENDS = ["blend_9_1.train", "blend_9_1.valid", "blend_swallow7.train"]
BARE_BLENDS = ["greedy_w_9_1", "greedy_w_8", "greedy_w_equal3", "greedy_w_tiny"]
# Swallow's: five crawl splits, Japanese Wikipedia, RefinedWeb, arXiv; in tokens.
SWALLOW = [10605477142, 10464907226, 12465407213, 16446568076, 38345096470, 1672543873, 5e9, 5e9]


class Oracle:
    """Arrays that megatron-core computed."""

    def __init__(self, shared_data: Path) -> None:
        self.folder = shared_data / "oracles" / "oracle_megatron"
        cases = json.loads((self.folder / "description.json").read_text())["cases"]
        self.cases: dict[str, dict[str, Any]] = {case["case"]: case for case in cases}

    def array(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy")

    def lengths(self, source: str) -> np.ndarray:
        sequences = json.loads((self.folder / f"{source}.sequences.json").read_text())
        return np.array([len(sequence) for sequence in sequences], np.int32)


@pytest.fixture(scope="module")
def oracle(shared_data: Path) -> Oracle:
    return Oracle(shared_data)


@pytest.mark.parametrize("name", ORDERS)
def test_source_order_equals_megatrons(oracle: Oracle, name: str) -> None:
    case = oracle.cases[name]
    whole = oracle.cases[case["parent"]] if "parent" in case else case
    number = int(name[-1]) if "parent" in case else 0
    source = whole["sources"][number] if "parent" in case else case["source"]
    asked = whole["sizes"][0 if whole["split_name"] == "train" else 1]
    if "parent" in case:
        asked = samples_to_build(asked, normalised(whole["weights"])[number])
    first, last, _ = case["indexed_indices"]  # Megatron's split takes a run of the file's documents
    lengths = oracle.lengths(source)[first : last + 1]
    order = source_order(lengths, asked, whole["seq_length"], whole["seed"])
    for array, kind in [
        (order.document_index + np.int32(first), "document_index"),
        (order.sample_index, "sample_index"),
        (order.shuffle_index, "shuffle_index"),
    ]:
        expected = oracle.array(f"{name}.{kind}")
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("name", BLENDS + BARE_BLENDS)
def test_blend_equals_megatrons(oracle: Oracle, name: str) -> None:
    case = oracle.cases[name]
    weights = case["weights"] if name in BARE_BLENDS else normalised(case["weights"])
    sources, samples = blend(weights, case["size"])
    for array, kind in [(sources, "dataset_index"), (samples, "dataset_sample_index")]:
        expected = oracle.array(f"{name}.{kind}")
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


def test_the_order_is_known() -> None:
    """For where Megatron's arrays are not at hand. When the order changes, ORDER_VERSION must rise."""
    order = source_order(np.arange(1, 200, dtype=np.int32) % 37, 3000, 16, seed=1234)
    arrays = [
        order.document_index,
        order.sample_index,
        order.shuffle_index,
        *blend(normalised(SWALLOW), 5000),
    ]
    assert [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in arrays] == [
        "0fc118458c5c4cc3",
        "1b6e16c7cb203aa0",
        "c01c10d3b96fc730",
        "4b425fdf7fd07402",
        "f8ad8bd822599b57",
    ]


def naive_sample_index(lengths: list[int], document_index: list[int], num_samples: int, seq_len: int) -> list:
    """Walks the documents token by token."""
    stream = [(at, offset) for at, row in enumerate(document_index) for offset in range(lengths[row])]
    return [list(stream[number * seq_len]) for number in range(num_samples + 1)]


@pytest.mark.parametrize("seed", range(12))
def test_samples_are_cut_where_a_walk_over_the_tokens_cuts_them(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, [3, 40, 400][seed % 3], size=random.integers(1, 30)).astype(np.int32)
    if len(lengths) > 3:
        lengths[random.integers(len(lengths))] = 0  # an empty document is stepped over
    seq_len = int(random.integers(1, 50))
    order = source_order(lengths, int(random.integers(0, 60)), seq_len, seed)
    expected = naive_sample_index(lengths.tolist(), order.document_index.tolist(), order.num_samples, seq_len)
    assert order.sample_index[1:].tolist() == expected[1:]
    assert order.sample_index[0].tolist() == [0, 0]
    assert sorted(order.shuffle_index.tolist()) == list(range(order.num_samples))
    epochs = np.bincount(order.document_index, minlength=len(lengths))
    assert (epochs == order.num_epochs).all()


def test_one_document_longer_than_all_samples_together() -> None:
    order = source_order(np.array([10_001], np.int32), 10, 100, seed=3)
    assert (order.num_samples, order.num_epochs) == (100, 1)
    assert order.sample_index[:, 0].tolist() == [0] * 101
    assert order.sample_index[:, 1].tolist() == list(range(0, 10_001, 100))


def test_documents_shorter_than_a_sample_are_joined() -> None:
    order = source_order(np.full(50, 3, np.int32), 14, 10, seed=3)
    assert order.num_samples == 14
    assert (np.diff(order.sample_index[:, 0]) >= 3).all()


def test_a_last_epoch_needed_in_small_part_is_read_after_the_others() -> None:
    lengths = np.full(100, 11, np.int32)  # 109 samples an epoch
    order = source_order(lengths, 150, 10, seed=5)
    in_first = order.document_index[:100]
    assert sorted(in_first.tolist()) == list(range(100))
    assert set(order.shuffle_index[:109].tolist()) == set(range(109))


def test_a_last_epoch_needed_nearly_whole_is_shuffled_with_the_others() -> None:
    order = source_order(np.full(100, 11, np.int32), 210, 10, seed=5)
    assert sorted(order.document_index[:100].tolist()) != list(range(100))
    assert set(order.shuffle_index[:109].tolist()) != set(range(109))


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_a_source_without_tokens_is_an_error_not_an_endless_loop(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="no token cannot fill 0 samples of 8"):
        source_order(np.array(lengths, np.int32), 0, 8, seed=1)


def test_seed_and_only_the_seed_changes_the_order() -> None:
    lengths = np.arange(1, 60, dtype=np.int32)
    first, again, other = (source_order(lengths, 40, 16, seed) for seed in (1, 1, 2))
    assert (first.document_index == again.document_index).all()
    assert (first.shuffle_index == again.shuffle_index).all()
    assert (first.document_index != other.document_index).any()


def test_every_prefix_of_a_blend_is_the_blend_of_that_size() -> None:
    weights = normalised(SWALLOW)
    whole, _ = blend(weights, 3000)
    for size in (1, 2, 9, 1234):
        assert (blend(weights, size)[0] == whole[:size]).all()


@pytest.mark.parametrize("weights", [[9, 1], [0.9, 0.1], SWALLOW, [1], [1, 1, 1], [0.9999, 0.0001], [5e9, 5e9]])
def test_shares_are_met_within_a_sample_and_a_bit_at_every_position(weights: list[float]) -> None:
    shares = normalised(weights)
    sources, samples = blend(shares, 5000)
    assert largest_deviation(sources, shares) < 1.25
    taken = np.bincount(sources, minlength=len(shares))
    assert (np.abs(taken - np.array(shares) * 5000) <= 1).all()
    for source in range(len(shares)):
        assert samples[sources == source].tolist() == list(range(taken[source]))


@pytest.mark.parametrize("seed", range(40))
def test_no_source_is_asked_for_more_than_it_builds(seed: int) -> None:
    random = np.random.default_rng(seed)
    weights = normalised(list(random.random(random.integers(1, 40)) ** random.integers(1, 12) + 1e-12))
    num_samples = int(random.integers(1, 300))
    taken = np.bincount(blend(weights, num_samples)[0], minlength=len(weights))
    built = [samples_to_build(num_samples, weight) for weight in weights]
    assert (taken <= built).all()


def test_weights_need_not_add_up_to_one() -> None:
    assert normalised([9, 1]) == normalised([0.9, 0.1]) == [0.9, 0.1]
    assert normalised([90e9, 10e9]) == [0.9, 0.1]


@pytest.mark.parametrize("weights", [[], [1, 0], [1, -1], [float("nan")], [float("inf"), 1]])
def test_weights_that_are_no_shares(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be positive"):
        normalised(weights)
