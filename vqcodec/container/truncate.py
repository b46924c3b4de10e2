"""Truncation of a .vqc file without its model: to whole layers, or to a number of bytes.

Segments are dropped or shortened; the remaining bytes of segments, alpha and chunks are unchanged.
"""

from __future__ import annotations

import dataclasses

from .. import container
from ..errors import TargetError, UsageError


def cut_to_layers(file: container.File, keep: int) -> bytes:
    """File with the first `keep` layers. Raises UsageError if `keep` is not 1..layers of the file."""
    check_keep(keep, file.header.n_layers)
    segments = [[segment or b"" for segment in layer] for layer in file.segments[:keep]]
    keeps_all = keep == file.header.n_layers
    header = dataclasses.replace(file.header, n_layers=keep, cut=file.header.cut or not keeps_all)
    return container.write(header, segments, file.alpha, file.chunks, file.head.partial if keeps_all else ())


def cut_to_bytes(file: container.File, max_bytes: int) -> bytes:
    """File of at most `max_bytes` bytes: the layers that fit, and the same share of the next one in each tile.

    Raises TargetError if the first layer does not fit.
    """
    keep = file.header.n_layers
    whole = cut_to_layers(file, keep)
    while len(whole) > max_bytes:
        keep -= 1
        if keep == 0:
            least = len(whole)
            raise TargetError(
                f"{max_bytes} bytes: too few, the first layer alone takes {least}; ask for at least {least} bytes"
            )
        whole = cut_to_layers(file, keep)
    if keep == file.header.n_layers:
        return whole
    return _with_part_of_next(file, keep, max_bytes) or whole


def _with_part_of_next(file: container.File, keep: int, max_bytes: int) -> bytes | None:
    """`keep` layers and the largest equal share of the next one that fits; None if no word of it does."""
    header = dataclasses.replace(file.header, n_layers=keep + 1, cut=True)
    full = [[segment or b"" for segment in layer] for layer in file.segments[: keep + 1]]
    lengths = [len(segment) // 4 for segment in full[keep]]
    # Segments of the next layer that the file holds only in part.
    ended = file.head.partial if keep + 1 == file.header.n_layers and file.header.cut else (False,) * len(lengths)

    def written(words: list[int]) -> bytes:
        part = [segment[: 4 * n] for segment, n in zip(full[keep], words, strict=True)]
        partial = [n < length or before for n, length, before in zip(words, lengths, ended, strict=True)]
        return container.write(header, [*full[:keep], part], file.alpha, file.chunks, partial)

    low, high = 0, 4096
    while low < high:  # share of each tile's segment, in 4096ths
        middle = (low + high + 1) // 2
        if len(written([n * middle // 4096 for n in lengths])) <= max_bytes:
            low = middle
        else:
            high = middle - 1
    words = [n * low // 4096 for n in lengths]
    best = written(words)
    if len(best) > max_bytes:
        return None
    # Bytes left over by the equal share: one word more for each of the first tiles that have one.
    spare = (max_bytes - len(best)) // 4
    for t in range(len(words)):
        if spare > 0 and 0 < words[t] < lengths[t]:
            words[t] += 1
            spare -= 1
    grown = written(words)
    best = grown if len(grown) <= max_bytes else best
    return best if any(words) else None


def check_keep(keep: int, n_layers: int) -> None:
    """Raise UsageError unless 1 <= keep <= n_layers."""
    if not 1 <= keep <= n_layers:
        raise UsageError(f"keep {keep}: there are {n_layers} layers; give 1..{n_layers}")
