"""Unpack what Rob Northen's ProPack packed, method 1, as games of the nineties did.

```
"RNC", 1, unpacked and packed size, CRC of both, leeway, chunks | bits in words of 16, and bytes
chunk: Huffman tables of raw lengths, distances, lengths; then (raw bytes, copy) pairs
```

Bits come from words of 16, the lowest first; raw bytes lie between these words.
"""

import struct
from collections.abc import Callable

HEADER = struct.Struct(">4sIIHHBB")
MAGIC = b"RNC\x01"


def unpack(data: bytes) -> bytes:
    """Return what was packed; raise ValueError for what is not packed so, or is damaged."""
    if len(data) < HEADER.size or data[:4] != MAGIC:
        raise ValueError("this is not packed by ProPack's method 1")
    _, size, _, check, _, _, chunks = HEADER.unpack_from(data)
    bits, out = _Bits(data, HEADER.size), bytearray()
    bits.take(2)
    try:
        for _ in range(chunks):
            raws, distances, lengths = (_table(bits) for _ in range(3))
            for pair in range(bits.take(16), 0, -1):
                out += bits.raw(raws())
                if pair > 1:
                    distance, length = distances() + 1, lengths() + 2
                    begin = len(out) - distance
                    found = out[begin : begin + length]
                    out += (found * (length // len(found) + 1))[:length]
    except (KeyError, ZeroDivisionError) as error:
        raise ValueError("the packed data are damaged") from error
    if len(out) != size or _crc(out) != check:
        raise ValueError("the packed data are damaged: their checksum is another")
    return bytes(out)


class _Bits:
    """Reads bits and bytes; the word at `at` is in the buffer's highest 16 bits, not used up."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data + bytes(4), at
        self.buffer, self.count = self._word(), 16

    def take(self, number: int) -> int:
        found = self.buffer & ((1 << number) - 1)
        self.buffer >>= number
        self.count -= number
        if self.count < 16:
            self.at += 2
            self.buffer |= self._word() << self.count
            self.count += 16
        return found

    def raw(self, number: int) -> bytes:
        """Take bytes from the place of the word that is not used up, which comes after them."""
        if not number:
            return b""
        found = self.data[self.at : self.at + number]
        self.at += number
        self.count -= 16
        self.buffer = self.buffer & ((1 << self.count) - 1) | self._word() << self.count
        self.count += 16
        return found

    def _word(self) -> int:
        return int.from_bytes(self.data[self.at : self.at + 2], "little")


def _table(bits: _Bits) -> Callable[[], int]:
    """Read a Huffman table; return what reads a number by it."""
    lengths = [bits.take(4) for _ in range(bits.take(5))]
    leaves: dict[tuple[int, int], int] = {}
    code = 0
    for length in range(1, 16):
        for value in (value for value, own in enumerate(lengths) if own == length):
            leaves[length, int(f"{code:0{length}b}"[::-1], 2)] = value
            code += 1
        code <<= 1
    used = sorted({length for length, _ in leaves})

    def read() -> int:
        for length in used:
            value = leaves.get((length, bits.buffer & ((1 << length) - 1)))
            if value is not None:
                bits.take(length)
                return value if value < 2 else (1 << (value - 1)) | bits.take(value - 1)
        raise KeyError("no such code")

    return read


def _crc(data: bytes | bytearray) -> int:
    crc = 0
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0xA001 if byte & 1 else 0)
    return byte


_CRC = [_entry(byte) for byte in range(256)]
