"""The characters by which the vocabulary of a byte-level tokenizer writes bytes (GPT-2's alphabet).

byte_piece("猫".encode())  # "çĮ«"
piece_bytes("Ġthe")        # b" the"
"""

from __future__ import annotations


def _byte_alphabet() -> list[str]:
    """The character that stands for each byte: itself where it prints, else one from U+0100 on (GPT-2)."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    characters = {byte: chr(byte) for byte in printing} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return [characters[byte] for byte in range(256)]


_CHARACTER_OF = _byte_alphabet()
_BYTE_OF = {character: byte for byte, character in enumerate(_CHARACTER_OF)}


def byte_piece(data: bytes) -> str:
    """Bytes as the vocabulary of a byte-level tokenizer writes them."""
    return "".join(_CHARACTER_OF[byte] for byte in data)


def piece_bytes(piece: str) -> bytes | None:
    """The bytes that a vocabulary entry stands for; None outside the byte alphabet (a special token)."""
    try:
        return bytes(_BYTE_OF[character] for character in piece)
    except KeyError:
        return None
