"""Adaptive integer tables: the entropy model that needs no training.

For each plane of a tile the encoder selects a prepared table p and a learning step; after n_k occurrences of symbol k
in earlier blocks of BLOCK symbols its frequency is p_k + step * n_k. Neighbours and earlier planes are not used.
Integer arithmetic gives every machine the same frequencies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from ..planes import Layers, Planes
from .index_order import scan
from .interface import WholeIndexModel
from .rans import Coder

PREPARED_TOTAL = 2**16
"""Sum of each prepared table."""
STEPS = (0, 16, 64, 256, 1024)
"""Learning steps: added to a symbol's frequency by each occurrence; 0 for a fixed table. The prepared table has the
weight of PREPARED_TOTAL / step symbols."""
BLOCK = 32
"""Symbols coded between two updates of the frequencies."""
LEARNED_TOTAL = 2**23
"""Learning stops before the occurrences add more than this in total, which bounds the sum of a table."""

CANDIDATES = 4
"""Prepared tables that an encoder tries with learning."""
MAX_LEARNED = 2**24
"""Most entries of the tables of a plane that an encoder keeps until the end of a stream, 64 MiB."""


class AdaptiveTables(WholeIndexModel):
    """Adaptive tables over planes of alphabets `sizes`.

    `prepared[s]` int64 [T, K_s] are the prepared tables of plane s, positive with sum PREPARED_TOTAL; default one
    uniform table. Raises ValueError for others.
    """

    kind = "adaptive"

    def __init__(self, sizes: Sequence[int], prepared: Sequence[np.ndarray] | None = None) -> None:
        self.sizes = tuple(sizes)
        if prepared is None:  # planes of one size share a table
            uniform = {size: uniform_table(size)[None] for size in set(sizes)}
            prepared = [uniform[size] for size in sizes]
        self.prepared = [np.asarray(table, dtype=np.int64) for table in prepared]
        for s, (table, size) in enumerate(zip(self.prepared, self.sizes, strict=True)):
            if table.ndim != 2 or table.shape[1] != size:
                raise ValueError(f"prepared[{s}]: shape {table.shape}, expected [T, {size}]")
            if table.min() < 1 or (table.sum(1) != PREPARED_TOTAL).any():
                raise ValueError(f"prepared[{s}]: frequencies must be at least 1 with sum {PREPARED_TOTAL}")

    def identity(self) -> bytes:
        """4 bytes of SHA-256 over prepared tables and constants."""
        digest = hashlib.sha256(f"{self.kind} {STEPS} {BLOCK} {PREPARED_TOTAL} {LEARNED_TOTAL} {self.sizes}".encode())
        for table in self.prepared:
            digest.update(table.astype("<i4").tobytes())
        return digest.digest()[:4]

    def workers(self) -> int:
        """1: Python code, which threads would run in turns."""
        return 1

    def code_tiles(self, coders: Sequence[Coder], tiles: Sequence[Planes], layers: Layers) -> None:
        """Code the planes int32 [h, w] or [L] of `layers` of each tile; decoders fill them in place."""
        for coder, planes in zip(coders, tiles, strict=True):
            self._code_tile(coder, planes, layers)

    def _code_tile(self, coder: Coder, planes: Planes, layers: Layers) -> None:
        for layer in layers:
            for s in layer:
                order = scan(planes[s].shape)
                symbols = planes[s].reshape(-1)[order]
                self.code_plane(coder, s, symbols)
                planes[s].reshape(-1)[order] = symbols
            coder.end_layer()

    def least_bits(self, s: int, symbols: np.ndarray) -> float:
        """Bits of symbols [n] of plane s by the best table and step, with the bits that name these."""
        bits = option_bits(self.prepared[s], symbols)
        return float(bits.min() + np.log2(len(bits)))

    def code_plane(self, coder: Coder, s: int, symbols: np.ndarray) -> None:
        """Code symbols int32 [n] of plane s in the order given; a decoder fills them in place."""
        prepared = self.prepared[s]
        option = coder.code_choice(len(prepared) * len(STEPS), lambda: best_option(prepared, symbols))
        # Integers below 2^24 are exact in float32, the type that the coder needs.
        table, step = prepared[option // len(STEPS)].astype(np.float32), STEPS[option % len(STEPS)]
        learned = LEARNED_TOTAL // step // BLOCK * BLOCK if step else 0
        for start in range(0, min(learned, len(symbols)), BLOCK):
            block = symbols[start : start + BLOCK]
            coder.code(table, block)
            table = table.copy() if coder.encodes else table  # encoders keep their tables until the end
            # A cut stream leaves MISSING; nothing after it is decoded, so these frequencies are not used.
            np.add.at(table, np.maximum(block, 0), np.float32(step))
        coder.code(table, symbols[learned:])


def uniform_table(size: int) -> np.ndarray:
    """Frequencies int64 [size] with sum PREPARED_TOTAL that differ by at most 1. Raises ValueError for other sizes."""
    if not 1 <= size <= PREPARED_TOTAL:
        raise ValueError(f"size: {size}, expected 1..{PREPARED_TOTAL}")
    return PREPARED_TOTAL // size + (np.arange(size) < PREPARED_TOTAL % size).astype(np.int64)


def table_from_counts(counts: np.ndarray) -> np.ndarray:
    """Counts [K] -> frequencies int64 [K], at least 1 with sum PREPARED_TOTAL, else proportional to counts + 0.3."""
    size = len(counts)
    share = (counts + 0.3) / (counts.sum() + 0.3 * size)
    table = 1 + np.floor(share * (PREPARED_TOTAL - size)).astype(np.int64)
    table[np.argmax(table)] += PREPARED_TOTAL - table.sum()
    return table


def best_option(prepared: np.ndarray, symbols: np.ndarray) -> int:
    """table * len(STEPS) + step, by numbers, of the least bits for symbols [n]."""
    return int(np.argmin(option_bits(prepared, symbols)))


def option_bits(prepared: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """Bits [T * len(STEPS)] of symbols [n] under prepared tables [T, K] and each learning step.

    Infinite for options that are not tried: learning from tables that are not among the CANDIDATES best as they are,
    and steps whose tables would take too much memory in the encoder.
    Only encoders use it, so floating-point rounding cannot affect decoding.
    """
    n, size = len(symbols), prepared.shape[1]
    if n == 0:
        return np.zeros(len(prepared) * len(STEPS))
    bits = np.full((len(prepared), len(STEPS)), np.inf)
    bits[:, 0] = n * np.log2(PREPARED_TOTAL) - np.log2(prepared) @ np.bincount(symbols, minlength=size)
    seen = _seen_before(symbols)  # [n]
    block_start = np.arange(n) // BLOCK * BLOCK
    for table in np.argsort(bits[:, 0], kind="stable")[:CANDIDATES]:
        base = prepared[table][symbols].astype(np.float64)
        for i, step in enumerate(STEPS[1:], 1):
            limit = LEARNED_TOTAL // step // BLOCK * BLOCK
            if min(n, limit) // BLOCK * size > MAX_LEARNED:
                continue
            counted = np.minimum(block_start, limit)
            # Beyond the limit tables stay.
            total = np.log2(PREPARED_TOTAL + counted * float(step)).sum()
            counts = seen.copy()
            if n > limit:
                counts[limit:] = np.bincount(symbols[:limit], minlength=size)[symbols[limit:]]
            bits[table, i] = total - np.log2(base + step * counts).sum()
    return bits.reshape(-1)


def _seen_before(symbols: np.ndarray) -> np.ndarray:
    """Occurrences of each symbol in the blocks before its own, float64 [n]."""
    n = len(symbols)
    by_symbol = np.argsort(symbols, kind="stable")
    ordered = symbols[by_symbol]
    first = np.searchsorted(ordered, ordered, side="left")
    # Occurrences of a symbol are adjacent, in coding order; those of its own block are not counted.
    blocks = by_symbol // BLOCK
    keys = ordered.astype(np.int64) * (n // BLOCK + 1) + blocks
    seen = np.empty(n)
    seen[by_symbol] = np.searchsorted(keys, keys, side="left") - first
    return seen
