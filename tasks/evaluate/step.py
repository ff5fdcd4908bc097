"""Attention of one step of generation: the next ids of many rows, one or several of each.

In: rows with keys and values of their own, of different length, after kept ids that are common to all; out: what the
new ids attend to. A row has one new id, or more where its next ones are guessed and only to be checked
(`tasks.evaluate.drafts`); the new ids of all rows stand end to end. Scores over kept and own ids are made apart, so
that the kept ones are read once for all rows, and normalised together.

    step = Step(cache, lengths=[7, 12], counts=[1, 4], kept=kept)
    logits = model.logits(ids, positions, step, range(5), least=1)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tasks.evaluate.attention import KeysValues


class Step:
    """New ids of each of the first rows of `rows`.

    Args:
        lengths: own ids that each row has, without the new ones.
        counts: new ids of each row, at least one; they stand behind one another, row by row.
    """

    def __init__(
        self, rows: KeysValues, lengths: Sequence[int], counts: list[int], kept: KeysValues | None = None
    ) -> None:
        self._rows = rows
        self._kept = kept
        self._counts = counts
        self._seen = max(length + count for length, count in zip(lengths, counts, strict=True))
        rows.reserve(self._seen)
        # Of each new id: its row, and its place among the ids of that row.
        self._row = torch.repeat_interleave(torch.tensor(counts))
        self._place = torch.cat([torch.arange(n, n + count) for n, count in zip(lengths, counts, strict=True)])
        unseen = torch.arange(self._seen) > self._place[:, None]
        self._mask = torch.zeros(unseen.shape).masked_fill_(unseen, float("-inf"))[:, None, None]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """See `attention.Plan`."""
        self._move(query)
        keys, values = self._rows.of(layer, key)
        heads, ids, dim = query.shape[1:]
        kv_heads = key.shape[1]
        keys[self._row, :, self._place] = key[0].transpose(0, 1)
        values[self._row, :, self._place] = value[0].transpose(0, 1)
        # (ids, kv heads, heads of each, dim): a head of keys is read by a group of heads.
        queries = (query[0] * scaling).view(kv_heads, heads // kv_heads, ids, dim).permute(2, 0, 1, 3)
        scores = self._by_row(queries, keys[:, :, : self._seen].transpose(2, 3)) + self._mask
        if self._kept is not None:
            before = self._kept.length
            kept_keys, kept_values = (tensor[0, :, :before] for tensor in self._kept.of(layer, key))
            scores = torch.cat([_product(queries, kept_keys.transpose(1, 2)), scores], dim=-1)
        shares = torch.softmax(scores.float(), dim=-1).to(query.dtype)
        out = self._by_row(shares[..., -self._seen :], values[:, :, : self._seen])
        if self._kept is not None:
            out = out + _product(shares[..., :before], kept_values)
        return out.permute(1, 2, 0, 3).reshape(1, heads, ids, dim)

    def _by_row(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """(ids, kv heads, group, m) times what each id's row has, (rows, kv heads, m, n): (ids, kv heads, group, n)."""
        if len(self._counts) == len(left):  # one id of each
            return torch.matmul(left, right[: len(left)])
        parts = zip(left.split(self._counts), right, strict=False)  # rows behind the last of these are not in use
        return torch.cat([_product(own, theirs) for own, theirs in parts])

    def _move(self, like: torch.Tensor) -> None:
        """Bring what says which id is whose to where the model is; nothing to do after the first layer."""
        if self._mask.dtype != like.dtype or self._mask.device != like.device:
            self._mask = self._mask.to(like)
            self._row, self._place = self._row.to(like.device), self._place.to(like.device)


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(ids, kv heads, group, m) times what all of them see, (kv heads, m, n), in one product a head."""
    ids, kv_heads, group, size = left.shape
    product = torch.matmul(left.transpose(0, 1).reshape(kv_heads, ids * group, size), right)
    return product.view(kv_heads, ids, group, -1).transpose(0, 1)
