"""The codecs ours is compared with.

Differs from ladder.py: nothing here chooses a setting or measures a picture. A new rival is one class and one entry
of `RIVALS`.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import metadata
from typing import ClassVar, Protocol

import numpy as np
from PIL import Image, features

from vqcodec.errors import UsageError
from vqcodec.metrics import Pixels

from . import extra


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
        return f"Pillow {features.version('pil')}, {self._version()}: {ladder}, {options}"

    def _version(self) -> str:
        return f"{self.library} {features.version(self.library)}"


class Jpeg(PillowRival):
    """4:2:0, as Pillow's default is; above quality 95 its files only grow."""

    name = "jpeg"
    settings: ClassVar[Sequence[int]] = range(1, 96)
    max_side_px = 65500
    plugin, library = "JPEG", "jpg"
    options: ClassVar[dict[str, object]] = {"optimize": True, "progressive": True}

    def _version(self) -> str:
        turbo = features.version("libjpeg_turbo")  # "jpg" is but the version of the interface
        return super()._version() + (f", libjpeg-turbo {turbo}" if turbo else "")


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


class Jxl(PillowRival):
    """From the extra `eval`. Quality 100 would be lossless; threads change the seconds, not the file."""

    name = "jxl"
    settings: ClassVar[Sequence[int]] = range(100)
    max_side_px = 2**18
    plugin, library = "JXL", "pillow-jxl-plugin"
    options: ClassVar[dict[str, object]] = {"effort": 7, "num_threads": 2}

    def __init__(self) -> None:
        extra.need("pillow_jxl", "--codecs jxl")

    def _version(self) -> str:
        return f"{self.library} {metadata.version(self.library)}"


RIVALS: dict[str, type[Rival]] = {"jpeg": Jpeg, "webp": WebP, "avif": Avif, "jxl": Jxl}


def make_rival(name: str) -> Rival:
    """The rival called `name`. Raises UsageError if there is none, or what it needs is not installed."""
    if name not in RIVALS:
        raise UsageError(f"--codecs: no codec {name!r}; there are vqcodec, {', '.join(RIVALS)}")
    return RIVALS[name]()
