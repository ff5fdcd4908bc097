"""Reading and writing safetensors files tensor by tensor, as raw bytes.

In and out: the safetensors format (8 bytes little-endian header length, a JSON header, then all tensors
without gaps). A model of any size passes through with one block in memory, and what is copied stays equal
to the byte, whatever its dtype. Nothing here can run code from a file.

    source = SafetensorsFile(Path("model.safetensors"))
    write_safetensors(file, source.tensors, source.metadata, lambda tensor: source.blocks(tensor.name))
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_BLOCK_BYTES = 1 << 24


class _Sink(Protocol):
    def write(self, data: Any, /) -> Any: ...


@dataclass(frozen=True)
class Tensor:
    """Name, safetensors dtype and shape of one tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


class SafetensorsFile:
    """A safetensors file open for reading; `tensors` are in the order of their bytes."""

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            ValueError: not a safetensors file, cut short, or of a dtype that this reader does not know.
        """
        self.path = path
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= path.stat().st_size - 8:
                raise ValueError(f"{path}: not a safetensors file, or cut short")
            header = json.loads(file.read(length))
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        rows = sorted(header.items(), key=lambda row: row[1]["data_offsets"])
        unknown = {row["dtype"] for _, row in rows} - ITEM_BYTES.keys()
        if unknown:
            raise ValueError(f"{path}: tensors of dtype {', '.join(sorted(unknown))}; expected {', '.join(ITEM_BYTES)}")
        self.tensors = [Tensor(name, row["dtype"], tuple(row["shape"])) for name, row in rows]
        self._start = {name: 8 + length + row["data_offsets"][0] for name, row in rows}
        end = max((self._start[tensor.name] + tensor.num_bytes for tensor in self.tensors), default=8 + length)
        if end != path.stat().st_size:
            raise ValueError(f"{path}: {path.stat().st_size} bytes, its header describes {end}; copy the file again")

    def __getitem__(self, name: str) -> Tensor:
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def __contains__(self, name: str) -> bool:
        return name in self._start

    def blocks(self, name: str) -> Iterator[bytes]:
        """A tensor's bytes, at most 16 MiB at a time."""
        left = self[name].num_bytes
        with open(self.path, "rb") as file:
            file.seek(self._start[name])
            while left:
                block = file.read(min(left, _BLOCK_BYTES))
                left -= len(block)
                yield block

    def rows(self, name: str) -> MatrixRows:
        """A matrix by its rows, read when they are asked for."""
        tensor = self[name]
        return MatrixRows(self.path, self._start[name], tensor.shape[0], tensor.num_bytes // tensor.shape[0])


@dataclass(frozen=True)
class MatrixRows:
    """Raw rows of a matrix in a file, uint8 `(rows, bytes per row)`; `rows[3:9]`, `rows[np.array([5, 2])]`.

    Read, not mapped: the pages of a mapped 2 GB table would stay in the process's resident set.
    """

    path: Path
    start: int
    num_rows: int
    row_bytes: int

    def __getitem__(self, wanted: slice | np.ndarray) -> np.ndarray:
        with open(self.path, "rb", buffering=0) as file:
            if isinstance(wanted, slice):
                first, last, step = wanted.indices(self.num_rows)
                assert step == 1, "rows are read forwards, one by one"
                found = np.empty((max(last - first, 0), self.row_bytes), np.uint8)
                file.seek(self.start + first * self.row_bytes)
                read = file.readinto(found.data)
                assert read == found.nbytes, f"{self.path} was cut short while it was read"
                return found
            found = np.empty((len(wanted), self.row_bytes), np.uint8)
            for row, index in zip(found, wanted.tolist(), strict=True):
                assert 0 <= index < self.num_rows, f"row {index} of {self.num_rows}"
                file.seek(self.start + index * self.row_bytes)
                file.readinto(row.data)
        return found


def write_safetensors(
    file: _Sink,
    tensors: Sequence[Tensor],
    metadata: dict[str, str],
    blocks: Callable[[Tensor], Iterable[bytes]],
) -> int:
    """Write a safetensors file with these tensors in this order; the number of tensor bytes."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.num_bytes
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)  # data start aligned, as the format asks
    file.write(len(encoded).to_bytes(8, "little"))
    file.write(encoded)
    for tensor in tensors:
        written = 0
        for block in blocks(tensor):
            file.write(block)
            written += len(block)
        assert written == tensor.num_bytes, f"{tensor.name}: {written} bytes for {tensor.num_bytes}"
    return offset


def to_float32(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Raw rows `(rows, bytes per row)` of a floating dtype as float32 `(rows, columns)`.

    Raises:
        ValueError: the dtype is no floating one.
    """
    if dtype == "BF16":
        return (np.ascontiguousarray(raw).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if dtype in _NUMPY:
        return np.ascontiguousarray(raw).view(_NUMPY[dtype]).astype(np.float32)
    raise ValueError(f"vectors of dtype {dtype}; expected BF16, F16, F32 or F64 (quantised models must be dequantised)")


def from_float32(values: np.ndarray, dtype: str) -> bytes:
    """Finite float32 values as raw bytes of a floating dtype, rounded to nearest, ties to even."""
    if dtype == "BF16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).tobytes()
    return values.astype(_NUMPY[dtype]).tobytes()


_NUMPY: dict[str, type[np.floating[Any]]] = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
