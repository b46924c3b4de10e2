"""The pictures that `vqcodec eval` measures: in files, folders and tar shards, read one by one.

Differs from batch_plan.py: here a picture that cannot be read is left out and named, and shards are not unpacked.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqcodec.cli import output
from vqcodec.errors import InputError, LimitError

if TYPE_CHECKING:
    from vqcodec.metrics import Pixels

SUFFIXES = frozenset(".jpg .jpeg .png .webp .avif .bmp .gif .tif .tiff .ppm .pgm .pnm .qoi .jp2".split())
"""Names of pictures in folders and shards; a file that is named itself may be called anything."""


@dataclass(frozen=True)
class Source:
    """One picture: a file, or `size` bytes at `offset` of a tar shard."""

    name: str
    """Path as the user wrote it; of a member, `shard.tar:member`."""
    path: Path
    offset: int = 0
    size: int = -1

    def open(self) -> io.BytesIO:
        """The bytes of the picture's file, under its name. Raises InputError."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                stream = io.BytesIO(file.read(self.size))
                stream.name = self.name
                return stream
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror or error}") from error


def find(images: Sequence[Path]) -> list[Source]:
    """The pictures in files, folders and shards, in the order given, sorted within a folder, each once.

    Raises InputError if a path does not exist or holds no picture.
    """
    found: dict[tuple[str, int], Source] = {}
    for path in images:
        sources = list(_find(path))
        if not sources:
            hint = "; name its .tar shards one by one" if path.is_dir() and any(path.glob("*.tar")) else ""
            raise InputError(f"{path}: no picture in there{hint}")
        for source in sources:
            found.setdefault((str(source.path.resolve()), source.offset), source)
    return list(found.values())


def _find(path: Path) -> Iterator[Source]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                yield Source(str(file), file)
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    elif path.suffix.lower() == ".tar":
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if member.isreg() and Path(member.name).suffix.lower() in SUFFIXES:
                        yield Source(f"{path}:{member.name}", path, member.offset_data, member.size)
        except (tarfile.TarError, OSError) as error:
            raise InputError(f"{path}: not an uncompressed tar shard: {error}") from error
    else:
        yield Source(str(path), path)


class Reader:
    """Iterates (name, sRGB pixels) of the readable sources, with progress on a terminal; notes what was left out."""

    def __init__(self, sources: list[Source], limit: int | None, max_pixels: int, quiet: bool) -> None:
        self.sources = sources
        self.limit = limit
        """Pictures per subset."""
        self.max_pixels = max_pixels
        self.quiet = quiet
        self.skipped: list[str] = []
        """The reason for each, beginning with the picture's name."""

    def __iter__(self) -> Iterator[tuple[str, Pixels]]:
        from rich.console import Console
        from rich.progress import Progress

        from .measure import SUBSETS, subset_of

        room = dict.fromkeys(SUBSETS, len(self.sources) if self.limit is None else self.limit)
        with Progress(console=Console(stderr=True), disable=self.quiet or not sys.stderr.isatty()) as progress:
            task = progress.add_task("measuring", total=len(self.sources))
            for source in self.sources:
                if not any(room.values()):
                    break
                pixels = self._read(source)
                if pixels is not None and room[subset := subset_of(pixels.shape[1], pixels.shape[0])]:
                    room[subset] -= 1
                    yield source.name, pixels
                progress.advance(task)

    def _read(self, source: Source) -> Pixels | None:
        from vqcodec.image.picture import read_picture, strip

        try:
            return strip(read_picture(source.open(), self.max_pixels)).pixels  # strip converts to sRGB
        except (InputError, LimitError) as error:
            self.skipped.append(str(error))
            if not self.quiet:
                output.say(f"warning: skipped: {error}")
            return None
