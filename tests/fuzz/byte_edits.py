"""Random edits of plain bytes, shared by the mutations of all formats."""

from __future__ import annotations

from random import Random

SMALL = (0, 1, 2, 3, 7, 15, 16, 31, 32, 127, 128, 255, 256)
POWERS = tuple(2**n + d for n in (8, 14, 16, 20, 21, 24, 26, 27, 28, 31, 32) for d in (-1, 0, 1))


def number(random: Random, near: int = 0) -> int:
    """A number at a limit, small, near `near`, or anything of 32 bits; at least 0."""
    kind = random.randrange(4)
    if kind == 0:
        return random.choice(SMALL)
    if kind == 1:
        return random.choice(POWERS)
    if kind == 2:
        return max(0, near + random.randint(-3, 3))
    return random.getrandbits(random.randint(1, 32))


def edited(data: bytes, random: Random) -> bytes:
    """`data` after one edit: bits flipped, bytes replaced, a part removed, doubled, moved, zeroed, or all replaced."""
    if not data:
        return random.randbytes(random.choice((1, 4, 8, 64)))
    kind, at = random.randrange(8), random.randrange(len(data))
    end = min(len(data), at + random.choice((1, 2, 4, 16, 64)))
    if kind == 0:
        return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + random.randbytes(end - at) + data[end:]
    if kind == 2:
        return data[:at] + data[end:]
    if kind == 3:
        return data[:end] + data[at:end] * random.choice((1, 1, 2, 50)) + data[end:]
    if kind == 4:
        to = random.randrange(len(data))
        rest = data[:at] + data[end:]
        return rest[:to] + data[at:end] + rest[to:]
    if kind == 5:
        return data[:at] + bytes([random.choice((0, 255))]) * (end - at) + data[end:]
    if kind == 6:
        return data[:at]
    return random.randbytes(len(data))
