"""Token files: Megatron's `.bin`/`.idx`, byte-compatible, written as a stream and read through memory maps.

`<prefix>.bin` holds the tokens of all documents and nothing else. `<prefix>.idx`, little-endian: the 9
bytes `MMIDIDX\\0\\0`; u64 version 1; u8 dtype code; u64 number of sequences S; u64 number of documents +
1, D; int32[S] tokens of each sequence; int64[S] byte offset of each in `.bin`; int64[D] where each
document starts, counted in sequences (and the end). Hibari writes one sequence per document; files with
several are read as well. Tokens are uint16 when the vocabulary allows it by Megatron's rule, else int32.

Source: Megatron-LM, core/datasets/indexed_dataset.py.

    with TokenWriter(artifact, "corpus/train", token_dtype(vocab_size)) as writer:
        writer.add_document([1, 523, 77, 2])
    tokens = TokenFile.open(join(artifact, "corpus/train")).document(0)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from tempfile import SpooledTemporaryFile
from types import TracebackType

import numpy as np

from storage.artifact import FileEntry, new_file
from storage.uri import localized

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")
DTYPES: dict[int, np.dtype] = {
    1: np.dtype("<u1"),
    2: np.dtype("<i1"),
    3: np.dtype("<i2"),
    4: np.dtype("<i4"),
    5: np.dtype("<i8"),
    6: np.dtype("<f8"),
    7: np.dtype("<f4"),
    8: np.dtype("<u2"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
# Megatron leaves the last 36 values of uint16 unused.
UINT16_VOCAB = 65_500
COPY_TOKENS = 1 << 20  # read at a time when token files are copied
_INDEX_ROWS = 1 << 18  # entries of an index in memory at a time
_IN_MEMORY = 1 << 18  # bytes of a temporary file that need no disk
_MAX_LENGTH = np.iinfo(np.int32).max  # tokens of a sequence, by the format


def token_dtype(vocab_size: int) -> np.dtype:
    """What tokens of a vocabulary are stored as: uint16 below 65,500, else int32."""
    return np.dtype("<u2") if vocab_size < UINT16_VOCAB else np.dtype("<i4")


class TokenWriter:
    """Writes `<prefix>.bin` as documents come and `<prefix>.idx` when the block ends.

    If the block raises, neither file appears. Memory does not grow with the number of documents: what the index says of
    them waits in two temporary files, 12 bytes a document, and is copied `_INDEX_ROWS` at a time.

    Attributes:
        entries: of both files, once the block has ended.
    """

    def __init__(self, artifact: str, prefix: str, dtype: np.dtype) -> None:
        self.dtype = np.dtype(dtype).newbyteorder("<")
        if self.dtype not in CODES or self.dtype.kind not in "iu":
            raise ValueError(f"tokens cannot be {dtype}: expected uint16 or int32 (`token_dtype`)")
        self.entries: list[FileEntry] = []
        self.num_tokens = 0
        self.num_documents = 0
        self._num_sequences = 0
        self._artifact = artifact
        self._prefix = prefix
        self._stack = ExitStack()

    def __enter__(self) -> TokenWriter:
        self._bin = self._stack.enter_context(new_file(self._artifact, f"{self._prefix}.bin"))
        self._lengths = SpooledTemporaryFile(_IN_MEMORY)  # int32 tokens of each sequence
        self._ends = SpooledTemporaryFile(_IN_MEMORY)  # int64 sequences up to the end of each document
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lengths, self._ends:
            self._stack.__exit__(kind, error, trace)
            if kind is None:
                self.entries = [FileEntry.of(f"{self._prefix}.bin", self._bin), self._write_index()]

    def add_document(self, tokens: Sequence[int] | np.ndarray, lengths: Sequence[int] | None = None) -> None:
        """Append one document, as one sequence or, where `lengths` is given, as several.

        Raises:
            OverflowError: a token that the dtype cannot hold.
        """
        values = np.asarray(tokens)
        parts = [len(values)] if lengths is None else lengths
        assert sum(parts) == len(values), f"lengths add up to {sum(parts)}, not to {len(values)} tokens"
        self._write_tokens(values)
        self._lengths.write(np.asarray(parts, "<i4").tobytes())
        self._num_sequences += len(parts)
        self._ends.write(np.int64(self._num_sequences).astype("<i8").tobytes())
        self.num_documents += 1

    def add_many(self, tokens: np.ndarray, bounds: np.ndarray) -> None:
        """Append documents, each as one sequence.

        Args:
            tokens: whole numbers, those of all documents end to end.
            bounds: (documents + 1,) int64: document i is `tokens[bounds[i] : bounds[i + 1]]`.

        Raises:
            OverflowError: a token that the dtype cannot hold, or 2**31 tokens in one document.
        """
        self._write_tokens(tokens[bounds[0] : bounds[-1]])
        self._write_lengths(np.diff(bounds))

    def add_documents(self, source: TokenFile, keep: np.ndarray) -> None:
        """Append those documents of another file that `keep` marks, in order; each becomes one sequence.

        Args:
            keep: (source.num_documents,) bool.

        Raises:
            ValueError: the other file has another dtype.
        """
        if source.dtype != self.dtype:
            raise ValueError(f"cannot append {source.dtype} tokens to a file of {self.dtype}")
        # Read, not mapped: pages of a map would stay in the process's memory until the system wants them back.
        with open(source.bin_path, "rb") as tokens:
            for at in range(0, source.num_documents, _INDEX_ROWS):
                marked = keep[at : at + _INDEX_ROWS].astype(bool)
                starts = source.starts_of(at, at + len(marked))
                edges = np.flatnonzero(np.diff(marked, prepend=False, append=False))
                for first, end in zip(starts[edges[::2]], starts[edges[1::2]], strict=True):
                    tokens.seek(first * self.dtype.itemsize)
                    for copied in range(first, end, COPY_TOKENS):
                        self._write_tokens(np.fromfile(tokens, self.dtype, min(COPY_TOKENS, end - copied)))
                self._write_lengths(np.diff(starts)[marked])

    def _write_tokens(self, values: np.ndarray) -> None:
        if not len(values):
            return
        if not np.can_cast(values.dtype, self.dtype):
            limits = np.iinfo(self.dtype)
            lowest, highest = values.min(), values.max()
            if lowest < limits.min or highest > limits.max:
                raise OverflowError(
                    f"token {lowest if lowest < limits.min else highest} does not fit {self.dtype} ({self._prefix}): "
                    "the encoder knows more tokens than the vocabulary size that the file was opened for"
                )
        self._bin.write(np.ascontiguousarray(values, dtype=self.dtype).view(np.uint8))
        self.num_tokens += len(values)

    def _write_lengths(self, lengths: np.ndarray) -> None:
        """Of documents of one sequence each."""
        if len(lengths) and lengths.max() > _MAX_LENGTH:
            raise OverflowError(
                f"a document of {lengths.max()} tokens ({self._prefix}); the index ends at {_MAX_LENGTH}"
            )
        ends = np.arange(self._num_sequences + 1, self._num_sequences + 1 + len(lengths))
        self._lengths.write(lengths.astype("<i4").tobytes())
        self._ends.write(ends.astype("<i8").tobytes())
        self._num_sequences += len(lengths)
        self.num_documents += len(lengths)

    def _write_index(self) -> FileEntry:
        path = f"{self._prefix}.idx"
        with new_file(self._artifact, path) as file:
            code = CODES[self.dtype]
            file.write(HEADER.pack(MAGIC, VERSION, code, self._num_sequences, self.num_documents + 1))
            for lengths in _in_pieces(self._lengths, "<i4"):
                file.write(lengths)
            start = 0
            for lengths in _in_pieces(self._lengths, "<i4"):
                ends = start + np.cumsum(lengths, dtype=np.int64)
                file.write(((ends - lengths) * self.dtype.itemsize).astype("<i8"))
                start = int(ends[-1])
            file.write(bytes(8))  # the first document starts at sequence 0
            for ends in _in_pieces(self._ends, "<i8"):
                file.write(ends)
        return FileEntry.of(path, file)


def _in_pieces(file: SpooledTemporaryFile[bytes], dtype: str) -> Iterator[np.ndarray]:
    """The numbers in a file from its beginning, `_INDEX_ROWS` at a time."""
    file.seek(0)
    while data := file.read(_INDEX_ROWS * np.dtype(dtype).itemsize):
        yield np.frombuffer(data, dtype)


class TokenFile:
    """A pair of token files, memory-mapped; what is not local is copied here for as long as it is open.

    Attributes:
        dtype: of the tokens.
        tokens: (num_tokens,) all tokens, a read-only map of `.bin`.
        lengths: (num_sequences,) int32, tokens of each sequence.
        bounds: (num_documents + 1,) int64, where documents start, in sequences.
        bin_path: of `.bin`, or of its copy here.
    """

    def __init__(self, prefix: str) -> None:
        self._stack = ExitStack()
        try:
            self._map(prefix)
        except BaseException:
            self._stack.close()
            raise

    @classmethod
    def open(cls, prefix: str) -> TokenFile:
        """Map `<prefix>.bin` and `<prefix>.idx`.

        Raises:
            FileNotFoundError: one of the two is not there.
            ValueError: not an index of this format, cut short, or not of this `.bin`.
        """
        return cls(prefix)

    def _map(self, prefix: str) -> None:
        index_path = self._stack.enter_context(localized(f"{prefix}.idx"))
        bin_path = self._stack.enter_context(localized(f"{prefix}.bin"))
        if index_path.stat().st_size < HEADER.size:
            raise ValueError(f"{prefix}.idx: {index_path.stat().st_size} bytes are too few for a token index")
        index = np.memmap(index_path, np.uint8, mode="r")
        magic, version, code, num_sequences, num_bounds = HEADER.unpack(index[: HEADER.size].tobytes())
        if magic != MAGIC or version != VERSION or code not in DTYPES:
            raise ValueError(
                f"{prefix}.idx is not a Megatron token index: magic {magic!r}, version {version}, "
                f"dtype code {code}; expected {MAGIC!r}, {VERSION}, one of {list(DTYPES)}"
            )
        offsets_at = HEADER.size + 4 * num_sequences
        bounds_at = offsets_at + 8 * num_sequences
        end = bounds_at + 8 * num_bounds
        if len(index) not in (end, end + num_sequences):  # with Megatron's optional modes, a byte a sequence
            raise ValueError(f"{prefix}.idx: {len(index)} bytes, its header asks for {end}: cut short or damaged")
        self.dtype = DTYPES[code]
        self.lengths = index[HEADER.size : offsets_at].view("<i4")
        self._offsets = index[offsets_at:bounds_at].view("<i8")
        self.bounds = index[bounds_at:end].view("<i8")
        num_bytes = bin_path.stat().st_size
        self.num_tokens = num_bytes // self.dtype.itemsize
        indexed = int(self.lengths.sum(dtype=np.int64)) * self.dtype.itemsize
        if num_bytes != indexed:
            raise ValueError(
                f"{prefix}.bin: {num_bytes} bytes, its index asks for {indexed}: not the file it belongs to"
            )
        self.tokens = np.memmap(bin_path, self.dtype, mode="r") if num_bytes else np.empty(0, self.dtype)
        self.bin_path = bin_path

    def close(self) -> None:
        """Remove local copies of remote files; arrays handed out stay valid."""
        self._stack.close()

    def __enter__(self) -> TokenFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def num_sequences(self) -> int:
        return len(self.lengths)

    @property
    def num_documents(self) -> int:
        return len(self.bounds) - 1

    @cached_property
    def document_starts(self) -> np.ndarray:
        """(num_documents + 1,) int64: the token at which each document starts, and the end."""
        starts = np.zeros(self.num_sequences + 1, np.int64)
        np.cumsum(self.lengths, out=starts[1:], dtype=np.int64)
        return starts[self.bounds]

    @property
    def document_lengths(self) -> np.ndarray:
        """(num_documents,) int32: tokens of each document."""
        return np.diff(self.document_starts).astype(np.int32)

    def document(self, document: int) -> np.ndarray:
        """All tokens of a document, a view of the map."""
        return self.slice(document)

    def slice(self, document: int, offset: int = 0, length: int | None = None) -> np.ndarray:
        """`length` tokens of a document from `offset` on (to its end by default), a view of the map.

        Raises:
            IndexError: outside the file or the document.
        """
        if not 0 <= document < self.num_documents:
            raise IndexError(f"document {document} of {self.num_documents}")
        start, end = (
            self._token_at(int(self.bounds[document])),
            self._token_at(int(self.bounds[document + 1])),
        )
        stop = end if length is None else start + offset + length
        if offset < 0 or stop > end or start + offset > stop:
            raise IndexError(f"tokens {offset}..{stop - start} of document {document}, which has {end - start}")
        return self.tokens[start + offset : stop]

    def starts_of(self, first: int, end: int) -> np.ndarray:
        """(end - first + 1,) int64: the token at which documents `first` to `end` start, `end` being one too many.

        As `document_starts[first : end + 1]`, in memory for these documents only.
        """
        sequences = self.bounds[first : end + 1]
        starts = np.full(len(sequences), self.num_tokens, np.int64)
        inside = sequences < self.num_sequences
        starts[inside] = self._offsets[sequences[inside]] // self.dtype.itemsize
        return starts

    def _token_at(self, sequence: int) -> int:
        """The token at which a sequence starts, without `document_starts` (8 bytes of memory a document)."""
        if sequence == self.num_sequences:
            return self.num_tokens
        return int(self._offsets[sequence]) // self.dtype.itemsize
