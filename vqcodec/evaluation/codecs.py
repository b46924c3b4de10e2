"""Reference codecs: JPEG, WebP, AVIF and JPEG XL through Pillow, each with one quality setting.

A further codec is one class and one entry of CODECS. Codecs given by the user: `command_codec`, `folder_codec`.
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
from .command_codec import CommandCodec
from .folder_codec import FolderCodec


class ReferenceCodec(Protocol):
    """A codec with one numeric setting. Files carry no metadata and are the same on every run."""

    @property
    def name(self) -> str:
        """Name in tables and reports."""
        ...

    @property
    def settings(self) -> Sequence[float]:
        """Settings, from the smallest file to the largest if `monotone`."""
        ...

    @property
    def max_side_px(self) -> int:
        """Longest side of a picture that the format can hold."""
        ...

    @property
    def monotone(self) -> bool:
        """True if files grow with the setting, nearly; otherwise every setting is tried."""
        ...

    @property
    def timed(self) -> bool:
        """True if encoding and decoding happen here, so that their seconds mean something."""
        ...

    @property
    def mime(self) -> str:
        """Media type of the files, if browsers show them; empty otherwise."""
        ...

    def for_picture(self, name: str) -> ReferenceCodec:
        """The codec for the picture of this name. Raises InputError if it has no file of it."""
        ...

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """uint8 [H, W, 3] -> one complete file; `setting` is one of `settings`."""
        ...

    def n_bytes(self, data: bytes) -> int:
        """Bytes of the complete file that `encode` returned."""
        ...

    def decode(self, data: bytes) -> Pixels:
        """One complete file -> uint8 [H, W, 3]."""
        ...

    def describe(self) -> str:
        """Encoder, version and options, for reports."""
        ...


class PillowCodec:
    """A codec whose setting is Pillow's `quality`."""

    name: str
    settings: Sequence[float]
    max_side_px: int
    monotone = True
    timed = True
    mime: str
    plugin: ClassVar[str]
    """Pillow's name of the format."""
    library: ClassVar[str]
    """Pillow's name of the library that implements the format."""
    options: ClassVar[dict[str, object]]

    def __init__(self) -> None:
        if not features.check(self.library):
            raise UsageError(f"this Pillow was built without {self.plugin}: leave {self.name} out of the codecs")

    def for_picture(self, name: str) -> PillowCodec:
        """Itself."""
        return self

    def n_bytes(self, data: bytes) -> int:
        """Bytes of the file."""
        return len(data)

    def encode(self, pixels: Pixels, setting: float) -> bytes:
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
    mime = "image/jpeg"
    settings: Sequence[float] = range(1, 96)
    max_side_px = 65500
    plugin, library = "JPEG", "jpg"
    options: ClassVar[dict[str, object]] = {"optimize": True, "progressive": True}

    def _version(self) -> str:
        turbo = features.version("libjpeg_turbo")  # "jpg" is the version of the interface only
        return super()._version() + (f", libjpeg-turbo {turbo}" if turbo else "")


class WebP(PillowCodec):
    """Lossy WebP with the slowest search."""

    name = "webp"
    mime = "image/webp"
    settings: Sequence[float] = range(101)
    max_side_px = 16383
    plugin, library = "WEBP", "webp"
    options: ClassVar[dict[str, object]] = {"method": 6}


class Avif(PillowCodec):
    """AVIF. Threads and tiling are fixed: the defaults depend on the machine and change the file."""

    name = "avif"
    mime = "image/avif"
    settings: Sequence[float] = range(101)
    max_side_px = 65536
    plugin, library = "AVIF", "avif"
    options: ClassVar[dict[str, object]] = {"speed": 4, "autotiling": False, "max_threads": 2}


class Jxl(PillowCodec):
    """Lossy JPEG XL, from the extra `eval`; quality 100 would be lossless. Threads do not change the file."""

    name = "jxl"
    mime = ""
    settings: Sequence[float] = range(100)
    max_side_px = 2**18
    plugin, library = "JXL", "pillow-jxl-plugin"
    options: ClassVar[dict[str, object]] = {"effort": 7, "num_threads": 2}

    def __init__(self) -> None:
        extra.need("pillow_jxl", "the codec jxl")

    def _version(self) -> str:
        return f"{self.library} {metadata.version(self.library)}"


CODECS: dict[str, type[ReferenceCodec]] = {"jpeg": Jpeg, "webp": WebP, "avif": Avif, "jxl": Jxl}


def default_codecs() -> list[str]:
    """Names of the reference codecs that are installed."""
    names = []
    for name, codec in CODECS.items():
        try:
            codec()
        except UsageError:
            continue
        names.append(name)
    return names


def make_codec(name: str) -> ReferenceCodec:
    """The codec called `name`: a key of CODECS, `NAME=ENCODE => DECODE` (two commands) or `NAME=FOLDER`.

    Raises UsageError if it is unknown, its library is not installed, or the commands are not complete; InputError if
    the folder has no sizes.
    """
    if "=>" in name:
        return CommandCodec.parse(name)
    if "=" in name:
        return FolderCodec.parse(name)
    if name not in CODECS:
        raise UsageError(f"no codec {name!r}; the reference codecs are {', '.join(CODECS)}")
    return CODECS[name]()
