"""The steps of a preview: prefixes of a file from coarse to fine, as figures only or with decoded pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from vqcodec.runtime.progress import Part, working

from .screen import for_screen

if TYPE_CHECKING:
    from PIL import Image

    from vqcodec.models.file_info import Info

    from .original import Original


DECODED_PIXELS = 24 * 10**6
"""Most pixels of all steps together, where the number of steps is not given and exceeds FEWEST_STEPS."""
FEWEST_STEPS = 6


@dataclass(frozen=True)
class Sides:
    """Longest sides of the pictures of a preview in pixels; larger pictures are scaled down."""

    steps: int
    last: int
    """Longest side of the last step and of the original."""


@dataclass(frozen=True)
class Step:
    """One prefix of a file."""

    layers: int
    n_layers: int
    """Layers of the whole file."""
    n_bytes: int
    """Length of the prefix."""
    percent: float
    """Share of the complete file, 0..100."""
    bpp: float
    """Bits per pixel of the prefix."""
    image: Image.Image | None = None
    """sRGB, possibly scaled down; None in a step without picture."""
    complete: bool = True
    """False if the file is damaged."""
    psnr: float | None = None
    """PSNR in dB against the original; None without one."""
    ms_ssim: float | None = None
    """MS-SSIM 0..1 against the original; None without one, and for sides below 33 pixels."""

    @property
    def picture(self) -> Image.Image:
        """The image of a step that has one."""
        assert self.image is not None
        return self.image

    @property
    def caption(self) -> str:
        """Text such as "3 layers · 4,512 bytes · 0.19 bpp"; with an original, its PSNR at the end."""
        plural = "" if self.layers == 1 else "s"
        quality = "" if self.psnr is None else f" · {self.psnr:.1f} dB"
        return f"{self.layers} layer{plural} · {self.n_bytes:,} bytes · {format_bpp(self.bpp)} bpp{quality}"


@dataclass(frozen=True)
class Shown:
    """A file with its steps, for the page."""

    name: str
    info: Info
    n_bytes: int
    """Bytes available of the file."""
    steps: list[Step]
    original: Image.Image | None = None
    """The original, sRGB, possibly scaled down."""


def format_bpp(bpp: float) -> str:
    """Bits per pixel with two decimals, below 0.1 with three."""
    return f"{bpp:.2f}" if bpp >= 0.1 else f"{bpp:.3f}"


def default_steps(info: Info) -> int:
    """Number of decoded steps where it is not given: one for each layer, fewer for large pictures."""
    return min(len(info.layers), max(FEWEST_STEPS, DECODED_PIXELS // (info.width * info.height)))


def plain_steps(info: Info, n_bytes: int, steps: int | None) -> list[Step]:
    """At most `steps` steps without pictures, for a file of `n_bytes` bytes; needs neither torch nor the model."""
    from vqcodec.api import preview_steps

    found: list[Step] = []
    for keep in preview_steps(len(info.layers), steps):
        step = _step(info, keep, min(info.layers[keep - 1].end, n_bytes))
        if not found or step.n_bytes > found[-1].n_bytes:  # layers that a cut file lacks add no step
            found.append(step)
    return found


def picture_steps(
    data: bytes,
    info: Info,
    steps: int | None,
    sides: Sides,
    original: Original | None,
    device: str,
    max_pixels: int,
) -> Iterator[Step]:
    """The same steps with pictures. Raises UsageError for another original."""
    from vqcodec import previews

    n_steps = len(plain_steps(info, len(data), steps))
    found = previews(data, steps, device=device, max_pixels=max_pixels)
    for done, preview in enumerate(islice(found, n_steps), 1):
        step = _step(info, preview.keep, preview.n_bytes)
        with working(Part.PICTURE_OUT):
            psnr, ms_ssim = (None, None) if original is None else original.measure(preview.image)
            image = for_screen(preview.image, sides.last if done == n_steps else sides.steps)
        yield replace(step, image=image, complete=preview.complete, psnr=psnr, ms_ssim=ms_ssim)


def _step(info: Info, layers: int, n_bytes: int) -> Step:
    bpp = 8 * n_bytes / (info.width * info.height)
    return Step(layers, len(info.layers), n_bytes, 100 * n_bytes / info.file_bytes, bpp)
