"""Small tokenizers of both kinds, trained here on sentences of our own, and texts to try them on."""

from __future__ import annotations

import io
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tokenizer.sentencepiece_expansion import ModelProto

WHO = ["郵便屋さん", "隣の猫", "わたし", "村の子どもたち", "パン職人", "灯台守", "姉", "図書館の司書"]
WHEN = ["けさ早く", "雨がやんでから", "夕方になると", "毎週土曜日に", "春が来るたびに"]
DID = [
    "坂道をゆっくり歩いていました。",
    "窓辺で手紙を読んでいました。",
    "コーヒーを飲みながら話していました。",
    "ありがとうございますと言いました。",
    "小さな畑に水をやっていました。",
    "「またあした」と手をふりました。",
]
ENGLISH = [
    "The lighthouse keeper walks to the top of the tower to look at the weather.",
    "  To be ready   for the winter, they stack the wood and count the days.",
    "She returns the books on Tuesday, then the other ones the week after that.",
    "def total(values):\n    return sum(value for value in values if value > 0)",
    "for index in range(10):\n\tprint(index, index * index)  # squares",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
]


def japanese_documents() -> list[str]:
    """240 short documents with a few hundred different words and phrases."""
    sentences = [f"{who}は{when}{did}" for who, when, did in itertools.product(WHO, WHEN, DID)]
    random.Random(3).shuffle(sentences)
    return [f"{first}{second}\n2024年の話です。" for first, second in itertools.pairwise([*sentences, sentences[0]])]


def strings_to_try(number: int, seed: int = 11) -> list[str]:
    """Strings with what breaks tokenizers: runs of spaces, emoji, combining marks, controls, things like `<s>`."""
    generator = random.Random(seed)
    alphabets = [
        "   ▁",
        "abcdefgh THE to\n\t",
        "あいうえおのはにをがたし、。「」",
        "郵便屋隣猫村灯台守図書館吾輩鬱",
        "😀🦊👩‍👧🇯🇵\u200d\ufe0f",
        "e\u0301か\u3099ハ\u309aﾊﾟu\u0308",
        "\x00\x01\x1f\x7f\x85\u00a0\u2028\u3000\ufeff\ufffd",
        "ЖиваяΩμέγα한국어ไทย",
        "0123１２３ＡＢ！？",
        "𠮟𩸽𝒳",
    ]
    words = [*ENGLISH, *DID, "<s>", "</s>", "<unk>", "<0x0A>", "<|endoftext|>", "<|begin_of_text|>", " ", "  To"]
    found = []
    for _ in range(number):
        parts = []
        for _ in range(generator.randrange(1, 12)):
            alphabet = generator.choice(alphabets)
            parts.append("".join(generator.choices(alphabet, k=generator.randrange(1, 9))))
            if generator.random() < 0.3:
                parts.append(generator.choice(words))
            if generator.random() < 0.1:
                parts.append(" " * generator.randrange(1, 40))
        found.append("".join(parts))
    return found


@pytest.fixture(scope="session")
def documents() -> list[str]:
    return japanese_documents()


@pytest.fixture(scope="session")
def tries() -> list[str]:
    return strings_to_try(400)


def train_sentencepiece(**options: Any) -> bytes:
    """A Llama-like SentencePiece model: byte fallback, some Japanese characters, whitespace pieces at -1e9."""
    written = io.BytesIO()
    lines = [line for text in ENGLISH for line in text.split("\n")] * 5 + ["はにのをがたしてい。", "日本の人"] * 5
    arguments: dict[str, Any] = {
        "model_type": "bpe",
        "vocab_size": 480,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "hard_vocab_limit": False,
        "num_threads": 1,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=written, **(arguments | options)
    )
    model = ModelProto.FromString(written.getvalue())
    present = {piece.piece for piece in model.pieces}
    for length in range(1, 17):
        if "▁" * length not in present:
            model.pieces.add(piece="▁" * length, score=0.0, type=1)
    for piece in model.pieces:
        if piece.type == 1 and not piece.piece.strip("▁"):
            piece.score = -1e9  # as in Llama 2
    return model.SerializeToString(deterministic=True)


@pytest.fixture(scope="session")
def sentencepiece_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a lone `tokenizer.model`."""
    path = tmp_path_factory.mktemp("sentencepiece") / "tokenizer.model"
    path.write_bytes(train_sentencepiece())
    return path


def train_byte_level(*, special_first: bool) -> Tokenizer:
    """A byte-level BPE tokenizer, its special tokens at the beginning (SmolLM2) or after the vocabulary (Llama 3)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"] if special_first else [],
    )
    tokenizer.train_from_iterator(ENGLISH * 3 + ["はにのをがたしていました。", "日本の人"] * 3, trainer)
    if not special_first:
        tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
        bos = tokenizer.token_to_id("<|begin_of_text|>")
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", bos)]
        )
    return tokenizer


def save_byte_level(folder: Path, *, special_first: bool) -> Path:
    train_byte_level(special_first=special_first).save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>" if special_first else "<|eot_id|>", "tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def smollm_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face tokenizer folder."""
    return save_byte_level(tmp_path_factory.mktemp("smollm"), special_first=True)


@pytest.fixture(scope="session")
def llama3_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_byte_level(tmp_path_factory.mktemp("llama3"), special_first=False)


@pytest.fixture(scope="session", params=["smollm_like", "llama3_like"])
def byte_level_base(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)
