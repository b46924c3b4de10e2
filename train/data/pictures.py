"""The pictures of a data set: folders and plain tar shards (WebDataset layout), listed without decoding them.

Differs from data.py: here is what there is, there is what a training step sees of it.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqcodec.errors import InputError
from vqcodec.image.files import read_pixels, suffixes

from .picture_index import Listed, is_index, listing


@dataclass(frozen=True)
class Member:
    """One picture: a file, or `size` bytes at `offset` of a tar shard."""

    path: Path
    offset: int
    size: int
    name: str
    width: int
    height: int
    source: int = 0
    """Number of the entry of `data.train` that it comes from."""

    def read(self) -> bytes:
        """Bytes of the picture's file. Raises OSError."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def decode(self) -> np.ndarray:
        """Pixels uint8 [H, W, 3] as the codec encodes them. Raises InputError, without the name of the picture."""
        try:
            return read_pixels(self.read())
        except InputError as error:
            raise InputError(str(error).removeprefix("<bytes>: ")) from error


@dataclass
class Pictures:
    """The usable pictures of a data set, in a fixed order, and what was left out."""

    members: list[Member]
    skipped: list[str]
    """`name: reason` for each."""

    def decoded(self, members: list[Member] | None = None) -> Iterator[np.ndarray]:
        """RGB pixels of `members` (default: all) in order; a picture whose data is damaged is skipped and named."""
        for member in self.members if members is None else members:
            try:
                yield member.decode()
            except Exception as error:  # Pillow raises many kinds for damaged data
                self.skipped.append(f"{member.name}: {error}")


def scan(sources: tuple[str, ...], min_side: int, index: bool = True) -> Pictures:
    """List the pictures in folders, tar shards or patterns of these; headers are read, pixels are not.

    Names and sizes are kept in an index next to each folder or shard (picture_index.py), unless `index` is false or the
    place cannot be written; the next run reads no header again.
    A picture that cannot be opened or has a side below `min_side` pixels is skipped and named.
    Raises InputError if a source does not exist or no picture is left.
    """
    found, known = Pictures([], []), suffixes()
    for number, source in enumerate(sources):
        paths = sorted(Path(p) for p in glob.glob(source) if not is_index(Path(p)))
        if not paths:
            raise InputError(f"{source}: no such folder or shard")
        for path in paths:
            for entry in listing(path, known, index):
                _add(found, path if path.is_file() else path / entry.name, entry, min_side, number)
    if not found.members:
        raise InputError(f"{', '.join(sources)}: no picture of at least {min_side} pixels a side in there")
    return found


def _add(found: Pictures, path: Path, entry: Listed, min_side: int, source: int) -> None:
    if entry.fault:
        found.skipped.append(f"{entry.name}: {entry.fault}")
    elif min(entry.width, entry.height) < min_side:
        found.skipped.append(f"{entry.name}: {entry.width}x{entry.height} is below {min_side} pixels a side")
    else:
        member = Member(path, entry.offset, entry.size, entry.name, entry.width, entry.height, source)
        found.members.append(member)
