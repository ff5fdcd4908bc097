"""Texts as arrays of code points; a lone surrogate stands for itself.

code_points("雲雀")  # array([38642, 38592], dtype=uint32)
"""

from __future__ import annotations

import numpy as np


def code_points(text: str) -> np.ndarray:
    """(characters,) uint32, read-only."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
