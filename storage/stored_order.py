"""The order of one source as it is stored: three kinds of it, read in one way.

Megatron's stream of documents (`storage.sample_order.SourceOrder`): arrays `documents`, `samples`, `shuffle`. A
stream of pieces, where the source was partly read before (`PieceOrder`): `pieces`, `samples`, `shuffle`. Packed
(`storage.packing.PackedOrder`): `pieces`, `bounds`, `shuffle`, `targets`. In each of them stretch k is the tokens of
one sample, which lie in consecutive places, and a place is a document or a piece of one.

    with mapped_arrays("runs/mix/demo-0123", "train") as array:
        order = StoredOrder.load(array, source, packing="best_fit")
        row, start, stop = next(order.parts(0, num_tokens))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from storage.mixture_plan import Packing, PlannedSource, array_path
from storage.uri import join, localized

ReadArray = Callable[[str], np.ndarray]


@contextmanager
def mapped_arrays(mixture: str, split: str) -> Iterator[ReadArray]:
    """What maps an index array of a split by its name, as `source` or `corpus.samples`, for as long as the block lasts.

    Arrays that are not local are copied here until then.
    """
    with ExitStack() as stack:

        def array(name: str) -> np.ndarray:
            path = stack.enter_context(localized(join(mixture, array_path(split, name))))
            mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
            return mapped

        yield array


@dataclass(frozen=True)
class StoredOrder:
    """The arrays of one source, mapped.

    Attributes:
        borders: (stretches + 1, 2) place and offset where each stretch of a stream starts and, one row on, ends (that
            token included: it starts the next as well); (stretches + 1,) first place of each where it is packed.
        shuffle: (stretches,) the stretch that is read as the source's j-th sample.
        documents: (places,) row of each place, whole documents; else
        pieces: (places, 3) row, and from which token of the document to which.
        targets: (stretches,) of packed orders: tokens that are no padding.
    """

    borders: np.ndarray
    shuffle: np.ndarray
    documents: np.ndarray | None = None
    pieces: np.ndarray | None = None
    targets: np.ndarray | None = None

    @classmethod
    def load(cls, array: ReadArray, source: PlannedSource, packing: Packing) -> StoredOrder:
        """Open a planned source's arrays; `array` is called with the name of each, as `corpus.samples`."""

        def of(name: str) -> np.ndarray:
            return array(f"{source.name}.{name}")

        if packing == "best_fit":
            return cls(of("bounds"), of("shuffle"), pieces=of("pieces"), targets=of("targets"))
        if source.consumed_sha256 is not None:
            return cls(of("samples"), of("shuffle"), pieces=of("pieces"))
        return cls(of("samples"), of("shuffle"), documents=of("documents"))

    @property
    def packed(self) -> bool:
        return self.targets is not None

    @property
    def rows(self) -> np.ndarray:
        """(places,) the row of the token file that each place reads."""
        if self.pieces is not None:
            return self.pieces[:, 0]
        assert self.documents is not None, "an order has documents or pieces"
        return self.documents

    def places(self, stretches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First place of each stretch, and one beyond its last; int64."""
        if self.packed:
            return self.borders[stretches].astype(np.int64), self.borders[stretches + 1].astype(np.int64)
        return self.borders[stretches, 0].astype(np.int64), self.borders[stretches + 1, 0].astype(np.int64) + 1

    def parts(self, stretch: int, num_tokens: Callable[[int], int]) -> Iterator[tuple[int, int, int]]:
        """What a stretch reads, in order: row, first token, and one beyond the last; parts without a token left out.

        The token that a packed stretch is read after is its first part's where that is the rest of a document; before a
        document's beginning it is no part of any.

        Args:
            num_tokens: tokens of the document in a row.
        """
        first, end = (int(place) for place in np.concatenate(self.places(np.array([stretch]))))
        for place in range(first, end):
            if self.pieces is not None:
                row, start, stop = (int(value) for value in self.pieces[place])
            else:
                row, start = int(self.rows[place]), 0
                stop = num_tokens(row) if place < end - 1 else 0  # of the last, the border says where it ends
            if self.packed:
                start -= int(place == first and start > 0)
            else:
                piece = start
                if place == end - 1:
                    stop = piece + int(self.borders[stretch + 1, 1]) + 1
                if place == first:
                    start = piece + int(self.borders[stretch, 1])
            if stop > start:
                yield row, start, stop
