"""Order of the samples of an epoch, and their division among ranks and workers: pure functions of numbers.

The permutation is a Feistel network on the bits of a position, applied until the result is below n. It needs no memory,
any position can be computed alone, and it is the same on every machine and in every version of numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDS = 6


def shuffled(positions: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    """Sample numbers int64 at `positions` 0..n-1 of the permutation for (seed, epoch)."""
    half = max(1, (max(n - 1, 1).bit_length() + 1) // 2)
    keys = _mix(np.arange(ROUNDS, dtype=np.uint64) + np.uint64(_key(seed, epoch)))
    result = positions.astype(np.uint64)
    wanted = np.arange(len(result))
    while len(wanted):
        result[wanted] = _network(result[wanted], half, keys)
        wanted = wanted[result[wanted] >= n]
    return result.astype(np.int64)


def draw(numbers: np.ndarray, n_values: int, seed: int, epoch: int, purpose: int) -> np.ndarray:
    """A random integer 0..n_values-1 for each of `numbers`, a function of them, (seed, epoch) and `purpose`."""
    key = np.uint64(_key(seed, epoch) ^ (purpose + 1) * 0x9E3779B97F4A7C15 & _ALL)
    return (_mix(_mix(numbers.astype(np.uint64)) ^ key) % np.uint64(n_values)).astype(np.int64)


_ALL = 2**64 - 1


def _key(seed: int, epoch: int) -> int:
    """64 bits that differ between (seed, epoch)."""
    mixed = _mix(np.array([seed & _ALL], np.uint64)) ^ np.array([epoch & _ALL], np.uint64)
    return int(_mix(mixed)[0])


def _network(values: np.ndarray, half: int, keys: np.ndarray) -> np.ndarray:
    """A permutation of the integers of 2 * half bits."""
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return left << shift | right


def _mix(values: np.ndarray) -> np.ndarray:
    """Bits of unsigned 64-bit integers mixed (the finalizer of SplitMix64)."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


@dataclass(frozen=True)
class Share:
    """The positions of an epoch of `n` samples that one worker of one rank reads, from position `start` on.

    Ranks take positions in turn. On a rank, workers take blocks of `block` positions in turn, as a DataLoader takes
    batches from its workers: with `block` = batch size the order of the batches does not depend on the workers.
    """

    n: int
    start: int = 0
    rank: int = 0
    world: int = 1
    worker: int = 0
    workers: int = 1
    block: int = 1

    def positions(self, first: int, count: int) -> np.ndarray:
        """Positions int64 of the share's samples number first, first + 1, ...; fewer than `count` at the end."""
        number = np.arange(first, first + count, dtype=np.int64)
        of_rank = (number // self.block * self.workers + self.worker) * self.block + number % self.block
        found = self.start + self.rank + of_rank * self.world
        return found[found < self.n]
