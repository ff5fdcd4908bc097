"""Text to token ids and back, exactly as the model was or will be trained.

In: a tokenizer folder, or a lone `tokenizer.model`. A folder with `tokenizer.model` is SentencePiece's
(Llama 2, Mistral) and sentencepiece itself encodes; otherwise its `tokenizer.json` must be byte-level BPE
(Llama 3, SmolLM2) and the `tokenizers` library does. Strings in a text that look like special tokens
(`<s>`, `<|endoftext|>`) are ordinary text in both.

What stands around a document is the base model's policy. Our own folders state it in
`hibari_tokenizer.json`. For a base without it: SentencePiece: BOS, where the model has one, before and EOS
after (Llama 2 as Swallow trained it). Byte-level: before, what the tokenizer's own post-processor puts
before any text (Llama 3: `<|begin_of_text|>`; SmolLM2: nothing); after, the first of `<|endoftext|>`,
`<|end_of_text|>` in the vocabulary, which ended documents in pre-training, else the `eos_token` of
`tokenizer_config.json`. That last is not asked first because a chat model names the end of a turn there
(SmolLM2: `<|im_end|>`).

    encoder = load_encoder("runs/expand/demo-0123/tokenizer")
    ids = encoder.document("雲雀が鳴く。")
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from storage.uri import exists, filesystem, join, read_bytes
from tokenizer.expansion import Kind

POLICY = "hibari_tokenizer.json"
_DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>")


@dataclass(frozen=True)
class DocumentPolicy:
    """The token ids that stand before and after every document."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]


class Encoder(ABC):
    """A tokenizer; ids are Python ints below `vocab_size`."""

    kind: Kind
    vocab_size: int

    def __init__(self, policy: DocumentPolicy) -> None:
        self.policy = policy

    @property
    def bos_id(self) -> int | None:
        """What stands before a document, None where nothing does."""
        return self.policy.prefix[0] if self.policy.prefix else None

    @property
    def eos_id(self) -> int:
        """What ends a document."""
        return self.policy.suffix[-1]

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The text's ids, without BOS or EOS.

        Raises:
            UnicodeEncodeError: the text holds half of a surrogate pair (a ValueError).
        """

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of these ids; bytes that are no UTF-8 become U+FFFD."""

    def document(self, text: str) -> list[int]:
        """The text's ids as a document: with what the base model's policy puts before and after."""
        return [*self.policy.prefix, *self.encode(text), *self.policy.suffix]


class _SentencePieceEncoder(Encoder):
    kind: Kind = "sentencepiece"

    def __init__(self, data: bytes, policy: DocumentPolicy | None) -> None:
        self._processor = SentencePieceProcessor(model_proto=data)
        self.vocab_size = self._processor.vocab_size()
        super().__init__(policy or self._guess_policy())

    def _guess_policy(self) -> DocumentPolicy:
        bos, eos = self._processor.bos_id(), self._processor.eos_id()
        if eos < 0:
            raise ValueError(
                "this SentencePiece model has no EOS to end a document with; "
                f"state document_prefix and document_suffix in {POLICY}"
            )
        return DocumentPolicy((bos,) if bos >= 0 else (), (eos,))

    def encode(self, text: str) -> list[int]:
        try:
            return self._processor.encode(text)
        except RuntimeError:
            text.encode()  # raises the documented error where that is the reason
            raise

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]  # on one core faster than sentencepiece's batch mode

    def decode(self, ids: Sequence[int]) -> str:
        return self._processor.decode(list(ids))


class _ByteLevelEncoder(Encoder):
    kind: Kind = "byte_level_bpe"

    def __init__(self, data: bytes, config: Mapping[str, Any], policy: DocumentPolicy | None) -> None:
        self._tokenizer = Tokenizer.from_buffer(data)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self.vocab_size = max(self._tokenizer.get_vocab().values()) + 1
        super().__init__(policy or self._guess_policy(config))

    def _guess_policy(self, config: Mapping[str, Any]) -> DocumentPolicy:
        named = config.get("eos_token")
        named = named["content"] if isinstance(named, Mapping) else named
        for end in (*_DOCUMENT_ENDS, named):
            if end is not None and (index := self._tokenizer.token_to_id(end)) is not None:
                around = self._tokenizer.encode("").ids
                return DocumentPolicy(tuple(token for token in around if token != index), (index,))
        raise ValueError(
            f"no token ends a document in this tokenizer: expected one of {', '.join(_DOCUMENT_ENDS)} "
            "in its vocabulary or an eos_token in tokenizer_config.json; "
            f"state document_prefix and document_suffix in {POLICY}"
        )

    def encode(self, text: str) -> list[int]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError:
            for text in texts:
                text.encode()  # raises the documented error where that is the reason
            raise
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)


def load_encoder(path: str | Path) -> Encoder:
    """The encoder of a tokenizer folder or of a `tokenizer.model` file.

    Raises:
        ValueError: there is no tokenizer, or one of another kind.
    """
    uri = str(path)
    fs, path_there = filesystem(uri)
    if fs.isfile(path_there):
        return _SentencePieceEncoder(read_bytes(uri), None)
    policy = _read_policy(uri)
    if exists(join(uri, "tokenizer.model")):
        return _SentencePieceEncoder(read_bytes(join(uri, "tokenizer.model")), policy)
    if not exists(join(uri, "tokenizer.json")):
        raise ValueError(
            f"no tokenizer at {uri}: expected a folder with tokenizer.model or tokenizer.json, "
            "or a SentencePiece model file"
        )
    data = read_bytes(join(uri, "tokenizer.json"))
    if not is_byte_level(json.loads(data)):
        raise ValueError(
            f"{join(uri, 'tokenizer.json')} is not byte-level BPE; where it was made from a SentencePiece "
            "model, put that model's tokenizer.model beside it"
        )
    return _ByteLevelEncoder(data, read_json(join(uri, "tokenizer_config.json")), policy)


def is_byte_level(tokenizer_json: Mapping[str, Any]) -> bool:
    """Whether a parsed `tokenizer.json` is byte-level BPE."""
    if tokenizer_json["model"].get("type") != "BPE":
        return False
    step = tokenizer_json.get("pre_tokenizer") or {}
    return any(step.get("type") == "ByteLevel" for step in [step, *step.get("pretokenizers", [])])


def read_json(uri: str) -> dict[str, Any]:
    """A JSON file's fields; none where there is no such file."""
    try:
        return json.loads(read_bytes(uri))
    except FileNotFoundError:
        return {}


def _read_policy(folder: str) -> DocumentPolicy | None:
    fields = read_json(join(folder, POLICY))
    if not fields:
        return None
    return DocumentPolicy(tuple(fields["document_prefix"]), tuple(fields["document_suffix"]))
