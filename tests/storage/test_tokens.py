"""Token files: the bytes Megatron would write, and nothing that is not what it says is read."""

from __future__ import annotations

import json
import uuid
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from storage.artifact import FileEntry
from storage.tokens import TokenFile, TokenWriter, token_dtype
from storage.uri import exists, sha256

DOCUMENTS = [[5, 6, 7, 2], [], [9], list(range(100, 180)), []]


def write(folder: Path | str, documents: list[list[int]], dtype: str = "<u2", prefix: str = "ja/train") -> TokenWriter:
    with TokenWriter(str(folder), prefix, np.dtype(dtype)) as writer:
        for document in documents:
            writer.add_document(document)
    return writer


@pytest.mark.parametrize("name", ["ja", "en", "tiny", "multi_i32"])
def test_bytes_equal_megatrons(shared_data: Path, tmp_path: Path, name: str) -> None:
    oracle = shared_data / "oracles" / "oracle_megatron"
    description = json.loads((oracle / "description.json").read_text())["files"][name]
    sequences = json.loads((oracle / f"{name}.sequences.json").read_text())
    bounds = TokenFile.open(str(oracle / name)).bounds
    with TokenWriter(str(tmp_path), name, np.dtype(description["dtype"])) as writer:
        for first, end in pairwise(bounds):
            parts = sequences[first:end]
            writer.add_document([token for part in parts for token in part], [len(part) for part in parts])
    for suffix, entry in zip(("bin", "idx"), writer.entries, strict=True):
        assert (tmp_path / f"{name}.{suffix}").read_bytes() == (oracle / f"{name}.{suffix}").read_bytes()
        assert entry.sha256 == description["sha256"][suffix]


@pytest.mark.parametrize("name", ["ja", "multi_i32"])
def test_megatrons_files_are_read(shared_data: Path, name: str) -> None:
    oracle = shared_data / "oracles" / "oracle_megatron"
    description = json.loads((oracle / "description.json").read_text())["files"][name]
    sequences = json.loads((oracle / f"{name}.sequences.json").read_text())
    tokens = TokenFile.open(str(oracle / name))
    assert (tokens.num_sequences, tokens.num_documents) == (
        description["sequences"],
        description["documents"],
    )
    assert tokens.num_tokens == description["tokens"]
    assert tokens.lengths.tolist() == [len(sequence) for sequence in sequences]
    for row in range(tokens.num_documents):
        parts = sequences[tokens.bounds[row] : tokens.bounds[row + 1]]
        assert tokens.document(row).tolist() == [token for part in parts for token in part]
    assert tokens.document_lengths.sum() == description["tokens"]


def test_documents_come_back_also_empty_ones(tmp_path: Path) -> None:
    writer = write(tmp_path, DOCUMENTS)
    assert (writer.num_documents, writer.num_tokens) == (5, 85)
    tokens = TokenFile.open(str(tmp_path / "ja/train"))
    assert [tokens.document(row).tolist() for row in range(5)] == DOCUMENTS
    assert tokens.document_lengths.tolist() == [4, 0, 1, 80, 0]
    assert tokens.slice(3, 10, 5).tolist() == [110, 111, 112, 113, 114]
    assert tokens.slice(3, 78).tolist() == [178, 179]
    assert tokens.slice(3, 80).tolist() == []


@pytest.mark.parametrize("wrong", [(5, 0, 1), (-1, 0, 1), (0, 0, 5), (0, 3, 2), (0, -1, 2), (3, 81, 0)])
def test_a_slice_never_reads_the_neighbouring_document(tmp_path: Path, wrong: tuple[int, int, int]) -> None:
    write(tmp_path, DOCUMENTS)
    with pytest.raises(IndexError):
        TokenFile.open(str(tmp_path / "ja/train")).slice(*wrong)


def test_a_file_without_documents_is_a_file(tmp_path: Path) -> None:
    write(tmp_path, [])
    tokens = TokenFile.open(str(tmp_path / "ja/train"))
    assert (tokens.num_documents, tokens.num_tokens, len(tokens.tokens)) == (0, 0, 0)


def test_entries_describe_the_files(tmp_path: Path) -> None:
    writer = write(tmp_path, DOCUMENTS)
    for entry in writer.entries:
        path = tmp_path / entry.path
        assert entry == FileEntry(entry.path, path.stat().st_size, sha256(str(path)))
    assert [entry.path for entry in writer.entries] == ["ja/train.bin", "ja/train.idx"]


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(512, "uint16"), (65_499, "uint16"), (65_500, "int32"), (128_256, "int32")]
)
def test_dtype_follows_megatrons_rule(vocab_size: int, dtype: str) -> None:
    assert token_dtype(vocab_size) == np.dtype(dtype)


@pytest.mark.parametrize("tokens", [[1, 65_536], [-1], np.array([70_000]), np.array([3, -2], np.int32)])
def test_a_token_that_does_not_fit_is_an_error_not_another_token(tmp_path: Path, tokens: list[int]) -> None:
    with (
        pytest.raises(OverflowError, match="does not fit uint16"),
        TokenWriter(str(tmp_path), "a", np.dtype("u2")) as writer,
    ):
        writer.add_document(tokens)
    assert list(tmp_path.iterdir()) == []


def test_nothing_appears_when_the_block_raises(tmp_path: Path) -> None:
    with pytest.raises(OverflowError):
        write(tmp_path, [[1, 2], [3, 65_536]], prefix="a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0]])
def test_copying_equals_writing(tmp_path: Path, keep: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.tokens.COPY_TOKENS", 3)
    write(tmp_path / "part", DOCUMENTS)
    with TokenWriter(str(tmp_path / "copy"), "ja/train", np.dtype("u2")) as writer:
        writer.add_document([1, 2, 3])
        with TokenFile.open(str(tmp_path / "part/ja/train")) as part:
            writer.add_documents(part, np.array(keep, bool))
        writer.add_document([4])
    kept = [document for document, kept in zip(DOCUMENTS, keep, strict=True) if kept]
    expected = write(tmp_path / "direct", [[1, 2, 3], *kept, [4]])
    assert writer.entries == expected.entries


def test_parts_of_another_dtype_are_refused(tmp_path: Path) -> None:
    write(tmp_path, DOCUMENTS)
    part = TokenFile.open(str(tmp_path / "ja/train"))
    with pytest.raises(ValueError, match="uint16"), TokenWriter(str(tmp_path), "b", np.dtype("i4")) as writer:
        writer.add_documents(part, np.ones(5, bool))


def test_damage_is_noticed_when_the_file_is_opened(tmp_path: Path) -> None:
    write(tmp_path, DOCUMENTS)
    index, data = tmp_path / "ja/train.idx", tmp_path / "ja/train.bin"
    whole, tokens = index.read_bytes(), data.read_bytes()
    for damaged, message in [
        (whole[:20], "too few"),
        (whole[:-8], "cut short"),
        (b"NOTMIDIDX" + whole[9:], "not a Megatron token index"),
        (whole[:9] + b"\x02" + whole[10:], "not a Megatron token index"),
        (whole[:17] + b"\x63" + whole[18:], "not a Megatron token index"),
    ]:
        index.write_bytes(damaged)
        with pytest.raises(ValueError, match=message):
            TokenFile.open(str(tmp_path / "ja/train"))
    index.write_bytes(whole)
    data.write_bytes(tokens[:-2])
    with pytest.raises(ValueError, match="168 bytes, its index asks for 170"):
        TokenFile.open(str(tmp_path / "ja/train"))
    data.unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.bin"):
        TokenFile.open(str(tmp_path / "ja/train"))


def test_files_elsewhere_than_on_disk() -> None:
    root = f"memory://{uuid.uuid4().hex}"
    write(root, DOCUMENTS)
    assert exists(f"{root}/ja/train.idx")
    with TokenFile.open(f"{root}/ja/train") as tokens:
        assert [tokens.document(row).tolist() for row in range(5)] == DOCUMENTS


def test_many_at_once_equal_one_by_one(tmp_path: Path) -> None:
    writer = write(tmp_path / "one", DOCUMENTS)
    ids = np.array([7, *(id for document in DOCUMENTS for id in document), 8], np.uint16)
    bounds = 1 + np.cumsum([0, *map(len, DOCUMENTS)])  # as of a slice of a larger array
    with TokenWriter(str(tmp_path / "many"), "ja/train", np.dtype("u2")) as many:
        many.add_many(ids, bounds[:3])
        many.add_many(ids.astype(np.int32), bounds[2:])
        many.add_many(ids[:0], np.zeros(1, np.int64))
    assert many.entries == writer.entries
    assert (many.num_documents, many.num_tokens) == (5, 85)


def test_an_index_longer_than_what_is_held_in_memory_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [[number] * (number % 4) for number in range(50)]
    expected = write(tmp_path / "a", documents)
    keep = np.arange(50) % 3 > 0
    copied = write(tmp_path / "b", [document for document, kept in zip(documents, keep, strict=True) if kept])
    monkeypatch.setattr("storage.tokens._INDEX_ROWS", 7)
    monkeypatch.setattr("storage.tokens._IN_MEMORY", 16)
    assert write(tmp_path / "c", documents).entries == expected.entries
    with TokenFile.open(str(tmp_path / "c/ja/train")) as tokens:
        assert tokens.starts_of(0, 50).tolist() == tokens.document_starts.tolist()
        assert tokens.starts_of(11, 30).tolist() == tokens.document_starts[11:31].tolist()
        with TokenWriter(str(tmp_path / "d"), "ja/train", np.dtype("u2")) as writer:
            writer.add_documents(tokens, keep)
    assert writer.entries == copied.entries


def test_a_document_too_long_for_the_index_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.tokens._MAX_LENGTH", 3)
    with (
        pytest.raises(OverflowError, match="a document of 4 tokens"),
        TokenWriter(str(tmp_path), "a", np.dtype("u2")) as writer,
    ):
        writer.add_many(np.arange(6, dtype=np.uint16), np.array([0, 2, 6]))


def test_megatron_reads_what_is_written(tmp_path: Path) -> None:
    """Where megatron-core is installed: its own reader finds the same documents."""
    indexed_dataset = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    for dtype, largest in (("<u2", 65_499), ("<i4", 128_255)):
        documents = [*DOCUMENTS, [0, largest, 1], *([number] * (number % 9) for number in range(40))]
        write(tmp_path / dtype[1:], documents, dtype)
        dataset = indexed_dataset.IndexedDataset(str(tmp_path / dtype[1:] / "ja/train"))
        assert [dataset[row].tolist() for row in range(len(dataset))] == documents
        assert dataset.document_indices.tolist() == list(range(len(documents) + 1))
        assert dataset.sequence_lengths.tolist() == [len(document) for document in documents]
        assert dataset[3].dtype == np.dtype(dtype)
        assert dataset.get(3, offset=10, length=5).tolist() == [110, 111, 112, 113, 114]
