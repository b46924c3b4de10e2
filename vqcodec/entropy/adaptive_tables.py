"""Adaptive integer tables: the entropy model that needs no training, though prepared tables help it.

For each plane of a tile the encoder picks a prepared table and how fast it learns; from there on the frequencies
follow the symbols already coded. Differs from a context model: neighbours and earlier planes are not looked at.
Everything is integer arithmetic, so every machine gets the same frequencies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from .alphabet_split import Split, unsplit
from .coder import Coder
from .scan_order import scan

PREPARED_TOTAL = 2**16
"""Sum of a prepared table."""
STEPS = (0, 16, 64, 256, 1024)
"""What one occurrence of a symbol adds to its frequency; 0 does not learn. The prepared table counts as many
symbols as PREPARED_TOTAL / step."""
BLOCK = 32
"""Symbols coded before the frequencies change."""
LEARNED_TOTAL = 2**23
"""Learning stops when the symbols counted would add more than this, which bounds the sum of a table."""


class AdaptiveTables:
    """Prepared tables of each plane, `prepared[s]` int64 [T, K_s], every row positive with sum PREPARED_TOTAL."""

    kind = "adaptive"

    def __init__(self, sizes: Sequence[int], prepared: Sequence[np.ndarray] | None = None) -> None:
        self.sizes = tuple(sizes)
        tables = [uniform_table(size)[None] for size in sizes] if prepared is None else prepared
        self.prepared = [np.asarray(table, dtype=np.int64) for table in tables]
        for s, (table, size) in enumerate(zip(self.prepared, self.sizes, strict=True)):
            if table.ndim != 2 or table.shape[1] != size:
                raise ValueError(f"prepared[{s}]: shape {table.shape}, expected [T, {size}]")
            if table.min() < 1 or (table.sum(1) != PREPARED_TOTAL).any():
                raise ValueError(f"prepared[{s}]: frequencies must be at least 1 with sum {PREPARED_TOTAL}")

    def identity(self) -> bytes:
        """4 bytes that differ when the frequencies could."""
        digest = hashlib.sha256(f"{self.kind} {STEPS} {BLOCK} {PREPARED_TOTAL} {LEARNED_TOTAL} {self.sizes}".encode())
        for table in self.prepared:
            digest.update(table.astype("<i4").tobytes())
        return digest.digest()[:4]

    def workers(self) -> int:
        """1: small steps in Python, which threads would only take turns at."""
        return 1

    def order(self, shape: tuple[int, ...]) -> np.ndarray:
        """Flat positions int64 of a plane of `shape` in the order they are coded in."""
        return scan(shape)

    def split(self, s: int) -> Split:
        """How the codes of plane s are coded: whole."""
        return unsplit(self.sizes[s])

    def code_tiles(
        self, coders: Sequence[Coder], tiles: Sequence[Sequence[np.ndarray]], layers: Sequence[Sequence[int]]
    ) -> None:
        """Code the planes (int32 [h, w] or [L]) of the given layers, coarse to fine; decoders fill them in place."""
        for coder, planes in zip(coders, tiles, strict=True):
            self._code_tile(coder, planes, layers)

    def _code_tile(self, coder: Coder, planes: Sequence[np.ndarray], layers: Sequence[Sequence[int]]) -> None:
        for layer in layers:
            for s in layer:
                order = scan(planes[s].shape)
                symbols = planes[s].reshape(-1)[order]
                self.code_plane(coder, s, symbols)
                planes[s].reshape(-1)[order] = symbols
            coder.end_layer()

    def least_bits(self, s: int, symbols: np.ndarray) -> float:
        """Bits of symbols [n] of plane s by the cheapest table and step, with the choice of these."""
        options = costs(self.prepared[s], symbols)
        return float(options.min() + np.log2(len(options)))

    def code_plane(self, coder: Coder, s: int, symbols: np.ndarray) -> None:
        """Code symbols int32 [n] of plane s in the order given; a decoder fills them in place."""
        prepared, size = self.prepared[s], self.sizes[s]
        choice = coder.choose(len(prepared) * len(STEPS), lambda: cheapest(prepared, symbols))
        table, step = prepared[choice // len(STEPS)].copy(), STEPS[choice % len(STEPS)]
        if step == 0:
            coder.code(table, symbols)
            return
        for start in range(0, len(symbols), BLOCK):
            block = symbols[start : start + BLOCK]
            coder.code(table, block)
            if (start + BLOCK) * step <= LEARNED_TOTAL:
                # A cut stream leaves -1 behind; nothing after that is decoded, so the tables no longer matter.
                table += step * np.bincount(np.maximum(block, 0), minlength=size)


def uniform_table(size: int) -> np.ndarray:
    """The most even positive integers [size] with sum PREPARED_TOTAL."""
    if not 1 <= size <= PREPARED_TOTAL:
        raise ValueError(f"size: {size}, expected 1..{PREPARED_TOTAL}")
    return PREPARED_TOTAL // size + (np.arange(size) < PREPARED_TOTAL % size).astype(np.int64)


def table_from_counts(counts: np.ndarray) -> np.ndarray:
    """Positive integers [K] with sum PREPARED_TOTAL, in proportion to counts [K] as far as that allows."""
    size = len(counts)
    share = (counts + 0.3) / (counts.sum() + 0.3 * size)
    table = 1 + np.floor(share * (PREPARED_TOTAL - size)).astype(np.int64)
    table[np.argmax(table)] += PREPARED_TOTAL - table.sum()
    return table


def cheapest(prepared: np.ndarray, symbols: np.ndarray) -> int:
    """Index table * len(STEPS) + step of the choice that codes symbols [n] in the fewest bits."""
    return int(np.argmin(costs(prepared, symbols)))


def costs(prepared: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """Bits [T * len(STEPS)] of symbols [n] under prepared [T, K] and each learning step.

    Encoder side only: floating point may round as it likes here.
    """
    tables = prepared.shape[0]
    n = len(symbols)
    fixed = np.log2(prepared)
    if n == 0:
        return np.zeros(tables * len(STEPS))
    bits = np.empty((tables, len(STEPS)))
    bits[:, 0] = n * np.log2(PREPARED_TOTAL) - fixed[:, symbols].sum(1)
    seen = _seen_before(symbols)  # [n]
    block_start = np.arange(n) // BLOCK * BLOCK
    base = prepared[:, symbols].astype(np.float64)
    for i, step in enumerate(STEPS[1:], 1):
        limit = LEARNED_TOTAL // step // BLOCK * BLOCK
        counted = np.minimum(block_start, limit)
        # Beyond the limit nothing is learned; such planes are far larger than any default tile.
        total = np.log2(PREPARED_TOTAL + counted * float(step)).sum()
        bits[:, i] = total - np.log2(base + step * seen).sum(1)
    return bits.reshape(-1)


def _seen_before(symbols: np.ndarray) -> np.ndarray:
    """How often each symbol occurred in the blocks before its own, float64 [n]."""
    n = len(symbols)
    by_symbol = np.argsort(symbols, kind="stable")
    ordered = symbols[by_symbol]
    first = np.searchsorted(ordered, ordered, side="left")
    # Occurrences of the same symbol stand side by side in coding order; those of the same block do not count yet.
    blocks = by_symbol // BLOCK
    keys = ordered.astype(np.int64) * (n // BLOCK + 1) + blocks
    seen = np.empty(n)
    seen[by_symbol] = np.searchsorted(keys, keys, side="left") - first
    return seen
