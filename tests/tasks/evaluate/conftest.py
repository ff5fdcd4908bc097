"""Tiny models with real tokenizers of both kinds, made once for the tests of evaluation."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import torch
from sentencepiece import SentencePieceTrainer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

JAPANESE = [
    "朝の畑で雲雀が高く鳴きながら空へのぼっていく。",
    "港の市場では、漁師が今朝とれた魚を並べて売っている。",
    "祖母は縁側に座り、編みかけの手袋を静かに広げた。",
    "雨の日は図書館で古い地図を眺めるのが楽しみです。",
    "机の上には書きかけの手紙と、さめたお茶が残っていた。",
]
ENGLISH = [
    "A skylark rises over the field and sings without a pause.",
    "The ferry leaves the harbour at noon and comes back before dark.",
    "She mended the old clock and put it back on the shelf.",
    "In autumn the whole valley smells of apples and wood smoke.",
]
END = "<|endoftext|>"


def train_byte_level(folder: Path, vocab_size: int) -> int:
    """A byte-level BPE tokenizer whose document end has id 0; returns its vocabulary size."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((JAPANESE + ENGLISH) * 3, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer.get_vocab_size()


def train_sentencepiece(folder: Path) -> int:
    """A SentencePiece BPE tokenizer with BOS 1 and EOS 2; returns its vocabulary size."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter((JAPANESE + ENGLISH) * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=480,
        byte_fallback=True,
        character_coverage=1.0,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return 480


def save_llama(folder: Path, vocab_size: int, seed: int) -> None:
    """A random Llama of two layers; large weights, so that its predictions differ between tokens."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def byte_level_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "byte-level"
    save_llama(folder, train_byte_level(folder, 400), seed=1)
    return folder


@pytest.fixture(scope="session")
def wider_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model with a larger vocabulary, as after expansion."""
    folder = tmp_path_factory.mktemp("models") / "wider"
    save_llama(folder, train_byte_level(folder, 520), seed=2)
    return folder


@pytest.fixture(scope="session")
def sentencepiece_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "sentencepiece"
    save_llama(folder, train_sentencepiece(folder), seed=3)
    return folder


@pytest.fixture
def broken_folder(byte_level_folder: Path, tmp_path: Path) -> Path:
    """A copy of a model folder that a test may damage."""
    return Path(shutil.copytree(byte_level_folder, tmp_path / "broken"))
