"""Picture: 8-bit RGB with optional alpha, ICC profile, Exif and XMP; from and to arrays and Pillow images.

Properties of an image that a `Picture` cannot hold are converted (pixels.py, metadata.py) and named in `warnings`.
Peak memory is about 2.5 times the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from ..container.chunks import MAX_CHUNK_BYTES
from ..errors import InputError, UsageError, VqcError
from .colour import named_profile, stated_colour
from .limits import check_size, pillow_limits
from .metadata import density, metadata
from .pixels import NUMERIC, Bytes, pixels_in_srgb, raw_mode, render
from .sources import first_full_page, key_16_bit, low_bytes, profile_in_jp2


@dataclass(frozen=True, eq=False)
class Picture:
    """One upright picture of 8 bits a channel; the arrays are shared, not copied: do not write to them."""

    pixels: Bytes
    """[H, W, 3], 0..255."""
    alpha: Bytes | None = None
    """[H, W], 0 transparent .. 255 opaque, not premultiplied; None: opaque."""
    grey: bool = False
    """The three channels are equal."""
    icc: bytes | None = None
    """Profile of these pixels, of one channel or of three if grey; None: sRGB."""
    exif: bytes | None = None
    """TIFF structure after the prefix `Exif\\0\\0`; its orientation, if any, is 1."""
    xmp: bytes | None = None
    """XMP packet; its orientation, if any, is 1."""
    warnings: tuple[str, ...] = ()
    """One line for each property of the source that was converted or left out."""

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or not self.pixels.size:
            raise UsageError(f"pixels must be uint8 [H, W, 3] with H, W >= 1, not {self.pixels.dtype} {list(shape)}")
        if self.alpha is not None and (self.alpha.dtype != np.uint8 or self.alpha.shape != shape[:2]):
            raise UsageError(f"alpha must be uint8 {list(shape[:2])}, not {self.alpha.dtype} {list(self.alpha.shape)}")

    @property
    def width(self) -> int:
        """Columns, 1 or more."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Rows, 1 or more."""
        return int(self.pixels.shape[0])

    @property
    def one_channel(self) -> bool:
        """True if images of this picture have a single channel of colour: it is grey, without a profile for RGB."""
        return self.grey and not (self.icc is not None and self.icc[16:20] == b"RGB ")

    @property
    def n_pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def from_array(array: np.ndarray[Any, Any]) -> Picture:
    """Picture with a copy of uint8 [H, W] or [H, W, 1] (grey), [H, W, 2] (grey, alpha), [H, W, 3] or [H, W, 4]."""
    planes = array[..., None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or planes.ndim != 3 or planes.shape[2] not in (1, 2, 3, 4) or not array.size:
        raise UsageError(
            f"an array must be uint8 [H, W] or [H, W, 1..4] with H, W >= 1, not {array.dtype} {list(array.shape)}"
        )
    grey = planes.shape[2] <= 2
    pixels = np.empty((*planes.shape[:2], 3), np.uint8)
    pixels[...] = planes[..., :1] if grey else planes[..., :3]
    return Picture(pixels, planes[..., -1].copy() if planes.shape[2] in (2, 4) else None, grey)


def from_pillow(image: Image.Image) -> Picture:
    """Picture of the current frame of a Pillow image, which is not changed. Raises InputError for a damaged file."""
    name = str(getattr(image, "filename", "") or "<image>")
    try:
        with pillow_limits(None):
            return from_opened(image, name, None)
    except VqcError:
        raise
    except Exception as exc:  # Pillow's parsers of damaged files raise many kinds
        raise (_closed(name) if "closed image" in str(exc) else damaged(name, exc)) from exc


def from_opened(image: Image.Image, name: str, max_pixels: int | None) -> Picture:
    """`from_pillow` inside the caller's `pillow_limits`; `name` is for messages. Raises any error of Pillow."""
    if _is_closed(image):
        raise _closed(name)
    frame = image.tell()
    paged = [] if frame else first_full_page(image, name)
    try:
        raw = raw_mode(image)
        stated = stated_colour(image, image.mode in ("1", "L", "LA", "La", *NUMERIC))
        low = low_bytes(image) if stated.table is not None or key_16_bit(image, raw) is not None else None
        in_boxes = profile_in_jp2(image)
        image.load()
        check_size(name, image, max_pixels)  # again: the picture inside an icon can be larger than its header states
        orientation, exif, xmp, lost = metadata(image)
        icc = image.info.get("icc_profile") or in_boxes
        icc = icc if isinstance(icc, bytes) and icc else None
        if icc is not None and len(icc) > MAX_CHUNK_BYTES:
            icc = None
            lost.append(f"ICC profile of more than {MAX_CHUNK_BYTES} bytes dropped: colours may look different")
        pixels, alpha, grey, icc, notes = render(image, raw, icc, orientation, stated, low)
    finally:
        if image.tell() != frame:
            image.seek(frame)
    try:
        frames = int(getattr(image, "n_frames", 1))
    except ValueError:  # loaded and then closed: the frames can no longer be counted
        frames = 1
    if frames > 1 and not paged:
        notes.append(f"1 of {frames} frames kept, {frames - 1} left out")
    return Picture(pixels, alpha, grey, icc, exif, xmp, (*paged, *notes, *lost))


def to_pillow(picture: Picture) -> Image.Image:
    """Pillow image of mode L, LA, RGB or RGBA, with icc_profile, exif and xmp in its `info`."""
    image = Image.fromarray(np.ascontiguousarray(picture.pixels[..., 0]) if picture.one_channel else picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    fields = {"icc_profile": picture.icc, "exif": picture.exif, "xmp": picture.xmp}
    image.info.update({key: value for key, value in fields.items() if value is not None})
    if (dpi := density(picture.exif)) is not None:
        image.info["dpi"] = dpi
    return image


def strip(picture: Picture) -> Picture:
    """The picture without Exif, XMP and ICC; pixels of another colour space are converted to sRGB."""
    bare = replace(picture, icc=None, exif=None, xmp=None)
    icc, note = picture.icc, ""
    if icc is None and not picture.grey:
        icc, note = named_profile(picture.exif, picture.xmp)
    if icc is None:
        return replace(bare, warnings=(*picture.warnings, note)) if note else bare
    try:
        return replace(bare, pixels=pixels_in_srgb(picture.pixels, icc, picture.one_channel))
    except (ImageCms.PyCMSError, ValueError, OSError):
        return replace(bare, warnings=(*picture.warnings, "unusable ICC profile dropped: colours may look different"))


def _is_closed(image: Image.Image) -> bool:
    """True if the pixels are freed, or not yet loaded and their file is closed."""
    file = getattr(image, "fp", None)
    if getattr(image, "tile", None) and image.format != "JXL":
        return file is None or bool(getattr(file, "closed", False))
    try:
        _ = image.im
    except ValueError:  # raised by Pillow for a closed image
        return True
    except AssertionError:  # not loaded yet, by a decoder of its own that may not need the file
        return False
    return False


def damaged(name: str, exc: Exception) -> InputError:
    """The error for a picture that Pillow refuses with `exc`."""
    return InputError(f"{name}: damaged or truncated image ({one_line(exc)})")


def one_line(exc: Exception) -> str:
    """Message of an error in one line of at most 200 characters; the name of its class if it has none."""
    return " ".join(str(exc).split())[:200] or type(exc).__name__


def _closed(name: str) -> InputError:
    return InputError(f"{name}: the image is closed; encode it inside its `with` block, or load() it before the end")
