"""Text to token ids and back, exactly as the model was or will be trained.

In: a tokenizer folder, or a lone `tokenizer.model`. A folder with `tokenizer.model` is SentencePiece's
(Llama 2, Mistral), and `tokenizer.bpe` encodes exactly as sentencepiece does; otherwise its `tokenizer.json`
must be byte-level BPE (Llama 3, SmolLM2), and the `tokenizers` library encodes. Strings in a text that look like
special tokens (`<s>`, `<|endoftext|>`) are ordinary text in both.

What stands around a document is the base model's policy. Our own folders state it in
`hibari_tokenizer.json`. For a base without it: SentencePiece: BOS, where the model has one, before and EOS
after (Llama 2 as Swallow trained it). Byte-level: before, what the tokenizer's own post-processor puts
before any text (Llama 3: `<|begin_of_text|>`; SmolLM2: nothing); after, the first of `<|endoftext|>`,
`<|end_of_text|>` in the vocabulary, which ended documents in pre-training, else the `eos_token` of
`tokenizer_config.json`. That last is not asked first because a chat model names the end of a turn there
(SmolLM2: `<|im_end|>`).

    encoder = load_encoder("runs/expand/demo-0123/tokenizer")
    ids = encoder.document("雲雀が鳴く。")
    encoded = encoder.documents(batch.column("text"))  # many at once, in one array
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from storage.tokens import token_dtype
from storage.uri import exists, filesystem, join, read_bytes
from tokenizer.expansion import Kind

if TYPE_CHECKING:
    import pyarrow as pa

    from tokenizer.bpe import BytePairEncoder

logger = logging.getLogger(__name__)

POLICY = "hibari_tokenizer.json"
_DOCUMENT_ENDS = ("<|endoftext|>", "<|end_of_text|>")
# What the fast encoder is checked on when it is loaded: runs of spaces, literal ▁, bytes, strings like special tokens.
_CHECKED = (
    "雲雀が鳴く。",
    "  To be   ready\n\n\tfor the winter, 2024",
    "▁▁ a ▁",
    "</s><0x0A>吾輩は猫である。\r\n",
    "🦊👩\u200d👧e\u0301\x00한국어",
    "aaaaaaaaaaaaaaaa                                  ",
)


@dataclass(frozen=True)
class DocumentPolicy:
    """The token ids that stand before and after every document."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]


@dataclass(frozen=True)
class Encoded:
    """The ids of several texts, end to end.

    Attributes:
        ids: (tokens,) uint16 or int32, by `storage.tokens.token_dtype` of the vocabulary.
        bounds: (texts + 1,) int64: text i is ids[bounds[i] : bounds[i + 1]].
    """

    ids: np.ndarray
    bounds: np.ndarray


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

    def encode_texts(self, texts: pa.StringArray | Sequence[str]) -> Encoded:
        """`encode` of each text, as one array.

        Raises:
            UnicodeEncodeError: a text holds half of a surrogate pair (a ValueError, as all of these).
            UnicodeDecodeError: an Arrow string is not UTF-8.
            ValueError: an Arrow string is null.
        """
        return self._packed(self.encode_batch(_strings(texts)))

    def documents(self, texts: pa.StringArray | Sequence[str]) -> Encoded:
        """`document` of each text, as one array."""
        prefix, suffix = self.policy.prefix, self.policy.suffix
        return self._packed([[*prefix, *ids, *suffix] for ids in self.encode_batch(_strings(texts))])

    def _packed(self, rows: Sequence[Sequence[int]]) -> Encoded:
        bounds = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=bounds[1:])
        ids = np.fromiter(chain.from_iterable(rows), token_dtype(self.vocab_size), int(bounds[-1]))
        return Encoded(ids, bounds)


class _SentencePieceEncoder(Encoder):
    """Many texts are encoded by `tokenizer.bpe`, where that can represent the model, with the same ids.

    One text alone is sentencepiece's: a call of compiled code with its dozen arrays takes 30 us, as long as
    sentencepiece needs for 400 bytes.
    """

    kind: Kind = "sentencepiece"

    def __init__(self, data: bytes, policy: DocumentPolicy | None) -> None:
        self._data = data
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

    @cached_property
    def _fast(self) -> BytePairEncoder | None:
        """The compiled encoder, once a few texts have come out of it as out of sentencepiece."""
        from tokenizer.bpe import BytePairEncoder, UnrepresentableModelError

        try:
            fast = BytePairEncoder(self._data)
        except UnrepresentableModelError as error:
            logger.info("sentencepiece itself encodes, which is slower: %s", error)
            return None
        ids, bounds = fast.encode(*_utf8(_CHECKED), token_dtype(self.vocab_size))
        for text, (first, last) in zip(_CHECKED, pairwise(bounds), strict=True):
            wanted, got = self._processor.encode(text), ids[first:last].tolist()
            if wanted != got:
                raise RuntimeError(
                    f"the compiled encoder disagrees with sentencepiece on {text!r}: {got}, expected {wanted}; "
                    "this is a defect of Hibari: please report it with the tokenizer"
                )
        return fast

    def encode(self, text: str) -> list[int]:
        try:
            return self._processor.encode(text)
        except RuntimeError:
            text.encode()  # raises the documented error where that is the reason
            raise

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        if self._fast is None:
            return [self.encode(text) for text in texts]
        encoded = self.encode_texts(texts)
        ids, bounds = encoded.ids.tolist(), encoded.bounds.tolist()
        return [ids[first:last] for first, last in pairwise(bounds)]

    def encode_texts(self, texts: pa.StringArray | Sequence[str]) -> Encoded:
        if self._fast is None:
            return super().encode_texts(texts)
        return Encoded(*self._fast.encode(*_utf8(texts), token_dtype(self.vocab_size)))

    def documents(self, texts: pa.StringArray | Sequence[str]) -> Encoded:
        if self._fast is None:
            return super().documents(texts)
        around = self.policy.prefix, self.policy.suffix
        return Encoded(*self._fast.encode(*_utf8(texts), token_dtype(self.vocab_size), *around))

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
        try:
            return self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0].ids
        except TypeError:
            text.encode()  # raises the documented error where that is the reason
            raise

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        # One by one: a batch would take every core, which shards take, and hold 100 bytes a token.
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)


def _strings(texts: pa.StringArray | Sequence[str]) -> Sequence[str]:
    if isinstance(texts, Sequence):
        return texts
    _refuse_nulls(texts)
    return texts.to_pylist()


def _utf8(texts: pa.StringArray | Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The UTF-8 of all texts, uint8, and int64 (texts + 1,) where each begins in it; Arrow's is not copied."""
    if isinstance(texts, Sequence):
        encoded = [text.encode() for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(octets) for octets in encoded], out=offsets[1:])
        return np.frombuffer(b"".join(encoded), np.uint8), offsets
    _refuse_nulls(texts)
    _, places, data = texts.buffers()
    width = np.dtype(np.int64 if str(texts.type) == "large_string" else np.int32)
    offsets = np.frombuffer(places, width, len(texts) + 1, texts.offset * width.itemsize).astype(np.int64)
    return np.frombuffer(data or b"", np.uint8), offsets


def _refuse_nulls(texts: pa.StringArray) -> None:
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null: leave them out before they are encoded")


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
