"""Machine code for loops that numpy cannot express: one way to compile a function with numba.

In: a function of numbers and numpy arrays. Out: the same function, compiled at its first call without Python's lock,
its machine code kept beside its module, else in the user's cache folder. Floating point is IEEE's, in the order
written: results are those of the interpreter, bit for bit. Where no folder can be written, every process compiles for
itself.

    @compiled
    def total(values): ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, without the interpreter's lock; keep the machine code where a folder allows it."""
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba may write to no folder
        return numba.njit(nogil=True, error_model="numpy")(function)
