"""Lossless coding of alpha planes: one PNG filter per row, then zstandard.

Only PNG's filters None, Sub and Up are used: their inverses are array operations on a row or the whole plane, whereas
Average and Paeth need a loop over single pixels.

Bytes: a constant plane is one byte, its value. Any other plane is one zstandard frame that states its content size and
holds H rows of a filter byte (0 None; 1 Sub: minus the pixel to the left; 2 Up: minus the pixel above) and W residuals.
Pixels outside the plane are 0, arithmetic is mod 256.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import zstandard

from ..errors import FormatError

NONE, SUB, UP = 0, 1, 2
LEVEL = 12
"""Compression level of zstandard."""
STRIP = 2**20
"""Pixels filtered at a time, which bounds the memory on top of the plane and its result."""

Plane = npt.NDArray[np.uint8]


def encode_alpha(alpha: Plane) -> bytes:
    """Bytes of an alpha plane uint8 [H, W]. They depend on the version of the zstandard library.

    Raises: ValueError if `alpha` is not uint8, not 2-D, or empty.
    """
    if alpha.dtype != np.uint8 or alpha.ndim != 2 or not alpha.size:
        raise ValueError(f"alpha must be uint8 [H, W] and not empty, got {alpha.dtype} {list(alpha.shape)}")
    height, width = alpha.shape
    if (alpha == alpha[0, 0]).all():
        return bytes([alpha[0, 0]])
    rows = np.empty((height, width + 1), np.uint8)
    step = max(1, STRIP // width)
    for top in range(0, height, step):
        _filter(alpha, rows, top, min(top + step, height))
    return zstandard.ZstdCompressor(level=LEVEL, write_content_size=True, threads=0).compress(rows.data)


def decode_alpha(data: bytes, width: int, height: int) -> Plane:
    """The plane uint8 [height, width]; inverse of `encode_alpha`.

    Raises:
        FormatError: `data` is not a plane of that size; found before memory beyond the plane's is allocated.
        ValueError: `width` or `height` is below 1.
    """
    if width < 1 or height < 1:
        raise ValueError(f"width and height must be at least 1, got {width} and {height}")
    if len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    size = height * (width + 1)
    try:
        # zstandard follows the size stated in the frame rather than max_output_size, so that size is checked first
        stated = zstandard.frame_content_size(data)
        if stated != size:
            raise FormatError(f"alpha: expected {size} bytes in the zstandard frame, found {stated}")
        plain = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(f"alpha: expected a zstandard frame, found {error}") from error
    if len(plain) != size:
        raise FormatError(f"alpha: expected {size} bytes, found {len(plain)}")
    return _unfilter(np.frombuffer(plain, np.uint8).reshape(height, width + 1))


def _filter(alpha: Plane, rows: Plane, top: int, bottom: int) -> None:
    """Filter rows top..bottom of `alpha` [H, W] into `rows` [H, 1 + W], each by the cheapest filter."""
    plain = alpha[top:bottom]
    sub, up = plain.copy(), plain.copy()
    sub[:, 1:] -= plain[:, :-1]
    up[1:] -= plain[:-1]
    if top:
        up[0] -= alpha[top - 1]
    choices = (plain, sub, up)
    # Cost: the sum of |residual|, residuals taken as signed bytes.
    cost = np.stack([np.minimum(r, 0 - r).sum(axis=1, dtype=np.int64) for r in choices])
    best = cost.argmin(axis=0)
    rows[top:bottom, 0] = best
    for kind, residual in enumerate(choices):
        rows[top:bottom, 1:][best == kind] = residual[best == kind]


def _unfilter(rows: Plane) -> Plane:
    """The plane [H, W] of filtered `rows` [H, 1 + W]; inverse of `_filter`."""
    kinds, alpha = rows[:, 0], rows[:, 1:].copy()
    if kinds.max() > UP:
        y = int((kinds > UP).argmax())
        raise FormatError(f"alpha: filter of row {y}: expected 0..2, found {kinds[y]}")
    sub = np.flatnonzero(kinds == SUB)
    step = max(1, STRIP // alpha.shape[1])
    for i in range(0, len(sub), step):
        some = sub[i : i + step]
        alpha[some] = np.cumsum(alpha[some], axis=1, dtype=np.uint8)
    for row in np.flatnonzero(kinds == UP):  # top to bottom: the row above is decoded
        if row:
            alpha[row] += alpha[row - 1]
    return alpha
