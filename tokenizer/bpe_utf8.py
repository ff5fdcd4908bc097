"""UTF-8 in machine code (numba): a text's characters, and the byte pieces of a character; inlined where they are used.

point, num_bytes = code_point(octets, at, end)
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_inlined: Any = numba.njit(forceinline=True, error_model="numpy")


@_inlined
def write_bytes(byte_ids: np.ndarray, point: int, ids: np.ndarray, written: int) -> int:
    """Write the pieces of a character's bytes; the end of what is written."""
    if point < 0x80:
        ids[written] = byte_ids[point]
        return written + 1
    count = 2 + (point >= 0x800) + (point >= 0x10000)
    ids[written] = byte_ids[(0xF00 >> count & 0xFF) | point >> 6 * (count - 1)]
    for at in range(1, count):
        ids[written + at] = byte_ids[0x80 | (point >> 6 * (count - 1 - at) & 0x3F)]
    return written + count


@_inlined
def code_point(octets: np.ndarray, at: int, end: int) -> tuple[int, int]:
    """A character of UTF-8 and its number of bytes; -1 and 0 where there is none."""
    lead = int(octets[at])
    if lead < 0x80:
        return lead, 1
    count = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    if lead < 0xC2 or lead > 0xF4 or at + count > end:
        return -1, 0
    point = lead & (0x7F >> count)
    for following in range(at + 1, at + count):
        octet = int(octets[following])
        if octet & 0xC0 != 0x80:
            return -1, 0
        point = point << 6 | octet & 0x3F
    too_long = (count == 3 and point < 0x800) or (count == 4 and point < 0x10000)
    if too_long or 0xD800 <= point < 0xE000 or point > 0x10FFFF:
        return -1, 0
    return point, count
