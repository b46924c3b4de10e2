"""The pictures of a data set: folders and plain tar shards (WebDataset layout), listed without decoding them.

Differs from data.py: here is what there is, there is what a training step sees of it.
"""

from __future__ import annotations

import glob
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vqcodec.errors import InputError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif"}


@dataclass(frozen=True)
class Member:
    """One picture: a file, or `size` bytes at `offset` of a tar shard."""

    path: Path
    offset: int
    size: int
    name: str
    width: int
    height: int

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)

    def decode(self) -> np.ndarray:
        """RGB uint8 [H, W, 3]; raises OSError or ValueError for a damaged picture."""
        return np.array(Image.open(io.BytesIO(self.read())).convert("RGB"))


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


def scan(sources: tuple[str, ...], min_side: int) -> Pictures:
    """List the pictures in folders, tar shards or patterns of these; headers are read, pixels are not.

    A picture that cannot be opened or has a side below `min_side` pixels is skipped and named.
    Raises InputError if a source does not exist or no picture is left.
    """
    found = Pictures([], [])
    for source in sources:
        paths = sorted(Path(p) for p in glob.glob(source))
        if not paths:
            raise InputError(f"{source}: no such folder or shard")
        for path in paths:
            for name, offset, size in _listing(path):
                _add(found, path if path.is_file() else path / name, name, offset, size, min_side)
    if not found.members:
        raise InputError(f"{', '.join(sources)}: no picture of at least {min_side} pixels a side in there")
    return found


def _listing(path: Path) -> Iterator[tuple[str, int, int]]:
    """(name, offset, size) of each picture file."""
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES):
            yield str(file.relative_to(path)), 0, file.stat().st_size
        return
    try:
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                if entry.isfile() and Path(entry.name).suffix.lower() in SUFFIXES:
                    yield entry.name, entry.offset_data, entry.size
    except tarfile.TarError as error:
        raise InputError(f"{path}: not an uncompressed tar shard: {error}") from error


def _add(found: Pictures, path: Path, name: str, offset: int, size: int, min_side: int) -> None:
    probe = Member(path, offset, size, name, 0, 0)
    try:
        with Image.open(io.BytesIO(probe.read())) as image:
            width, height = image.size
    except UnidentifiedImageError:
        found.skipped.append(f"{name}: not a picture")
        return
    except Exception as error:  # Pillow raises many kinds for damaged headers
        found.skipped.append(f"{name}: {error}")
        return
    if min(width, height) < min_side:
        found.skipped.append(f"{name}: {width}x{height} is below {min_side} pixels a side")
        return
    found.members.append(Member(path, offset, size, name, width, height))
