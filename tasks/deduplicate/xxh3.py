"""XXH3's 64-bit hash for code that numba compiles: of up to 1,024 bytes, with seed 0 and the default secret.

Written after the specification in xxHash 0.8 (`xxhash.h`): what is done with the bytes depends on their number. The
functions carry its names: the avalanche mixes the bits of a sum, a folded product is both halves of a 128-bit one.

Compiled functions that call this one keep a copy which numba does not renew when this file changes: the numbers are a
standard and will not.

    xxh3(octets, at, length)  # in a function that numba compiles
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy import uint64

_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
# SECRET[i] is the secret's 8 bytes from byte i on.
SECRET = np.array([int.from_bytes(_SECRET[at : at + 8], "little") for at in range(len(_SECRET) - 7)], np.uint64)
PRIME32_1, PRIME32_2, PRIME32_3 = uint64(0x9E3779B1), uint64(0x85EBCA77), uint64(0xC2B2AE3D)
PRIME64_1, PRIME64_2 = uint64(0x9E3779B185EBCA87), uint64(0xC2B2AE3D27D4EB4F)
PRIME64_3, PRIME64_4 = uint64(0x165667B19E3779F9), uint64(0x85EBCA77C2B2AE63)
PRIME64_5 = uint64(0x27D4EB2F165667C5)
PRIME_MX1, PRIME_MX2 = uint64(0x165667919E3779F9), uint64(0x9FB21C651E98DF25)
LOW32 = uint64(0xFFFFFFFF)

_inlined: Any = numba.njit(forceinline=True, error_model="numpy")  # a call would cost as much as what is called
_called: Any = numba.njit(error_model="numpy")


def _loader(bits: int) -> Any:
    """load(octets, at): the little-endian number of so many bits from byte `at` on, as uint64."""

    def load(typing_context: Any, octets: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            place = builder.gep(array.data, [arguments[1]])
            value = builder.load(builder.bitcast(place, ir.IntType(bits).as_pointer()), align=1)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.uint64(octets, types.int64), generate

    return intrinsic(load)


_load32, _load64 = _loader(32), _loader(64)


def _product(typing_context: Any, left: Any, right: Any) -> Any:
    """The 128 bits of left * right, upper half xor lower half."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.xor(product, builder.lshr(product, wide(64))), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


_folded_product: Any = intrinsic(_product)


@_inlined
def _avalanche(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> uint64(37))) * PRIME_MX1
    return value ^ (value >> uint64(32))


@_inlined
def _avalanche_short(value: np.uint64) -> np.uint64:
    value = (value ^ (value >> uint64(33))) * PRIME64_2
    value = (value ^ (value >> uint64(29))) * PRIME64_3
    return value ^ (value >> uint64(32))


@_inlined
def _mix16(octets: np.ndarray, at: int, secret: int) -> np.uint64:
    return _folded_product(_load64(octets, at) ^ SECRET[secret], _load64(octets, at + 8) ^ SECRET[secret + 8])


@_inlined
def _xxh3_to_3(octets: np.ndarray, at: int, length: int) -> np.uint64:
    if length == 0:
        return _avalanche_short(SECRET[56] ^ SECRET[64])
    first, middle, last = octets[at], octets[at + (length >> 1)], octets[at + length - 1]
    combined = (uint64(first) << uint64(16)) | (uint64(middle) << uint64(24)) | uint64(last)
    combined |= uint64(length) << uint64(8)
    return _avalanche_short(combined ^ (SECRET[0] & LOW32) ^ (SECRET[4] & LOW32))


@_inlined
def _xxh3_4_to_8(octets: np.ndarray, at: int, length: int) -> np.uint64:
    value = _load32(octets, at + length - 4) + (_load32(octets, at) << uint64(32))
    value ^= SECRET[8] ^ SECRET[16]
    value ^= (value << uint64(49)) ^ (value >> uint64(15)) ^ (value << uint64(24)) ^ (value >> uint64(40))
    value *= PRIME_MX2
    value ^= (value >> uint64(35)) + uint64(length)
    value *= PRIME_MX2
    return value ^ (value >> uint64(28))


@_inlined
def _xxh3_9_to_16(octets: np.ndarray, at: int, length: int) -> np.uint64:
    low = _load64(octets, at) ^ SECRET[24] ^ SECRET[32]
    high = _load64(octets, at + length - 8) ^ SECRET[40] ^ SECRET[48]
    return _avalanche(uint64(length) + _swapped(low) + high + _folded_product(low, high))


@_inlined
def _swapped(value: np.uint64) -> np.uint64:
    """The 8 bytes in reverse order."""
    halves, quarters = uint64(0x0000FFFF0000FFFF), uint64(0x00FF00FF00FF00FF)
    value = (value << uint64(32)) | (value >> uint64(32))
    value = ((value & halves) << uint64(16)) | ((value >> uint64(16)) & halves)
    return ((value & quarters) << uint64(8)) | ((value >> uint64(8)) & quarters)


@_called
def _xxh3_17_to_128(octets: np.ndarray, at: int, length: int) -> np.uint64:
    total = uint64(length) * PRIME64_1
    end = at + length
    for pair in range((length - 1) // 32 + 1):
        total += _mix16(octets, at + 16 * pair, 32 * pair)
        total += _mix16(octets, end - 16 * pair - 16, 32 * pair + 16)
    return _avalanche(total)


@_called
def _xxh3_129_to_240(octets: np.ndarray, at: int, length: int) -> np.uint64:
    total = uint64(length) * PRIME64_1
    for part in range(8):
        total += _mix16(octets, at + 16 * part, 16 * part)
    total = _avalanche(total)
    for part in range(8, length // 16):
        total += _mix16(octets, at + 16 * part, 16 * (part - 8) + 3)
    return _avalanche(total + _mix16(octets, at + length - 16, 119))


@_called
def _xxh3_241_to_1024(octets: np.ndarray, at: int, length: int) -> np.uint64:
    """Stripes of 64 bytes into 8 sums; more than 1,024 bytes would need the sums scrambled in between."""
    sums = np.array(
        [PRIME32_3, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4, PRIME32_2, PRIME64_5, PRIME32_1], dtype=np.uint64
    )
    stripes = (length - 1) // 64
    for stripe in range(stripes + 1):
        start = at + 64 * stripe if stripe < stripes else at + length - 64
        secret = 8 * stripe if stripe < stripes else 121
        for lane in range(8):
            value = _load64(octets, start + 8 * lane)
            keyed = value ^ SECRET[secret + 8 * lane]
            sums[lane ^ 1] += value
            sums[lane] += (keyed & LOW32) * (keyed >> uint64(32))
    total = uint64(length) * PRIME64_1
    for pair in range(4):
        left, right = sums[2 * pair] ^ SECRET[11 + 16 * pair], sums[2 * pair + 1] ^ SECRET[19 + 16 * pair]
        total += _folded_product(left, right)
    return _avalanche(total)


@_inlined
def xxh3(octets: np.ndarray, at: int, length: int) -> uint64:
    """xxh3-64 of `length` bytes, at most 1,024, from `at` on; those of Japanese and English shingles come first."""
    if 8 < length <= 16:
        return _xxh3_9_to_16(octets, at, length)
    if 4 <= length <= 8:
        return _xxh3_4_to_8(octets, at, length)
    return _xxh3_of_rare(octets, at, length)


@_called
def _xxh3_of_rare(octets: np.ndarray, at: int, length: int) -> uint64:
    if length < 4:
        return _xxh3_to_3(octets, at, length)
    if length <= 128:
        return _xxh3_17_to_128(octets, at, length)
    return _xxh3_129_to_240(octets, at, length) if length <= 240 else _xxh3_241_to_1024(octets, at, length)
