"""Folders go in and out of safetensors unchanged, whole or in shards; a folder that does not fit is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.trainer.ranks import write_tiny_model
from trainer.config import ParallelConfig
from trainer.hf import copy_other_files, open_weights, stream_weights, tensors_digest, write_weights
from trainer.layout import coordinates
from trainer.llama_config import read_llama_config
from trainer.sharding import rank_blocks


def test_shards_hold_what_one_file_holds(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "one", dtype="bfloat16")
    with open_weights(folder) as weights:
        before = {name: weights[name] for name in weights}
    files = write_weights(tmp_path / "many", before, max_shard_bytes=20_000)
    (tmp_path / "many/config.json").write_text((folder / "config.json").read_text())
    assert files == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    with open_weights(tmp_path / "many") as weights:
        after = {name: weights[name] for name in weights}
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_transformers_reads_our_shards(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = write_tiny_model(tmp_path / "one")
    with open_weights(folder) as weights:
        tensors = {name: weights[name] for name in weights}
    write_weights(tmp_path / "many", tensors, max_shard_bytes=20_000)
    (tmp_path / "many/config.json").write_text((folder / "config.json").read_text())
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "many", dtype=torch.float32).state_dict()
    assert all(torch.equal(theirs[name], tensors[name]) for name in tensors)


def test_a_tied_head_is_one_tensor(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    with open_weights(folder) as weights:
        tensors = {name: weights[name] for name in weights}
    write_weights(folder, tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
    with open_weights(folder) as weights:
        assert "lm_head.weight" not in weights


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"vocab_size": 96', '"vocab_size": 104'))
    with (
        pytest.raises(ValueError, match=r"embed_tokens.weight has shape \[96, 32\], expected \[104, 32\]"),
        open_weights(folder),
    ):
        pass


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors only"), open_weights(folder):
        pass


def test_only_weights_and_config_stay_behind_when_files_are_copied(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "in")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "generation_config.json").write_text("{}")
    assert copy_other_files(folder, tmp_path / "out") == ["generation_config.json", "tokenizer.json"]


def test_digest_sees_name_dtype_shape_and_bytes() -> None:
    ones = torch.ones(2, 3)
    variants = [("a", ones), ("b", ones), ("a", ones.view(3, 2)), ("a", ones.bfloat16()), ("a", ones * 2)]
    assert len({tensors_digest([variant]) for variant in variants}) == 5
    assert tensors_digest([("a", ones)]) == tensors_digest([("a", ones.clone())])


def test_ranks_read_their_rectangles_and_nothing_else(tmp_path: Path) -> None:
    """Rows, columns, shared key-value heads, a vocabulary that leaves the last ranks nothing."""
    folder = write_tiny_model(tmp_path, vocab_size=9, num_attention_heads=8, tie_word_embeddings=False)
    model, parallel = read_llama_config(folder), ParallelConfig(tp=8)
    with open_weights(folder) as weights:
        for rank in range(8):
            for name, block in rank_blocks(model, parallel, coordinates(rank, parallel)).items():
                part = tuple(slice(at, at + size) for at, size in zip(block.offset, block.size, strict=True))
                assert torch.equal(weights.block(block), weights[block.name][part]), name
                assert tuple(weights.block(block).shape) == block.size


def test_a_shard_is_written_as_soon_as_it_is_whole(tmp_path: Path) -> None:
    """So a model of any size is written with one shard in memory."""
    written = []

    def coming() -> Iterator[tuple[str, torch.Tensor]]:
        for name in "abcdefg":
            written.append(sorted(path.name for path in tmp_path.iterdir()))
            yield name, torch.ones(10)

    files = stream_weights(tmp_path, coming(), dict.fromkeys("abcdefg", 40), max_shard_bytes=100)
    first, second, third, fourth, index = files
    assert written == [[], [], [first], [first], [first, second], [first, second], [first, second, third]]
    weight_map = json.loads((tmp_path / index).read_text())["weight_map"]
    assert weight_map == {"a": first, "b": first, "c": second, "d": second, "e": third, "f": third, "g": fourth}


def test_tensors_that_do_not_come_as_planned_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="was to hold"):
        stream_weights(tmp_path, [("b", torch.ones(1))], {"a": 4})
