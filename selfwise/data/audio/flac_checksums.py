"""The two checksums of flac (RFC 9639, 9.1.8 and 9.3)."""


def _build_table(bits: int, polynomial: int) -> list[int]:
    """Return the checksum of each byte alone."""
    top, mask, table = 1 << (bits - 1), (1 << bits) - 1, []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


_CRC8_TABLE, _CRC16_TABLE = _build_table(8, 0x07), _build_table(16, 0x8005)


def crc8(data: bytes) -> int:
    """Polynomial x^8 + x^2 + x + 1, from 0."""
    value = 0
    for byte in data:
        value = _CRC8_TABLE[value ^ byte]
    return value


def crc16(data: bytes) -> int:
    """Polynomial x^16 + x^15 + x^2 + 1, from 0."""
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFF) ^ _CRC16_TABLE[value >> 8 ^ byte]
    return value
