"""The original of a previewed file: found beside others, read, and compared with decoded pictures."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from vqcodec.errors import InputError, UsageError

if TYPE_CHECKING:
    from PIL import Image


class Original:
    """The picture that a .vqc file was made of."""

    def __init__(self, path: Path, max_pixels: int) -> None:
        from vqcodec.image.files import read_picture

        self.path = path
        self._picture = read_picture(path, max_pixels)

    def measure(self, image: Image.Image) -> tuple[float, float | None]:
        """PSNR in dB and MS-SSIM 0..1 (None where it is undefined) of a decoded picture of full size.

        Pictures of different colour profiles are compared in sRGB. Raises UsageError for another size.
        """
        from vqcodec.image.picture import from_pillow, strip
        from vqcodec.metrics import visible

        mine, decoded = self._picture, from_pillow(image)
        if (mine.width, mine.height) != (decoded.width, decoded.height):
            sizes = f"{mine.width}x{mine.height} pixels, the file {decoded.width}x{decoded.height}"
            raise UsageError(f"--against {self.path}: has {sizes}; give the picture that the file was made of")
        if mine.icc != decoded.icc:
            mine, decoded = strip(mine), strip(decoded)
        pair = (mine.pixels, decoded.pixels, mine.alpha)
        ms_ssim = visible("ms-ssim", *pair)
        return visible("psnr", *pair), None if math.isnan(ms_ssim) else ms_ssim

    def for_screen(self, max_side: int) -> Image.Image:
        """The picture in sRGB, scaled down to at most `max_side` pixels a side."""
        from vqcodec.image.picture import to_pillow

        from .screen import for_screen

        return for_screen(to_pillow(self._picture), max_side)


def find_original(against: Path, inner: Path, several: bool) -> Path:
    """The original of the file whose path in its folder is `inner`: `against`, or the picture of its name in there.

    Raises InputError if the folder `against` has none, UsageError for one original of several files.
    """
    if not os.path.isdir(against):
        if several:
            raise UsageError(f"--against {against}: several files need a folder of originals with their names")
        return against
    from vqcodec.image.files import suffixes

    folder = against / inner.parent
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.stem == inner.stem and path.suffix.lower() in suffixes():
            return path
    raise InputError(f"--against {against}: no picture named {inner.with_suffix('')} with another suffix")
