"""Search over the ladder of one model: a file within a budget of bytes, or of at least a quality.

A ladder step is found first: by bisection with the draft encoder, corrected with the encoder itself. Then multipliers
between the step and its neighbour are tried. Both searches assume that files shrink, and quality falls, as the
multiplier grows; where a picture is an exception, the file found is still within the budget, or of the quality.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from .base import PictureEncoder

CLOSE = 0.975
"""A file that fills this share of a budget is large enough."""
NEAR = 1.002
"""Multipliers of less than this ratio make the same files."""
MAX_TRIES = 6
"""Most files made between two steps of the ladder."""
HOLD_AFTER, HELD_TRIES, HELD_RANGE = 4, 2, 1.5
"""Tries after which the encoder holds its quantization step, further tries with it, and ratio of their multipliers."""

Quality = Callable[[PictureEncoder, float, int], float]
"""(encoder, lmbda, keep) -> quality of the decoded file, higher is better."""


def first_step(encoder: PictureEncoder, is_enough: Callable[[PictureEncoder, int], bool]) -> int:
    """Number of the first ladder step for which `is_enough` is true; the last step if it is true for none.

    Steps are assumed monotone: where `is_enough` is true for a step, it is true for all later steps.

    Args:
        encoder: its draft finds a step by bisection; the encoder itself then corrects that step to either side.
        is_enough: (encoder or its draft, number of a step) -> True if the file of the step is large or good enough.
    """
    low, high = 0, len(encoder.ladder) - 1
    while low < high:
        middle = (low + high) // 2
        if is_enough(encoder.draft, middle):
            high = middle
        else:
            low = middle + 1
    i = low
    while i > 0 and is_enough(encoder, i - 1):
        i -= 1
    while i < len(encoder.ladder) - 1 and not is_enough(encoder, i):
        i += 1
    return i


class FilesAroundBudget(NamedTuple):
    """Complete files on both sides of a budget; where the last step of the ladder fits, both are its file."""

    within: bytes | None
    """The largest file found within the budget; None if there is none."""
    beyond: bytes
    """The smallest file found beyond the budget."""


def encode_near(encoder: PictureEncoder, max_bytes: int) -> FilesAroundBudget:
    """Complete files close to `max_bytes`, one on each side."""
    i = first_step(encoder, lambda tried, step: len(tried.file_at_step(step)) > max_bytes)
    over = encoder.file_at_step(i)
    if len(over) <= max_bytes:
        return FilesAroundBudget(over, over)
    under = encoder.file_at_step(i - 1) if i > 0 and len(encoder.file_at_step(i - 1)) <= max_bytes else None
    if not encoder.uses_lmbda or under is None:
        return FilesAroundBudget(under, over)
    # Files between two steps have the layers of the later one.
    low, high = encoder.ladder[i].lmbda, encoder.ladder[i - 1].lmbda
    for tried in range(MAX_TRIES + HELD_TRIES):
        if tried == HOLD_AFTER:
            # Sizes jump where the multiplier passes to another quantization step; a budget may lie between.
            encoder, high = encoder.holding(low), max(high, HELD_RANGE * low)
        if len(under) >= CLOSE * max_bytes or high / max(low, 1e-9) < NEAR:
            break
        share = (len(over) - max_bytes * (1 + CLOSE) / 2) / max(len(over) - len(under), 1)
        lmbda = _between(low, high, min(max(share, 0.1), 0.9))
        data = encoder.file(lmbda, encoder.ladder[i].keep)
        if len(data) <= max_bytes:
            high, under = lmbda, max(under, data, key=len)
        else:
            low, over = lmbda, min(over, data, key=len)
    return FilesAroundBudget(under, over)


class FileOfQuality(NamedTuple):
    """A file and the quality of its decoded picture."""

    data: bytes
    quality: float


def encode_at_least(encoder: PictureEncoder, quality: Quality, target: float) -> FileOfQuality | None:
    """The smallest file found of `quality` `target` or more; None if the last step of the ladder has less.

    `quality` is called with `encoder` and its draft.
    """

    def is_enough(tried: PictureEncoder, step: int) -> bool:
        return quality(tried, tried.ladder[step].lmbda, tried.ladder[step].keep) >= target

    def made(lmbda: float, keep: int) -> FileOfQuality:
        return FileOfQuality(encoder.file(lmbda, keep), quality(encoder, lmbda, keep))

    i = first_step(encoder, is_enough)
    if not is_enough(encoder, i):
        return None
    if i == 0:
        # Below the ladder there are the first layers of its first file.
        lmbda, keep = encoder.ladder[0].lmbda, encoder.ladder[0].keep
        fewer = (k for k in range(1, keep) if quality(encoder, lmbda, k) >= target)
        return made(lmbda, next(fewer, keep))
    best = made(encoder.ladder[i].lmbda, encoder.ladder[i].keep)
    if not encoder.uses_lmbda:
        return best
    low, high = encoder.ladder[i].lmbda, encoder.ladder[i - 1].lmbda
    for _ in range(MAX_TRIES):
        if high / max(low, 1e-9) < NEAR:
            break
        lmbda = _between(low, high, 0.5)
        if quality(encoder, lmbda, encoder.ladder[i].keep) >= target:
            low, best = lmbda, min(best, made(lmbda, encoder.ladder[i].keep), key=lambda file: len(file.data))
        else:
            high = lmbda
    return best


def _between(low: float, high: float, share: float) -> float:
    """The geometric interpolation of `low` (share 0) and `high` (share 1); 0 counts as a thousandth of `high`."""
    low = max(low, high / 1000)
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
