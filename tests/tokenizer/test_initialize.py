"""Embedding initialisation: new rows are means, everything else is the base's to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from storage.artifact import content_digest
from tokenizer.expand import expand
from tokenizer.expansion import ExpandOptions, Expansion
from tokenizer.initialize import initialize
from tokenizer.random_model import RandomModel
from tokenizer.safetensors_stream import SafetensorsFile, from_float32, to_float32

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
SIZES = RandomModel(hidden_size=16, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=24, max_position=64)


@pytest.fixture(scope="module")
def tokenizer(smollm_like: Path, documents: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("expanded")
    expand(str(smollm_like), lambda: iter(documents), ExpandOptions(num_candidates=200), out=str(out), seed=1)
    return out / "tokenizer"


@pytest.fixture(scope="module")
def unexpanded(smollm_like: Path, documents: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unexpanded")
    expand(str(smollm_like), lambda: iter(documents), ExpandOptions(enabled=False), out=str(out), seed=1)
    return out / "tokenizer"


@pytest.fixture(scope="module")
def expansion(tokenizer: Path) -> Expansion:
    return Expansion.from_json((tokenizer / "expansion.json").read_bytes())


def write_base(
    folder: Path, *, rows: int, tied: bool = False, dtype: torch.dtype = torch.bfloat16, shards: int = 1
) -> None:
    """A model folder as transformers writes it; the numbers are arbitrary bits of the right dtype."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(5)
    tensors = {
        EMBEDDING: torch.randn(rows, 16, generator=generator).to(dtype),
        "model.layers.0.mlp.up_proj.weight": torch.randn(24, 16, generator=generator).to(dtype),
        "model.norm.weight": torch.randn(16, generator=generator).to(dtype),
    }
    if not tied:
        tensors[HEAD] = torch.randn(rows, 16, generator=generator).to(dtype)
    config = {"model_type": "llama", "vocab_size": rows, "tie_word_embeddings": tied, "unknown_field": [1]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text("{}")
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[shard::shards]}
        save_file(part, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def all_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal to the byte."""
    return one.dtype == other.dtype and torch.equal(one.view(torch.uint8), other.view(torch.uint8))


def mean(rows: torch.Tensor) -> torch.Tensor:
    """The float32 mean, added up in order, in the rows' dtype."""
    total = torch.zeros(rows.shape[1])
    for row in rows.float():
        total += row
    return (total / len(rows)).to(rows.dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(("tied", "shards"), [(False, 1), (True, 1), (False, 3)])
def test_new_rows_are_means_and_the_rest_is_the_base(
    tokenizer: Path, expansion: Expansion, tmp_path: Path, dtype: torch.dtype, tied: bool, shards: int
) -> None:
    base_vocab = expansion.base_vocab
    write_base(tmp_path / "base", rows=base_vocab, tied=tied, dtype=dtype, shards=shards)
    outcome = initialize(str(tmp_path / "base"), None, tokenizer=str(tokenizer), out=str(tmp_path / "out"), seed=1)
    before, after = all_tensors(tmp_path / "base"), all_tensors(tmp_path / "out/model")
    assert before.keys() == after.keys()
    for name, old in before.items():
        new = after[name]
        assert new.dtype == dtype
        if name not in (EMBEDDING, HEAD):
            assert same(old, new)
            continue
        assert new.shape == (expansion.vocab, 16)
        assert same(new[:base_vocab], old)
        means = [mean(old[list(piece.base_ids)]) for piece in expansion.new_pieces]
        assert torch.equal(new[base_vocab:], torch.stack(means))
    config = json.loads((tmp_path / "out/model/config.json").read_text())
    assert config == json.loads((tmp_path / "base/config.json").read_text()) | {"vocab_size": expansion.vocab}
    assert outcome.counts["new_rows"] == len(expansion.new_pieces)
    assert outcome.counts["parameters"] == sum(tensor.numel() for tensor in after.values())
    if shards > 1:
        index = json.loads((tmp_path / "out/model/model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in after.values())


def test_the_folder_holds_the_new_tokenizer_and_the_entries_name_every_file(
    tokenizer: Path, expansion: Expansion, tmp_path: Path
) -> None:
    write_base(tmp_path / "base", rows=expansion.base_vocab)
    outcome = initialize(str(tmp_path / "base"), None, tokenizer=str(tokenizer), out=str(tmp_path / "out"), seed=1)
    written = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert [entry.path for entry in outcome.files] == sorted(written)
    names = {path.name for path in tokenizer.iterdir() if path.is_file()}
    assert written == {
        f"model/{name}" for name in names | {"config.json", "generation_config.json", "model.safetensors"}
    }
    assert (tmp_path / "out/model/tokenizer.json").read_bytes() == (tokenizer / "tokenizer.json").read_bytes()


def test_metadata_and_order_of_tensors_are_kept(tokenizer: Path, expansion: Expansion, tmp_path: Path) -> None:
    write_base(tmp_path / "base", rows=expansion.base_vocab)
    initialize(str(tmp_path / "base"), None, tokenizer=str(tokenizer), out=str(tmp_path / "out"), seed=1)
    old = SafetensorsFile(tmp_path / "base/model.safetensors")
    new = SafetensorsFile(tmp_path / "out/model/model.safetensors")
    assert [tensor.name for tensor in new.tensors] == [tensor.name for tensor in old.tensors]
    with safe_open(tmp_path / "out/model/model.safetensors", "pt") as opened:
        assert opened.metadata() == {"format": "pt"}


def test_without_expansion_the_model_is_the_bases_own_bytes(unexpanded: Path, tmp_path: Path) -> None:
    rows = Expansion.from_json((unexpanded / "expansion.json").read_bytes()).base_vocab
    write_base(tmp_path / "base", rows=rows + 40, shards=2)
    initialize(str(tmp_path / "base"), None, tokenizer=str(unexpanded), out=str(tmp_path / "out"), seed=1)
    for path in (tmp_path / "base").iterdir():
        assert (tmp_path / "out/model" / path.name).read_bytes() == path.read_bytes()


def test_rows_that_no_token_uses_give_way(tokenizer: Path, expansion: Expansion, tmp_path: Path) -> None:
    write_base(tmp_path / "base", rows=expansion.base_vocab + 24)
    outcome = initialize(str(tmp_path / "base"), None, tokenizer=str(tokenizer), out=str(tmp_path / "out"), seed=1)
    old, new = all_tensors(tmp_path / "base")[EMBEDDING], all_tensors(tmp_path / "out/model")[EMBEDDING]
    assert outcome.details["base_rows_without_token"] == 24
    assert new.shape[0] == expansion.vocab
    assert same(new[: expansion.base_vocab], old[: expansion.base_vocab])
    expected = mean(old[list(expansion.new_pieces[0].base_ids)])
    assert torch.equal(new[expansion.base_vocab], expected)


def test_bad_bases_are_refused(tokenizer: Path, expansion: Expansion, tmp_path: Path) -> None:
    def attempt(folder: Path) -> None:
        initialize(str(folder), None, tokenizer=str(tokenizer), out=str(tmp_path / "out"), seed=1)

    write_base(tmp_path / "small", rows=expansion.base_vocab - 1)
    with pytest.raises(ValueError, match="rows, but the base tokenizer has"):
        attempt(tmp_path / "small")

    write_base(tmp_path / "torn", rows=expansion.base_vocab)
    torn = tmp_path / "torn/model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-10])
    with pytest.raises(ValueError, match="its header describes"):
        attempt(tmp_path / "torn")
    torn.write_bytes(b"PK\x03\x04 pickled")
    with pytest.raises(ValueError, match="not a safetensors file"):
        attempt(tmp_path / "torn")
    torn.unlink()
    (tmp_path / "torn/pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ValueError, match="expected safetensors weights"):
        attempt(tmp_path / "torn")

    write_base(tmp_path / "headless", rows=expansion.base_vocab, tied=True)
    config = json.loads((tmp_path / "headless/config.json").read_text())
    (tmp_path / "headless/config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    with pytest.raises(ValueError, match=r"no tensor lm_head.weight"):
        attempt(tmp_path / "headless")
    (tmp_path / "headless/config.json").write_text(json.dumps(config | {"vocab_size": 3}))
    with pytest.raises(ValueError, match=r"config.json says vocab_size 3"):
        attempt(tmp_path / "headless")

    broken = torch.full((expansion.base_vocab, 16), float("nan"))
    save_file({EMBEDDING: broken}, tmp_path / "headless/model.safetensors")
    (tmp_path / "headless/config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="holds an infinity or NaN"):
        attempt(tmp_path / "headless")

    (tmp_path / "headless/config.json").unlink()
    with pytest.raises(ValueError, match=r"no config.json"):
        attempt(tmp_path / "headless")
    with pytest.raises(ValueError, match=r"no expansion.json"):
        initialize(None, SIZES, tokenizer=str(tmp_path), out=str(tmp_path / "out"), seed=1)
    with pytest.raises(ValueError, match="either a base model or the sizes"):
        initialize(str(tmp_path), SIZES, tokenizer=str(tokenizer), out=str(tmp_path / "out"), seed=1)


@pytest.mark.parametrize("tied", [False, True])
def test_a_random_base_is_a_llama_that_transformers_loads(
    tokenizer: Path, expansion: Expansion, tmp_path: Path, tied: bool
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    sizes = RandomModel(
        hidden_size=32, num_layers=2, num_heads=4, num_kv_heads=2, tie_embeddings=tied, dtype="float32", rope_theta=5e5
    )
    outcome = initialize(None, sizes, tokenizer=str(tokenizer), out=str(tmp_path), seed=7)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert base.config.vocab_size == expansion.base_vocab
    assert base.config.rope_parameters["rope_theta"] == 5e5
    assert base.config.eos_token_id == 0
    assert outcome.counts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert len(AutoTokenizer.from_pretrained(tmp_path / "base")) == expansion.base_vocab
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model")) == expansion.vocab
    weights = base.model.layers[0].mlp.up_proj.weight
    assert abs(weights.std().item() - 0.02) < 0.002
    assert torch.equal(base.model.norm.weight, torch.ones(32))
    ids = torch.tensor([[5, 40, 9, 77, 3]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits[..., : expansion.base_vocab], base(ids).logits)


def test_the_bytes_of_a_random_base_are_these(unexpanded: Path, tmp_path: Path) -> None:
    """When this fails, the stage's algorithm version must rise: the same run file now makes something else."""
    outcome = initialize(None, SIZES, tokenizer=str(unexpanded), out=str(tmp_path / "1"), seed=7)
    again = initialize(None, SIZES, tokenizer=str(unexpanded), out=str(tmp_path / "2"), seed=7)
    other = initialize(None, SIZES, tokenizer=str(unexpanded), out=str(tmp_path / "3"), seed=8)
    assert content_digest(outcome.files) == content_digest(again.files) != content_digest(other.files)
    digest = {entry.path: entry.sha256 for entry in outcome.files}
    assert digest["model/model.safetensors"] == digest["base/model.safetensors"]
    assert digest["base/model.safetensors"][:16] == "44f18004a785562e"


def test_rounding_is_torchs() -> None:
    values = torch.randn(300, 16, generator=torch.Generator().manual_seed(1)) * torch.logspace(-30, 30, 16)
    for name, dtype in (
        ("BF16", torch.bfloat16),
        ("F16", torch.float16),
        ("F32", torch.float32),
        ("F64", torch.float64),
    ):
        scaled = values if name != "F16" else values.clamp(-6e4, 6e4)
        raw = np.frombuffer(from_float32(scaled.numpy(), name), np.uint8)
        expected = scaled.to(dtype)
        assert raw.tobytes() == expected.view(torch.uint8).numpy().tobytes()
        assert np.array_equal(to_float32(raw.reshape(300, -1), name), expected.float().numpy())
    with pytest.raises(ValueError, match="vectors of dtype I8"):
        to_float32(np.zeros((1, 4), np.uint8), "I8")
