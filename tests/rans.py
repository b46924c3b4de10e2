"""Independent decoder of entropy-coded segments, in Python integers.

It follows FORMAT.md, "Entropy coding", and proves that the bitstream depends on no library.
"""

from __future__ import annotations

import struct

PRECISION = 24


class AnsDecoder:
    """rANS with a 64-bit state and 32-bit words, stored in the order of decoding."""

    def __init__(self, data: bytes) -> None:
        words = list(struct.unpack(f"<{len(data) // 4}I", data))
        self.words = words[::-1]  # taken from the end
        self.state = 0
        while self.words and self.state < 2**32:
            self.state = self.state << 32 | self.words.pop()

    def decode(self, table: list[int]) -> int:
        """The next symbol under integer frequencies."""
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
    """The nearest float32; correct rounding for products and quotients of float32 values computed in float64."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def decode_adaptive_plane(coder: AnsDecoder, prepared: list[list[int]], n: int) -> list[int]:
    """One plane of adaptive tables: table and step, then n symbols in coding order."""
    steps, block, limit = (0, 16, 64, 256, 1024), 32, 2**23
    option = coder.decode([1] * (len(prepared) * len(steps)))
    table, step = list(prepared[option // len(steps)]), steps[option % len(steps)]
    symbols: list[int] = []
    for start in range(0, n, block):
        found = [coder.decode(table) for _ in range(min(block, n - start))]
        symbols += found
        if step and (start + block) * step <= limit:
            for symbol in found:
                table[symbol] += step
    return symbols


def decode_context_planes(
    coder: AnsDecoder, tensors: dict[str, list], sizes: tuple[int, ...], shape: tuple[int, int]
) -> list[list[list[int]]]:
    """All planes [h][w] of a tile of a context model, whose tensors are nested lists of integers."""
    h, w = shape
    [m], [grids] = tensors.get("prior.near", [len(sizes)]), tensors.get("prior.grids", [1])
    planes: list[list[list[int]]] = []

    def surroundings(t: int, i: int, j: int) -> list[int]:
        """Embedding E_t(i, j)."""
        inside = 0 <= i < h and 0 <= j < w
        return tensors[f"prior.{t}.embedding"][planes[t][i][j] if inside else sizes[t] + 1]

    def sums(inputs: list[int], matrix: list[list[int]], bias: list[int]) -> list[int]:
        assert len(inputs) == len(matrix)
        return [b + sum(x * row[k] for x, row in zip(inputs, matrix, strict=True)) for k, b in enumerate(bias)]

    def floored(values: list[int], shifts: list[int]) -> list[int]:
        return [v // 2**shift for v, shift in zip(values, shifts, strict=True)]

    def clamped(values: list[int]) -> list[int]:
        return [min(max(v, 0), 127) for v in values]

    def frequencies(s: int, p: int, g: int, i: int, j: int) -> list[int]:
        net = {name.split(".")[2]: value for name, value in tensors.items() if name.startswith(f"prior.{s}.")}
        near, wide, first = (-1, 0, 1), (-2, -1, 0, 1, 2), max(0, s - m)
        a = [e for dy in near for dx in near for t in range(first, s) for e in surroundings(t, i + dy, j + dx)]
        a += [e for t in range(first) for e in surroundings(t, i, j)]
        offsets = [(dy * 2**g, dx * 2**g) for dy in wide for dx in wide if (dy, dx) != (0, 0)]
        o = [e for dy, dx in offsets for e in surroundings(s, i + dy, j + dx)]
        own = net["own"] if len(net["own"]) == len(o) else net["own"][g * len(o) : (g + 1) * len(o)]
        h1 = clamped(floored(sums(a + o, net["around"] + own, net["bias1"][p]), net["shift1"]))
        step = floored(sums(h1, net["hidden"], net["bias2"]), net["shift2"])
        h2 = clamped([x + d for x, d in zip(h1, step, strict=True)])
        logits = floored(sums(h2, net["out"], net["bias3"][p]), net["shift3"])
        return [tensors["prior.lut"][min(max(logits) - v, 255)] for v in logits]

    for s, size in enumerate(sizes):
        planes.append([[size] * w for _ in range(h)])  # not yet coded
        cell = ((0, 0), (1, 1), (0, 1), (1, 0))
        order = [
            (g, y * 2**g, x * 2**g) for g in range(grids - 1, -1, -1) for y, x in cell[0 if g == grids - 1 else 1 :]
        ]
        for p, (g, y, x) in enumerate(order):
            places = [(i, j) for i in range(y, h, 2 ** (g + 1)) for j in range(x, w, 2 ** (g + 1))]
            # Positions of a pass are not inputs of each other.
            found = [(i, j, coder.decode(frequencies(s, p, g, i, j))) for i, j in places]
            for i, j, symbol in found:
                planes[s][i][j] = symbol
    return planes
