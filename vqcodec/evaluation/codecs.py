"""Reference codecs: JPEG, WebP, AVIF and JPEG XL through Pillow, each with one quality setting.

A further codec is one class and one entry of CODECS.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import metadata
from typing import ClassVar, Protocol

import numpy as np
from PIL import Image, features

from ..errors import UsageError
from ..metrics import Pixels
from . import extra


class ReferenceCodec(Protocol):
    """A codec with one integer setting. Files carry no metadata and are the same on every run."""

    name: ClassVar[str]
    settings: ClassVar[Sequence[int]]
    """Settings from the smallest file to the largest."""
    max_side_px: ClassVar[int]
    """Longest side of a picture that the format can hold."""

    def encode(self, pixels: Pixels, setting: int) -> bytes:
        """uint8 [H, W, 3] -> one complete file; `setting` is one of `settings`."""
        ...

    def decode(self, data: bytes) -> Pixels:
        """One complete file -> uint8 [H, W, 3]."""
        ...

    def describe(self) -> str:
        """Encoder, version and options, for reports."""
        ...


class PillowCodec:
    """A codec whose setting is Pillow's `quality`."""

    name: ClassVar[str]
    settings: ClassVar[Sequence[int]]
    max_side_px: ClassVar[int]
    plugin: ClassVar[str]
    """Pillow's name of the format."""
    library: ClassVar[str]
    """Pillow's name of the library that implements the format."""
    options: ClassVar[dict[str, object]]

    def __init__(self) -> None:
        if not features.check(self.library):
            raise UsageError(f"this Pillow was built without {self.plugin}: leave {self.name} out of the codecs")

    def encode(self, pixels: Pixels, setting: int) -> bytes:
        """uint8 [H, W, 3] -> one complete file at Pillow's quality `setting`."""
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, self.plugin, quality=setting, **self.options)
        return file.getvalue()

    def decode(self, data: bytes) -> Pixels:
        """One complete file -> uint8 [H, W, 3]. Raises what Pillow raises for a damaged one."""
        with Image.open(io.BytesIO(data), formats=[self.plugin]) as image:
            return np.asarray(image.convert("RGB"))

    def describe(self) -> str:
        """Versions of Pillow and of its library, range of qualities, and options."""
        options = ", ".join(f"{key}={value}" for key, value in self.options.items())
        settings = f"quality {self.settings[0]}..{self.settings[-1]}"
        return f"Pillow {features.version('pil')}, {self._version()}: {settings}, {options}"

    def _version(self) -> str:
        return f"{self.library} {features.version(self.library)}"


class Jpeg(PillowCodec):
    """Progressive JPEG with 4:2:0 chroma, Pillow's default; above quality 95 files grow without visible gain."""

    name = "jpeg"
    settings: ClassVar[Sequence[int]] = range(1, 96)
    max_side_px = 65500
    plugin, library = "JPEG", "jpg"
    options: ClassVar[dict[str, object]] = {"optimize": True, "progressive": True}

    def _version(self) -> str:
        turbo = features.version("libjpeg_turbo")  # "jpg" is the version of the interface only
        return super()._version() + (f", libjpeg-turbo {turbo}" if turbo else "")


class WebP(PillowCodec):
    """Lossy WebP with the slowest search."""

    name = "webp"
    settings: ClassVar[Sequence[int]] = range(101)
    max_side_px = 16383
    plugin, library = "WEBP", "webp"
    options: ClassVar[dict[str, object]] = {"method": 6}


class Avif(PillowCodec):
    """AVIF. Threads and tiling are fixed: the defaults depend on the machine and change the file."""

    name = "avif"
    settings: ClassVar[Sequence[int]] = range(101)
    max_side_px = 65536
    plugin, library = "AVIF", "avif"
    options: ClassVar[dict[str, object]] = {"speed": 4, "autotiling": False, "max_threads": 2}


class Jxl(PillowCodec):
    """Lossy JPEG XL, from the extra `eval`; quality 100 would be lossless. Threads do not change the file."""

    name = "jxl"
    settings: ClassVar[Sequence[int]] = range(100)
    max_side_px = 2**18
    plugin, library = "JXL", "pillow-jxl-plugin"
    options: ClassVar[dict[str, object]] = {"effort": 7, "num_threads": 2}

    def __init__(self) -> None:
        extra.need("pillow_jxl", "the codec jxl")

    def _version(self) -> str:
        return f"{self.library} {metadata.version(self.library)}"


CODECS: dict[str, type[ReferenceCodec]] = {"jpeg": Jpeg, "webp": WebP, "avif": Avif, "jxl": Jxl}


def make_codec(name: str) -> ReferenceCodec:
    """The reference codec called `name`. Raises UsageError if it is unknown or its library is not installed."""
    if name not in CODECS:
        raise UsageError(f"no codec {name!r}; the reference codecs are {', '.join(CODECS)}")
    return CODECS[name]()
