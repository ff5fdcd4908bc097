"""The mixture as readers see it: Megatron's samples, traceable, and never a held-out token in training."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from storage.mixture import Mixture
from storage.mixture_plan import Attention, MixturePlan, Packing, read_plan, relative_uri, resolve_uri
from storage.mixture_writer import write_plan, write_split
from storage.token_catalog import read_catalog
from storage.uri import join, sha256
from tests.storage.token_sources import Source, document_id_of, write_sources

SEQ_LEN = 8


def documents(first: int, num: int, seed: int = 0, longest: int = 20) -> list[list[int]]:
    """Documents in which every token is another one, from `first` on."""
    lengths = np.random.default_rng(seed).integers(1, longest, num)
    ends = first + np.cumsum(lengths)
    return [list(range(int(end - length), int(end))) for end, length in zip(ends, lengths, strict=True)]


SOURCES = [
    Source("corpus", "ja", documents(1000, 60), documents(40_000, 12, seed=1)),
    Source("web-en", "en", documents(20_000, 10), documents(50_000, 6, seed=2)),
]


def write_mixture(
    root: str,
    sources: Sequence[Source] = SOURCES,
    weights: Sequence[float] = (0.9, 0.1),
    *,
    samples: dict[str, int] | None = None,
    seq_len: int = SEQ_LEN,
    seed: int = 1234,
    name: str = "m",
    dtype: str = "<u2",
    packing: Packing = "concatenate",
    attention: Attention = "across",
) -> str:
    """Token files and a mixture of them below one root; the mixture's URI."""
    binarized, out = join(root, "binarize", "b-1"), join(root, "mix", name)
    catalog = write_sources(binarized, sources, dtype)
    plan = MixturePlan(seq_len, seed, {}, packing, attention)
    for split, num_samples in (samples or {"train": 100, "validation": 10}).items():
        plan.splits[split], _ = write_split(out, split, plan, binarized, catalog, weights, num_samples=num_samples)
    write_plan(out, plan)
    return out


def oracle_sources(shared_data: Path, names: Sequence[str], num_train: Sequence[int]) -> list[Source]:
    """The oracle's documents, split as it split them: the first `num_train` of each for training."""
    folder = shared_data / "oracles" / "oracle_megatron"
    found = []
    for name, num in zip(names, num_train, strict=True):
        sequences = json.loads((folder / f"{name}.sequences.json").read_text())
        found.append(Source(name, "ja" if name == "ja" else "en", sequences[:num], sequences[num:]))
    return found


def oracle_tokens(shared_data: Path, name: str) -> np.ndarray:
    return np.load(shared_data / "oracles" / "oracle_megatron" / f"{name}.npy")


def test_samples_equal_megatrons_blend(shared_data: Path, tmp_path: Path) -> None:
    sources = oracle_sources(shared_data, ["ja", "en"], [114, 35])
    uri = write_mixture(str(tmp_path), sources, [9, 1], samples={"train": 500, "validation": 20}, seq_len=32)
    for split, oracle in [
        ("train", "blend_9_1.train.tokens_first64"),
        ("validation", "blend_9_1.valid.tokens_first20"),
    ]:
        expected = oracle_tokens(shared_data, oracle)
        mixture = Mixture.open(uri, split)
        np.testing.assert_array_equal([mixture[i].tokens for i in range(len(expected))], expected)


def test_samples_equal_megatrons_blend_of_three_sources_over_many_epochs(shared_data: Path, tmp_path: Path) -> None:
    sources = oracle_sources(shared_data, ["ja", "en", "tiny"], [120, 37, 3])
    weights = [0.8832746, 0.0167254, 0.1]
    uri = write_mixture(str(tmp_path), sources, weights, samples={"train": 1000}, seq_len=32)
    mixture = Mixture.open(uri)
    expected = oracle_tokens(shared_data, "blend_swallow7.train.tokens_first64")
    np.testing.assert_array_equal([mixture[i].tokens for i in range(64)], expected)
    assert [source.samples for source in mixture.plan.sources] == [883, 17, 100]
    for number, source in enumerate(("src0", "src1", "src2")):
        expected = oracle_tokens(shared_data, f"blend_swallow7.train.{source}.tokens_first{34 if number == 1 else 64}")
        mine = [sample.tokens for sample in (mixture[i] for i in range(1000)) if sample.source == number]
        np.testing.assert_array_equal(mine[:64], expected[: len(mine)])


def test_what_a_reader_finds(tmp_path: Path) -> None:
    mixture = Mixture.open(write_mixture(str(tmp_path)))
    assert (mixture.seq_len, mixture.num_samples, len(mixture)) == (SEQ_LEN, 100, 100)
    assert (mixture.sources, mixture.languages) == (["corpus", "web-en"], ["ja", "en"])
    sample = mixture[0]
    assert (sample.tokens.shape, sample.tokens.dtype) == ((SEQ_LEN + 1,), np.int64)
    assert np.bincount([mixture[i].source for i in range(100)]).tolist() == [90, 10]
    assert sum(1 for _ in mixture) == 100  # iteration ends by itself


@pytest.mark.parametrize("i", [-1, 100, 10**9])
def test_there_is_no_sample_beyond_the_plan(tmp_path: Path, i: int) -> None:
    mixture = Mixture.open(write_mixture(str(tmp_path)))
    with pytest.raises(IndexError, match="of a mixture of 100"):
        mixture[i]


def test_samples_do_not_depend_on_what_was_read_before(tmp_path: Path) -> None:
    uri = write_mixture(str(tmp_path))
    forwards, backwards = Mixture.open(uri), Mixture.open(uri)
    read = [forwards[i].tokens.tolist() for i in range(100)]
    assert [backwards[i].tokens.tolist() for i in reversed(range(100))] == read[::-1]


def test_training_never_reads_a_held_out_token(tmp_path: Path) -> None:
    uri = write_mixture(str(tmp_path), samples={"train": 400, "validation": 40})
    trained = {token for sample in Mixture.open(uri) for token in sample.tokens.tolist()}
    validated = {token for sample in Mixture.open(uri, "validation") for token in sample.tokens.tolist()}
    held_out = {token for source in SOURCES for document in source.validation for token in document}
    assert validated <= held_out
    assert {token // 10_000 for token in validated} == {4, 5}  # of both sources
    assert len(trained) > 500
    assert not trained & held_out


def test_a_sample_is_traced_to_its_documents(tmp_path: Path) -> None:
    uri = write_mixture(str(tmp_path))
    mixture = Mixture.open(uri)
    for i in range(100):
        trace = mixture.trace(i)
        source = SOURCES[trace.source]
        spans = [source.train[span.row][span.offset : span.offset + span.length] for span in trace.spans]
        assert [token for span in spans for token in span] == mixture[i].tokens.tolist()
        assert mixture.document_ids(trace) == [document_id_of(source.name, "train", span.row) for span in trace.spans]


@pytest.mark.parametrize(
    "train",
    [
        [list(range(10, 400))],  # one document, longer than any sample
        [[3]],  # shorter: read over and over
        [[1, 2], [], [3], [4, 5, 6], []],  # with empty ones
    ],
)
def test_awkward_sources(tmp_path: Path, train: list[list[int]]) -> None:
    uri = write_mixture(str(tmp_path), [Source("only", "ja", train)], [1], samples={"train": 30})
    mixture = Mixture.open(uri)
    known = {token for document in train for token in document}
    for i in range(30):
        assert set(mixture[i].tokens.tolist()) <= known
        assert all(span.length for span in mixture.trace(i).spans)
    assert mixture.plan.sources[0].epochs == pytest.approx(30 * SEQ_LEN / sum(map(len, train)), abs=1e-6)


def test_ids_beyond_uint16(tmp_path: Path) -> None:
    train = [[200_000 + number, 100_000, 7] for number in range(30)]
    mixture = Mixture.open(
        write_mixture(str(tmp_path), [Source("only", "ja", train)], [1], samples={"train": 9}, dtype="<i4")
    )
    assert max(max(mixture[i].tokens) for i in range(9)) > 200_000


def test_a_source_without_tokens_is_named(tmp_path: Path) -> None:
    sources = [SOURCES[0], replace(SOURCES[1], validation=[])]
    with pytest.raises(ValueError, match="source web-en, validation: 0 documents with no token"):
        write_mixture(str(tmp_path), sources)


def test_a_moved_root_still_opens(tmp_path: Path) -> None:
    write_mixture(str(tmp_path / "here" / "runs"))
    shutil.move(tmp_path / "here" / "runs", tmp_path / "elsewhere")
    mixture = Mixture.open(str(tmp_path / "elsewhere" / "mix" / "m"))
    assert len(mixture[3].tokens) == SEQ_LEN + 1
    assert str(tmp_path) not in (tmp_path / "elsewhere/mix/m/mixture.json").read_text()


def test_a_mixture_elsewhere_than_on_disk(tmp_path: Path) -> None:
    there = Mixture.open(write_mixture(f"memory://{uuid.uuid4().hex}"))
    here = Mixture.open(write_mixture(str(tmp_path)))
    assert there.digest == here.digest
    assert [there[i].tokens.tolist() for i in range(100)] == [here[i].tokens.tolist() for i in range(100)]
    assert there.document_ids(there.trace(5)) == here.document_ids(here.trace(5))
    there.close()


def test_written_twice_it_is_the_same_bytes(tmp_path: Path) -> None:
    once, again = (Path(write_mixture(str(tmp_path / name))) for name in ("a", "b"))
    files = sorted(path.relative_to(once) for path in once.rglob("*.*"))
    assert len(files) == 2 * (2 + 2 * 3) + 1
    for file in files:
        assert sha256(str(once / file)) == sha256(str(again / file)), file


def test_the_digest_changes_exactly_when_the_order_can(tmp_path: Path) -> None:
    def digest(name: str, **changes: object) -> str:
        return Mixture.open(write_mixture(str(tmp_path / name), **changes)).digest  # type: ignore[arg-type]

    base = digest("base")
    renamed = [replace(SOURCES[0], name="kitaguni", language="xx"), SOURCES[1]]
    other_text = [
        replace(SOURCES[0], train=[[1, *document[1:]] for document in SOURCES[0].train]),
        SOURCES[1],
    ]
    other_held_out = [replace(SOURCES[0], validation=documents(60_000, 5)), SOURCES[1]]
    same = {
        "name": digest("name", sources=renamed),
        "weights-scaled": digest("scaled", weights=(9, 1)),
        "validation": digest("validation", sources=other_held_out),
        "no-validation": digest("no-validation", samples={"train": 100}),
        "place": digest("place/deeper"),
    }
    different = {
        "seed": digest("seed", seed=1),
        "weights": digest("weights", weights=(0.8, 0.2)),
        "samples": digest("samples", samples={"train": 99, "validation": 10}),
        "seq_len": digest("seq-len", seq_len=9),
        "text": digest("text", sources=other_text),
        "order-of-sources": digest("sources", sources=SOURCES[::-1], weights=(0.1, 0.9)),
    }
    assert {key for key, value in same.items() if value != base} == set()
    assert {key for key, value in different.items() if value == base} == set()
    assert len(set(different.values())) == len(different)


def test_a_plan_edited_by_hand_is_refused(tmp_path: Path) -> None:
    uri = write_mixture(str(tmp_path))
    plan = Path(uri) / "mixture.json"
    plan.write_text(plan.read_text().replace('"num_samples": 100', '"num_samples": 90'))
    with pytest.raises(ValueError, match="does not agree with its digest"):
        Mixture.open(uri)


def test_token_files_made_anew_are_refused(tmp_path: Path) -> None:
    uri = write_mixture(str(tmp_path))
    write_sources(str(tmp_path / "binarize" / "b-1"), [replace(SOURCES[0], train=SOURCES[0].train[:-1]), SOURCES[1]])
    with pytest.raises(ValueError, match="the token files were changed; run binarize and mix again"):
        Mixture.open(uri)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    uri = write_mixture(str(tmp_path), samples={"train": 10})
    with pytest.raises(ValueError, match=r"no split 'validation', only \['train'\]; set mix.validation_tokens above 0"):
        Mixture.open(uri, "validation")
    with pytest.raises(FileNotFoundError):
        Mixture.open(str(tmp_path / "mix" / "nowhere"))
    shutil.rmtree(tmp_path / "binarize")
    with pytest.raises(FileNotFoundError, match=r"corpus/train\.idx"):
        Mixture.open(uri)


def test_the_plan_and_the_catalog_come_back(tmp_path: Path) -> None:
    uri = write_mixture(str(tmp_path))
    plan = read_plan(uri)
    assert plan.splits["train"] == Mixture.open(uri).plan
    train = plan.splits["train"].sources[1]
    assert (train.tokens, train.rows) == (
        "../../binarize/b-1/web-en/train",
        "../../binarize/b-1/web-en/train.documents.parquet",
    )
    described = read_catalog(str(tmp_path / "binarize/b-1"))[1].splits["train"]
    assert (train.documents, train.num_tokens) == (described.documents, described.tokens)
    assert (train.bin_sha256, train.idx_sha256) == (described.bin_sha256, described.idx_sha256)
    assert train.epochs == pytest.approx(10 * SEQ_LEN / described.tokens, abs=1e-6)


@pytest.mark.parametrize(
    ("folder", "target", "relative"),
    [
        ("runs/mix/m", "runs/binarize/b/ja/train", "../../binarize/b/ja/train"),
        ("s3://bucket/p/mix/m", "s3://bucket/p/binarize/b/ja/train", "../../binarize/b/ja/train"),
        ("s3://bucket/p/mix/m", "s3://other/p/b/ja/train", "s3://other/p/b/ja/train"),
        ("s3://bucket/mix/m", "memory://bucket/b/train", "memory://bucket/b/train"),
        ("/data/mix/m", "/data/mix/b/train", "../b/train"),
    ],
)
def test_relative_uris(folder: str, target: str, relative: str) -> None:
    assert relative_uri(folder, target) == relative
    assert resolve_uri(folder, relative) == target


def test_a_local_mixture_of_remote_tokens_names_them_in_full() -> None:
    assert relative_uri("runs/mix/m", "s3://bucket/b/train") == "s3://bucket/b/train"
    assert resolve_uri("runs/mix/m", "s3://bucket/b/train") == "s3://bucket/b/train"
