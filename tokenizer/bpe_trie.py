"""A double-array trie, built in machine code (numba).

In: keys, each a row of numbers. Out: two arrays in which a key is found with one look at each of its numbers n: child
n of a node (root: 0) is the slot base[node] + n, if check of that slot is the node.

Source: J. Aoe, An efficient digital search algorithm by using a double-array structure, 1989.

    base, check = build_trie(numbers, bounds, highest)
"""

from __future__ import annotations

import numpy as np

from storage.compiled import compiled

_FREE = -1


@compiled
def build_trie(numbers: np.ndarray, bounds: np.ndarray, highest: int) -> tuple[np.ndarray, np.ndarray]:
    """`base` and `check`, int32.

    The children of a node go to the first place where each of them finds a free slot. A node without children has base
    0, and what lies there are children of the root. Both arrays are so long that no look-up leaves them.

    Args:
        numbers, bounds: int32: numbers of all keys end to end, and where each key begins; keys are sorted, without
            repeats, and every number from 1 to `highest` is a key.
    """
    size = 2 * (len(numbers) + 2 * highest + 2)
    base, check = np.zeros(size, np.int32), np.full(size, _FREE, np.int32)
    labels, firsts = np.empty(highest, np.int32), np.empty(highest + 1, np.int32)
    waiting = [(0, 0, len(bounds) - 1, 0)]  # slot of a node, its keys from the first to the end, its depth
    check[0], free = 0, 1
    while len(waiting):
        slot, first, end, depth = waiting.pop()
        if first < end and bounds[first + 1] - bounds[first] == depth:
            first += 1  # the key that ends here
        count = 0
        for key in range(first, end):
            label = numbers[bounds[key] + depth]
            if count == 0 or labels[count - 1] != label:
                labels[count], firsts[count] = label, key
                count += 1
        if count == 0:
            continue
        firsts[count] = end
        while check[free] != _FREE:
            free += 1
        place = free - labels[0]
        child = 0
        while child < count:
            if check[place + labels[child]] == _FREE:
                child += 1
            else:
                place, child = place + 1, 0
        base[slot] = place
        for child in range(count):
            check[place + labels[child]] = slot
            waiting.append((place + labels[child], firsts[child], firsts[child + 1], depth + 1))
        if place + 2 * highest + 2 > len(check):
            base = np.concatenate((base, np.zeros(len(base), np.int32)))
            check = np.concatenate((check, np.full(len(check), _FREE, np.int32)))
    used = np.flatnonzero(check != _FREE)[-1] + highest + 1
    return base[:used].copy(), check[:used].copy()


@compiled
def end_slots(base: np.ndarray, numbers: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The slot that each key leads to, int32; 0 for an empty one."""
    slots = np.zeros(len(bounds) - 1, np.int32)
    for key in range(len(slots)):
        for at in range(bounds[key], bounds[key + 1]):
            slots[key] = base[slots[key]] + numbers[at]
    return slots
