"""Conversion of .vqc files to a packed shard: every picture is decoded once, in the order of the sources."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError, OutputError, UsageError
from ..image.limits import MAX_PIXELS
from .coded_shard import CodedShard
from .listing import Sources, list_shards
from .packed import Packer
from .shard import Shard
from .suffixes import LABELS, PACKED
from .token_space import TokenSpace

READ_TOGETHER = 16
"""Files decoded together."""

OnProgress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


def pack(
    sources: Sources,
    target: str | Path,
    *,
    layers: int | None = None,
    max_pixels: int | None = MAX_PIXELS,
    on_progress: OnProgress | None = None,
) -> int:
    """Convert .vqc files to one packed shard with their labels; returns the number of pictures.

    Alpha and metadata are left out. The shard is written under another name and renamed.

    Args:
        sources: as for `TokenDataset`; all files are of one model.
        target: path that ends in .vqtok; an existing file is replaced.
        layers: the first layers to keep; all for None.
        max_pixels: largest width times height of a picture; None: no limit.
        on_progress: called with (pictures done, pictures in all).

    Raises InputError, FormatError, ModelError, LimitError, OutputError, UsageError.
    """
    if Path(target).suffix.lower() != PACKED:
        raise UsageError(f"{target}: the name of a packed shard ends in {PACKED}")
    shards = list_shards(sources, max_pixels)
    draft = Path(f"{target}.{os.getpid()}.part")
    try:
        with open(draft, "wb") as file:
            packer = Packer(file, shards[0].space().kept(layers))
            count = _add_all(packer, shards, on_progress)
            packer.finish()
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return count


def _add_all(packer: Packer, shards: list[Shard], on_progress: OnProgress | None) -> int:
    done, total = 0, sum(map(len, shards))
    for shard in shards:
        if not isinstance(shard, CodedShard):
            raise InputError(f"{shard.name}: is packed already; give the .vqc files that it was made from")
        for start in range(0, len(shard), READ_TOGETHER):
            numbers = range(start, min(start + READ_TOGETHER, len(shard)))
            _add(packer, shard, numbers, packer.space)
            done += len(numbers)
            if on_progress is not None:
                on_progress(done, total)
    return done


def _add(packer: Packer, shard: CodedShard, numbers: range, space: TokenSpace) -> None:
    for number, tokens in zip(numbers, shard.tokens(numbers, space), strict=True):
        labels = {suffix: shard.label(number, suffix) for suffix in LABELS}
        packer.add(
            shard.key(number),
            [tokens.planes[s] for s in space.planes],
            (tokens.width, tokens.height),
            tokens.step,
            {suffix: data for suffix, data in labels.items() if data is not None},
        )
