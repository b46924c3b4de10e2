"""Pictures of an evaluation: found in files, folders and tar shards, and read one by one.

A picture that cannot be read is skipped and named. Shards are read in place, not unpacked.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ..errors import InputError, LimitError
from ..image.files import read_pixels, suffixes
from ..image.limits import MAX_PIXELS
from .measure import SUBSETS, subset_of
from .preparation import Preparation

if TYPE_CHECKING:
    from ..metrics import Pixels


COUNTED = 500
"""Pictures up to which progress counts pixels; beyond, reading all headers first would take long."""


@dataclass(frozen=True)
class Source:
    """One picture: a file, or `size` bytes at `offset` of a tar shard."""

    name: str
    """Path as the caller wrote it; `shard.tar:member` for a member."""
    path: Path
    offset: int = 0
    size: int = -1

    def size_px(self) -> tuple[int, int]:
        """Width and height in pixels from the header, before rotation; (1, 1) if it cannot be read."""
        try:
            with Image.open(self.open() if self.offset else self.path) as image:
                return image.size
        except (OSError, ValueError, InputError, Image.DecompressionBombError):
            return 1, 1

    def open(self) -> io.BytesIO:
        """The bytes of the picture's file as a stream that has its name. Raises InputError."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                stream = io.BytesIO(file.read(self.size))
                stream.name = self.name
                return stream
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror or error}") from error


def find(paths: Sequence[str | Path]) -> list[Source]:
    """The pictures in files, folders (recursive) and .tar shards, each once.

    In the order of `paths`, sorted within a folder. Raises InputError if a path does not exist or holds no picture.
    """
    found: dict[tuple[str, int], Source] = {}
    for path in map(Path, paths):
        sources = list(_find(path))
        if not sources:
            hint = "; name its .tar shards one by one" if path.is_dir() and any(path.glob("*.tar")) else ""
            raise InputError(f"{path}: holds no picture{hint}")
        for source in sources:
            found.setdefault((str(source.path.resolve()), source.offset), source)
    return list(found.values())


def _find(path: Path) -> Iterator[Source]:
    if path.is_dir():
        known = suffixes()
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in known and file.is_file():
                yield Source(str(file), file)
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    elif path.suffix.lower() == ".tar":
        try:
            known = suffixes()
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if member.isreg() and Path(member.name).suffix.lower() in known:
                        yield Source(f"{path}:{member.name}", path, member.offset_data, member.size)
        except (tarfile.TarError, OSError) as error:
            raise InputError(f"{path}: not an uncompressed tar shard: {error}") from error
    else:
        yield Source(str(path), path)


class PictureReader:
    """Iterable of (name, pixels uint8 [H, W, 3]) over the readable ones of `sources`, as the codec encodes them.

    Alpha is dropped. Raises InputError after the last source if none could be read.

    Args:
        sources: pictures, in order.
        limit: pictures of each subset at most; None: all.
        max_pixels: larger pictures are skipped; None: no limit.
        preparation: resizing and cropping of each picture; None: as it is.
        on_progress: called with (sources done, sources in all) after each source.
        on_skip: called with one line, which begins with the picture's name, for each picture that is skipped.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        limit: int | None = None,
        max_pixels: int | None = MAX_PIXELS,
        *,
        preparation: Preparation | None = None,
        on_progress: Callable[[int, int], None] | None = None,
        on_skip: Callable[[str], None] | None = None,
    ) -> None:
        self.sources = sources
        self.limit = limit
        self.max_pixels = max_pixels
        self.preparation = preparation
        self.on_progress = on_progress
        self.on_skip = on_skip
        self.skipped: list[str] = []
        """One line for each picture that the last iteration skipped."""

    def __iter__(self) -> Iterator[tuple[str, Pixels]]:
        left = dict.fromkeys(SUBSETS, len(self.sources) if self.limit is None else self.limit)
        self.skipped.clear()
        for done, source in enumerate(self.sources, 1):
            if not any(left.values()):
                break
            pixels = self._read(source)
            if pixels is not None and left[subset := subset_of(pixels.shape[1], pixels.shape[0])]:
                left[subset] -= 1
                yield source.name, pixels
            if self.on_progress is not None:
                self.on_progress(done, len(self.sources))
        if len(self.skipped) == len(self.sources):
            raise InputError(f"{self.sources[0].name}: none of {len(self.sources)} pictures could be read")

    def work(self) -> dict[str, float]:
        """Name -> amount of work of each picture that will be read, for progress: its pixels where that is cheap."""
        left = dict.fromkeys(SUBSETS, len(self.sources) if self.limit is None else self.limit)
        if len(self.sources) > COUNTED or self.preparation is not None:
            return {source.name: 1.0 for source in self.sources[: sum(left.values())]}
        found = {}
        for source in self.sources:
            size = source.size_px()
            if left[subset := subset_of(*size)]:
                left[subset] -= 1
                found[source.name] = float(size[0] * size[1])
        return found

    def _read(self, source: Source) -> Pixels | None:
        try:
            pixels = read_pixels(source.open(), self.max_pixels)
            return pixels if self.preparation is None else self.preparation.apply(pixels)
        except (InputError, LimitError) as error:
            text = str(error)
            reason = text if text.startswith(source.name) else f"{source.name}: {text}"
            self.skipped.append(reason)
            if self.on_skip is not None:
                self.on_skip(reason)
            return None


def read_pictures(
    paths: Sequence[str | Path], limit: int | None = None, max_pixels: int | None = MAX_PIXELS
) -> PictureReader:
    """A reader of the pictures in files, folders and .tar shards. Raises InputError as `find` does."""
    return PictureReader(find(paths), limit, max_pixels)
