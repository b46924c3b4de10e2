"""The codecs ours is compared with, and the search for the rival's file that a comparison is made with.

Differs from ruler.py: nothing here measures a picture or knows of our codec. A new rival is one class and one
entry of `RIVALS`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from PIL import Image, features

from vqcodec.errors import UsageError
from vqcodec.metrics import Pixels

NEIGHBOURS = 2
"""Settings tried each side of the one a bisection ends at, since sizes are only nearly monotone."""


class Rival(Protocol):
    """A codec with one dial. Files are whole files without metadata, and the same on every run."""

    name: ClassVar[str]
    settings: ClassVar[Sequence[int]]
    """The ladder, from the smallest file to the largest."""
    max_side_px: ClassVar[int]
    """Pictures with a longer side have no file of this codec."""

    def encode(self, pixels: Pixels, setting: int) -> bytes:
        """uint8 [H, W, 3] -> one whole file; `setting` is one of `settings`."""
        ...

    def decode(self, data: bytes) -> Pixels:
        """One whole file -> uint8 [H, W, 3]."""
        ...

    def describe(self) -> str:
        """Encoder, version and options, for reports."""
        ...


class PillowRival:
    """A rival whose dial is Pillow's `quality`."""

    name: ClassVar[str]
    settings: ClassVar[Sequence[int]]
    max_side_px: ClassVar[int]
    plugin: ClassVar[str]
    """Pillow's name of the format."""
    library: ClassVar[str]
    """Pillow's name of the library behind it."""
    options: ClassVar[dict[str, object]]

    def __init__(self) -> None:
        if not features.check(self.library):
            raise UsageError(f"this Pillow was built without {self.plugin}; leave {self.name} out of --codecs")

    def encode(self, pixels: Pixels, setting: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, self.plugin, quality=setting, **self.options)
        return file.getvalue()

    def decode(self, data: bytes) -> Pixels:
        with Image.open(io.BytesIO(data), formats=[self.plugin]) as image:
            return np.asarray(image.convert("RGB"))

    def describe(self) -> str:
        options = ", ".join(f"{key}={value}" for key, value in self.options.items())
        ladder = f"quality {self.settings[0]}..{self.settings[-1]}"
        return f"Pillow {features.version('pil')}, {self.library} {features.version(self.library)}: {ladder}, {options}"


class Jpeg(PillowRival):
    """4:2:0, as Pillow's default is; above quality 95 its files only grow."""

    name = "jpeg"
    settings: ClassVar[Sequence[int]] = range(1, 96)
    max_side_px = 65500
    plugin, library = "JPEG", "jpg"
    options: ClassVar[dict[str, object]] = {"optimize": True, "progressive": True}

    def describe(self) -> str:
        turbo = features.version("libjpeg_turbo")  # "jpg" is but the version of the interface
        return super().describe() + (f", libjpeg-turbo {turbo}" if turbo else "")


class WebP(PillowRival):
    name = "webp"
    settings: ClassVar[Sequence[int]] = range(101)
    max_side_px = 16383
    plugin, library = "WEBP", "webp"
    options: ClassVar[dict[str, object]] = {"method": 6}


class Avif(PillowRival):
    """Threads and tiling are fixed, because left to themselves they follow the machine and change the file."""

    name = "avif"
    settings: ClassVar[Sequence[int]] = range(101)
    max_side_px = 65536
    plugin, library = "AVIF", "avif"
    options: ClassVar[dict[str, object]] = {"speed": 4, "autotiling": False, "max_threads": 2}


RIVALS: dict[str, type[Rival]] = {"jpeg": Jpeg, "webp": WebP, "avif": Avif}

UNAVAILABLE: dict[str, str] = {"jxl": "needs the eval extra (JPEG XL for Pillow), which this version does not offer"}
"""Codecs a user may well ask for, and why there is none."""


def make_rival(name: str) -> Rival:
    """The rival called `name`. Raises UsageError if there is none or this Pillow was built without it."""
    if name in UNAVAILABLE:
        raise UsageError(f"--codecs: {name} is not available: it {UNAVAILABLE[name]}; leave it out")
    if name not in RIVALS:
        raise UsageError(f"--codecs: no codec {name!r}; there are vqcodec, {', '.join(RIVALS)}")
    return RIVALS[name]()


class Ladder:
    """One rival's files of one picture, each encoded at most once."""

    def __init__(self, rival: Rival, pixels: Pixels) -> None:
        self.rival = rival
        self.pixels = pixels
        self.files: dict[int, bytes] = {}

    def file(self, setting: int) -> bytes:
        """The whole file at `setting`."""
        if setting not in self.files:
            self.files[setting] = self.rival.encode(self.pixels, setting)
        return self.files[setting]

    def largest_within(self, limit: int) -> int | None:
        """The setting of the rival's largest file of at most `limit` bytes, or None if it has none.

        Bisection, then the neighbours of where it ended. Looks at files of this search only, never at others in the
        cache, so that a result does not depend on what was searched before.
        """
        if max(self.pixels.shape[:2]) > self.rival.max_side_px:
            return None
        settings = self.rival.settings
        low, high = -1, len(settings)  # positions: `low` fits, `high` does not
        tried: set[int] = set()
        while high - low > 1:
            middle = (low + high) // 2
            tried.add(middle)
            if len(self.file(settings[middle])) <= limit:
                low = middle
            else:
                high = middle
        tried.update(range(max(low - NEIGHBOURS, 0), min(low + NEIGHBOURS + 1, len(settings))))
        sizes = [(len(self.file(settings[i])), i) for i in tried]
        fitting = [(size, i) for size, i in sizes if size <= limit]
        return settings[max(fitting)[1]] if fitting else None
