"""benchmarks/rnc.py: ProPack's method 1, against streams packed by hand."""

import struct

import pytest
import rnc

TEXT = b"abcabcabc!"


def pack(text: bytes = TEXT, check: int | None = None) -> bytes:
    """Pack TEXT: three raw bytes, six copied from three before, one raw byte."""
    bits: list[int] = []
    raw: list[tuple[int, bytes]] = []  # and before which word of 16 bits

    def put(value: int, width: int) -> None:
        bits.extend(value >> place & 1 for place in range(width))

    def table(*lengths: int) -> None:
        put(len(lengths), 5)
        for length in lengths:
            put(length, 4)

    def follow(data: bytes) -> None:
        raw.append((-(-len(bits) // 16), data))

    put(0, 2)
    table(0, 1, 1)  # raw lengths 1 and 2 to 3
    table(0, 0, 1)  # distances 3 to 4
    table(0, 0, 0, 1)  # lengths 6 to 9
    put(2, 16)  # pairs
    put(0b11, 2)  # 3 raw bytes: code 1, then the low bit of 3
    follow(text[:3])
    put(0b00, 2)  # distance 3
    put(0b000, 3)  # length 6
    put(0b0, 1)  # 1 raw byte
    follow(text[9:])
    words = [bits[i : i + 16] for i in range(0, len(bits), 16)]
    stream = b""
    for number in range(len(words) + 1):
        stream += b"".join(data for before, data in raw if before == number)
        if number < len(words):
            word = sum(bit << place for place, bit in enumerate(words[number]))
            stream += struct.pack("<H", word)
    crc = 0x624F if check is None else check
    return rnc.HEADER.pack(rnc.MAGIC, len(text), len(stream), crc, 0, 0, 1) + stream


def test_raw_and_copied_bytes_come_out() -> None:
    assert rnc.unpack(pack()) == TEXT


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not packed"),
        (b"RNC\x02" + pack()[4:], "not packed"),
        (pack(check=1), "checksum"),
        (pack(b"xbcabcabc!"), "checksum"),
        (pack()[:-4], "damaged"),
        (pack()[: rnc.HEADER.size + 3], "damaged"),
    ],
)
def test_other_and_damaged_data_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        rnc.unpack(data)
