"""A second, independent decoder of the entropy-coded segments: pure Python integers, no constriction, no numpy maths.

It follows FORMAT.md, "Entropy coding", and exists to prove that the bitstream does not depend on the library.
"""

from __future__ import annotations

import struct

PRECISION = 24


class AnsDecoder:
    """rANS with a 64-bit state and 32-bit words, stored in the order a decoder takes them."""

    def __init__(self, data: bytes) -> None:
        words = list(struct.unpack(f"<{len(data) // 4}I", data))
        self.words = words[::-1]  # popped from the end
        self.state = 0
        while self.words and self.state < 2**32:
            self.state = self.state << 32 | self.words.pop()

    def decode(self, table: list[int]) -> int:
        """The next symbol under integer frequencies; what a double-checked float32 division gives is done exactly."""
        bounds = boundaries(table)
        quantile = self.state % 2**PRECISION
        symbol = next(k for k in range(len(table)) if bounds[k] <= quantile < bounds[k + 1])
        self.state = self.state // 2**PRECISION * (bounds[symbol + 1] - bounds[symbol]) + quantile - bounds[symbol]
        if self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()
        return symbol


def boundaries(table: list[int]) -> list[int]:
    """Cumulative frequencies out of 2**24: trunc(sum of the entries before k * scale) + k, in float32 arithmetic."""
    total = sum(table)
    scale = to_float32((2**PRECISION - len(table)) / total)
    cumulative, bounds = 0, []
    for k, entry in enumerate(table):
        bounds.append(int(to_float32(cumulative * scale)) + k)
        cumulative += entry
    return [*bounds, 2**PRECISION]


def to_float32(value: float) -> float:
    """Rounded to the nearest float32; exact for products and quotients of float32 values computed in float64."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def decode_adaptive_plane(coder: AnsDecoder, prepared: list[list[int]], n: int) -> list[int]:
    """One plane of the adaptive tables: the choice, then n symbols in coding order."""
    steps, block, limit = (0, 16, 64, 256, 1024), 32, 2**23
    choice = coder.decode([1] * (len(prepared) * len(steps)))
    table, step = list(prepared[choice // len(steps)]), steps[choice % len(steps)]
    symbols: list[int] = []
    for start in range(0, n, block):
        found = [coder.decode(table) for _ in range(min(block, n - start))]
        symbols += found
        if step and (start + block) * step <= limit:
            for symbol in found:
                table[symbol] += step
    return symbols
