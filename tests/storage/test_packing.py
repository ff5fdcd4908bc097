"""Best-fit packing: against a plain implementation, nothing lost, nothing twice, and what readers see of it."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from storage.mixture import Mixture
from storage.mixture_plan import Attention, Packing
from storage.mixture_trace import samples_reading
from storage.packing import cut, num_sequences, packed_order, packing_facts, whole_documents
from tests.storage.test_mixture import SEQ_LEN, SOURCES, documents, write_mixture
from tests.storage.test_mixture_trace import ODD, by_tracing
from tests.storage.token_sources import Source


def naive_best_fit(sizes: list[int], seq_len: int) -> list[list[int]]:
    """Longest first, each into the fullest sequence that still holds it."""
    sequences: list[list[int]] = []
    for size in sorted(sizes, reverse=True):
        holding = [sequence for sequence in sequences if sum(sequence) + size <= seq_len]
        if holding:
            max(holding, key=sum).append(size)
        else:
            sequences.append([size])
    return sequences


@pytest.mark.parametrize("seed", range(30))
def test_sequences_are_those_of_a_plain_best_fit(seed: int) -> None:
    random = np.random.default_rng(seed)
    seq_len = int(random.integers(1, 70))
    lengths = random.integers(0, [20, 90, 300][seed % 3], random.integers(1, 80))
    lengths[0] = 5
    order = packed_order([whole_documents(lengths)], 1, seq_len, seed)
    sizes = [to - from_ for _, from_, to in cut(whole_documents(lengths), seq_len).tolist()]
    naive = naive_best_fit(sizes, seq_len)
    assert order.num_samples == len(naive) == num_sequences(lengths, seq_len)
    # Between sequences with the same room any may be taken, so what they hold in all is compared.
    assert sorted(order.targets.tolist()) == sorted(map(sum, naive))


@pytest.mark.parametrize("seed", range(10))
def test_an_epoch_holds_every_token_once(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths, seq_len = random.integers(0, 100, 60), int(random.integers(1, 50))
    order = packed_order([whole_documents(lengths)] * 3, 2 * num_sequences(lengths, seq_len) + 1, seq_len, seed)
    epoch = order.num_samples // 3
    for first in (0, epoch, 2 * epoch):
        stretches = order.shuffle_index[first : first + epoch]
        read: Counter[tuple[int, int]] = Counter()
        for stretch in stretches:
            pieces = order.pieces[order.bounds[stretch] : order.bounds[stretch + 1]].tolist()
            assert sum(to - from_ for _, from_, to in pieces) == order.targets[stretch] <= seq_len
            # The rest of a document is read after its own last token: it comes first.
            begins = [from_ == 0 for _, from_, _ in pieces]
            assert begins == sorted(begins)
            read.update((row, token) for row, from_, to in pieces for token in range(from_, to))
        assert read == Counter((row, token) for row, length in enumerate(lengths) for token in range(length))


def test_epochs_are_packed_and_shuffled_anew() -> None:
    lengths = np.full(64, 5)
    order = packed_order([whole_documents(lengths)] * 2, 60, 11, seed=1)
    first, second = (order.pieces[order.bounds[at] : order.bounds[at + 32], 0].tolist() for at in (0, 32))
    assert sorted(first) == sorted(second) == list(range(64))
    assert first != second
    assert order.shuffle_index[:32].tolist() != (order.shuffle_index[32:] - 32).tolist()
    again = packed_order([whole_documents(lengths)] * 2, 60, 11, seed=1)
    assert (again.pieces == order.pieces).all()
    assert (packed_order([whole_documents(lengths)], 1, 11, seed=1, phase=1).pieces != order.pieces[:64]).any()


def test_the_order_is_known() -> None:
    """When it changes, ORDER_VERSION must rise."""
    lengths = np.arange(1, 200) % 37
    order = packed_order([whole_documents(lengths)] * 2, num_sequences(lengths, 16) + 1, 16, seed=1234)
    arrays = (order.pieces, order.bounds, order.shuffle_index, order.targets)
    assert [array.dtype.str for array in arrays] == ["<i4", "<i8", "<u4", "<i4"]
    assert hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16] == "2dc5dda49b978f71"


def test_facts_of_both_ways_of_packing() -> None:
    facts = packing_facts(np.array([8, 8, 4, 4, 12]), 8)
    assert (facts["best_fit"].padding, facts["best_fit"].truncated) == (pytest.approx(1 - 36 / 40), 0.2)
    # The stream's first token is no target, so samples end after 9, 17, 25 and 33 tokens: in three of the documents.
    assert (facts["concatenate"].padding, facts["concatenate"].truncated) == (0, 0.6)
    assert packing_facts(np.array([0, 0]), 8)["best_fit"].padding == 0


def test_fewer_documents_are_cut_than_in_a_stream() -> None:
    lengths = np.random.default_rng(0).lognormal(5, 1, 5000).astype(np.int64) + 1
    facts = packing_facts(lengths, 1024)
    assert facts["best_fit"].truncated < 0.05 < facts["concatenate"].truncated
    assert facts["best_fit"].padding < 0.01


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> str:
    long = Source("corpus", "ja", [*SOURCES[0].train, list(range(5000, 5045))], SOURCES[0].validation)
    root = str(tmp_path_factory.mktemp("packed"))
    return write_mixture(root, [long, SOURCES[1]], packing="best_fit", attention="within", samples={"train": 300})


def test_what_a_reader_finds_in_a_packed_sample(packed: str) -> None:
    known = {tuple(document): number for number, document in enumerate(SOURCES[0].train)}
    whole = 0
    with Mixture.open(packed) as mixture:
        assert (mixture.packing, mixture.attention, mixture.seq_len) == ("best_fit", "within", SEQ_LEN)
        for number, sample in enumerate(mixture):
            assert sample.tokens.shape == (SEQ_LEN + 1,)
            assert sample.starts.dtype == np.int32
            assert sample.starts[0] == 0
            assert (np.diff(sample.starts) > 0).all()
            end = SEQ_LEN + 1 - sample.padding
            assert sample.starts[-1] < end
            assert mixture.num_targets(number, number + 1) == end - 1
            closing = mixture._readers[sample.source].tokens.tokens[-1]
            assert (sample.tokens[end:] == closing).all()
            pieces = [sample.tokens[a:b] for a, b in pairwise([*sample.starts.tolist(), end])]
            for piece in pieces:
                assert (np.diff(piece) == 1).all()  # each lies within one document
            whole += sum(tuple(piece.tolist()) in known for piece in pieces)
        assert mixture.num_targets(0, 300) == sum(mixture.num_targets(number, number + 1) for number in range(300))
        assert mixture.num_targets(5, 5) == 0
        with pytest.raises(IndexError, match="sample 300"):
            mixture.num_targets(290, 301)
    assert whole > 60


def test_the_rest_of_a_document_is_read_after_its_own_token(packed: str) -> None:
    found = 0
    with Mixture.open(packed) as mixture:
        for sample in mixture:
            if 5000 <= sample.tokens[1] < 5045:
                found += 1
                begins = sample.tokens[1] == 5000
                assert sample.tokens[0] == (5044 if begins else sample.tokens[1] - 1)  # 5044 ends the source's file
                assert (1 in sample.starts) == begins
    assert found >= 6


def test_a_packed_mixture_is_traced_back(tmp_path: Path) -> None:
    uri = write_mixture(str(tmp_path), ODD, packing="best_fit", samples={"train": 150})
    for source in ODD:
        rows = np.arange(len(source.train))
        lengths = np.array([len(document) for document in source.train])
        reads = samples_reading(uri, "train", source.name, rows, lengths)
        found = sorted(zip(reads.samples.tolist(), reads.rows.tolist(), reads.tokens.tolist(), strict=True))
        assert found == by_tracing(uri, "train", source.name, set(rows.tolist()))


def test_traced_documents_are_those_that_are_read(packed: str) -> None:
    with Mixture.open(packed) as mixture:
        for number in range(40):
            tokens, trace = mixture[number].tokens.tolist(), mixture.trace(number)
            read = sum(span.length for span in trace.spans)
            targets = mixture.num_targets(number, number + 1)
            assert read in (targets, targets + 1)
            assert len(mixture.document_ids(trace)) == len(trace.spans)
            assert tokens[0] in range(1000, 60_000)


def test_packing_and_attention_are_in_the_digest(tmp_path: Path) -> None:
    packings: tuple[Packing, Packing] = ("concatenate", "best_fit")
    attentions: tuple[Attention, Attention] = ("across", "within")
    digests = {
        Mixture.open(
            write_mixture(str(tmp_path / f"{packing}-{attention}"), packing=packing, attention=attention)
        ).digest
        for packing in packings
        for attention in attentions
    }
    assert len(digests) == 4


def test_starts_of_a_stream_are_where_its_documents_begin(tmp_path: Path) -> None:
    train = documents(1000, 60)
    firsts = {document[0] for document in train}
    with Mixture.open(
        write_mixture(str(tmp_path), [Source("only", "ja", train)], [1], samples={"train": 40})
    ) as mixture:
        for sample in mixture:
            begins = [at for at, token in enumerate(sample.tokens.tolist()) if token in firsts or at == 0]
            assert sample.starts.tolist() == begins
            assert sample.padding == 0
        assert mixture.num_targets(3, 10) == 7 * SEQ_LEN
