"""Any Pillow image to 8-bit RGB (+ alpha, ICC, Exif, XMP) and back, with limits against decompression bombs.

The border to other formats; `tiling.py` next cuts the pixels into windows. Whatever a `Picture` cannot hold is
converted (`image_pixels.py`, `image_metadata.py`) and listed in `warnings`. Peak memory: about 2.5 times the pixels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from ..container import MAGIC
from ..container.chunks import MAX_CHUNK_BYTES, MAX_CHUNKS_BYTES
from ..errors import InputError, LimitError, UsageError, VqcError
from ..runtime.forking import ForkLock
from .colour import profile_said, stated_colour
from .metadata import density, metadata
from .pixels import NUMERIC, Bytes, blocks, pixels_in_srgb, raw_mode, render
from .sources import first_full_page, key_16_bit, low_bytes, without_long_text

MAX_PIXELS = 2**28
FORMATS = frozenset({"png", "jpg", "webp", "ppm"})
# TGA has no magic number, so it is tried last. HEIF and JXL open once the caller has registered their Pillow plugin.
READABLE = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "ICO", "ICNS",
            "QOI", "DDS", "PCX", "SGI", "HEIF", "JXL", "TGA")  # fmt: skip
FOREIGN = {b"%PDF": "PDF", b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "EPS", b"8BPS": "PSD", b"SIMPLE": "FITS",
           b"<svg": "SVG", b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL",
           b"IIU\0": "camera raw", b"IIRO": "camera raw", b"IIRS": "camera raw", b"MMOR": "camera raw",
           b"FUJIFILMCCD-RAW": "camera raw", b"\0\0\0\x18ftypcrx": "camera raw"}  # fmt: skip
SIDE_LIMITS = {"jpg": 65500, "webp": 16383}
_pillow_lock = ForkLock()


@dataclass(frozen=True, eq=False)
class Picture:
    """One upright picture of 8 bits a channel; the arrays are shared, not copied: do not write to them."""

    pixels: Bytes
    """[H, W, 3], 0..255."""
    alpha: Bytes | None = None
    """[H, W], 0 transparent .. 255 opaque, not premultiplied."""
    grey: bool = False
    """The three channels are equal, and the source was grey."""
    icc: bytes | None = None
    """Profile of exactly these pixels (of one channel when grey); None is read as sRGB."""
    exif: bytes | None = None
    """TIFF structure after the prefix `Exif\\0\\0`; its orientation, if any, is 1."""
    xmp: bytes | None = None
    """XMP packet; its orientation, if any, is 1."""
    warnings: tuple[str, ...] = ()
    """One line each: what was converted and lost."""

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
    def n_pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def as_picture(image: Picture | Image.Image | np.ndarray[Any, Any] | str | Path) -> Picture:
    """Picture of whatever holds one; UsageError for any other type, otherwise the errors of the reader it goes to."""
    if isinstance(image, Picture):
        return image
    if isinstance(image, Image.Image):
        return from_pillow(image)
    if isinstance(image, np.ndarray):
        return from_array(image)
    if isinstance(image, str | Path):
        return read_picture(image)
    raise UsageError(f"an image is a path, Pillow image, numpy array or Picture, not {type(image).__name__}")


def read_picture(source: str | Path | bytes | BinaryIO, max_pixels: int | None = MAX_PIXELS) -> Picture:
    """Read an image file; of an animation, the first frame.

    `max_pixels`: largest width x height, checked against the header before pixels are decoded; None for no limit.
    Raises InputError (missing, empty, foreign, damaged or truncated file) and LimitError.
    """
    with _opened(source, max_pixels) as (name, file), _pillow_limits(max_pixels):
        try:
            if not (head := file.read(16)):
                raise InputError(f"{name}: the file is empty")
            Image.init()
            try:
                return _decoded(file, name, max_pixels)
            except ValueError as exc:
                if "MAX_TEXT" not in str(exc):
                    raise
            shorter, lost = without_long_text(file)
            picture = _decoded(shorter, name, max_pixels)
            return replace(picture, warnings=(*picture.warnings, *lost))
        except VqcError:
            raise
        except UnidentifiedImageError as exc:
            raise InputError(f"{name}: {_refusal(head)}") from exc
        except (Image.DecompressionBombError, MemoryError) as exc:
            raise _too_large(name, max_pixels) from exc
        except Exception as exc:  # damaged files make Pillow's parsers raise nearly anything
            raise _damaged(name, exc) from exc


def _decoded(file: BinaryIO, name: str, max_pixels: int | None) -> Picture:
    with Image.open(file, formats=[f for f in READABLE if f in Image.OPEN]) as image:
        _check_size(name, image, max_pixels)
        return _from_pillow(image, name, max_pixels)


def from_pillow(image: Image.Image) -> Picture:
    """Picture of the current frame of a Pillow image, which stays as it is; InputError if its file is damaged."""
    name = str(getattr(image, "filename", "") or "<image>")
    try:
        with _pillow_limits(None):
            return _from_pillow(image, name, None)
    except VqcError:
        raise
    except Exception as exc:
        raise (_closed(name) if "closed image" in str(exc) else _damaged(name, exc)) from exc


def from_array(array: np.ndarray[Any, Any]) -> Picture:
    """Picture of a copy of uint8 [H, W] or [H, W, 1] (grey), [H, W, 2] (grey, alpha), [H, W, 3] or [H, W, 4]."""
    planes = array[..., None] if array.ndim == 2 else array
    if array.dtype != np.uint8 or planes.ndim != 3 or planes.shape[2] not in (1, 2, 3, 4) or not array.size:
        raise UsageError(
            f"an array must be uint8 [H, W] or [H, W, 1..4] with H, W >= 1, not {array.dtype} {list(array.shape)}"
        )
    grey = planes.shape[2] <= 2
    pixels = np.empty((*planes.shape[:2], 3), np.uint8)
    pixels[...] = planes[..., :1] if grey else planes[..., :3]
    return Picture(pixels, planes[..., -1].copy() if planes.shape[2] in (2, 4) else None, grey)


def to_pillow(picture: Picture) -> Image.Image:
    """Pillow image of mode L, LA, RGB or RGBA, with icc_profile, exif and xmp in its `info`."""
    image = Image.fromarray(np.ascontiguousarray(picture.pixels[..., 0]) if picture.grey else picture.pixels)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    fields = {"icc_profile": picture.icc, "exif": picture.exif, "xmp": picture.xmp}
    image.info.update({key: value for key, value in fields.items() if value is not None})
    if (dpi := density(picture.exif)) is not None:
        image.info["dpi"] = dpi
    return image


def strip(picture: Picture) -> Picture:
    """The picture without Exif, XMP and ICC; pixels of another colour space become sRGB, so that the look stays."""
    bare = replace(picture, icc=None, exif=None, xmp=None)
    icc, note = picture.icc, ""
    if icc is None and not picture.grey:
        icc, note = profile_said(picture.exif, picture.xmp)
    if icc is None:
        return replace(bare, warnings=(*picture.warnings, note)) if note else bare
    try:
        return replace(bare, pixels=pixels_in_srgb(picture.pixels, icc, picture.grey))
    except (ImageCms.PyCMSError, ValueError, OSError):
        return replace(bare, warnings=(*picture.warnings, "unusable ICC profile dropped: colours may look different"))


def write_picture(picture: Picture, format: str) -> tuple[bytes, tuple[str, ...]]:
    """File bytes, and one line for each thing the format could not hold.

    png: exact. jpg: quality 95, 4:4:4, alpha flattened onto white. webp: quality 95, up to 16383 pixels a side.
    ppm: exact P6, or P5 when grey, without alpha and metadata. UsageError for other formats and sides over the limit.
    """
    if format not in FORMATS:
        raise UsageError(f"format {format!r} cannot be written; use one of {', '.join(sorted(FORMATS))}")
    side = max(picture.width, picture.height)
    if side > SIDE_LIMITS.get(format, side):
        raise UsageError(f"{format} holds at most {SIDE_LIMITS[format]} pixels a side, not {side}; use png")
    if format == "ppm":
        held = {"alpha": picture.alpha, "ICC": picture.icc, "Exif": picture.exif, "XMP": picture.xmp}
        header = f"P{5 if picture.grey else 6}\n{picture.width} {picture.height}\n255\n".encode()
        data = header + (picture.pixels[..., 0] if picture.grey else picture.pixels).tobytes()
        return data, tuple(f"ppm holds no {key}: dropped" for key, value in held.items() if value is not None)
    lost: list[str] = []
    if format == "webp" and picture.grey and picture.icc is not None:
        # WebP stores grey as RGB, which a grey profile does not describe.
        picture = replace(strip(picture), exif=picture.exif, xmp=picture.xmp)
    options: dict[str, Any] = {"icc_profile": picture.icc or b"", "exif": picture.exif or b""}
    if format == "png":
        options |= {"compress_level": 6, "pnginfo": PngInfo()}
        if picture.xmp is not None:
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", picture.xmp)
    else:
        options |= {"quality": 95, "xmp": picture.xmp or b""}
    if format in ("png", "jpg") and (dpi := density(picture.exif)) is not None:
        options["dpi"] = dpi if format == "png" else tuple(min(round(value), 65535) for value in dpi)
    if format == "jpg":
        options["subsampling"] = "4:4:4"
        for key, room in (("exif", 65533), ("xmp", 65504)):
            if len(options[key]) > room:
                lost.append(f"jpg holds at most {room} bytes of {key}: {len(options[key])} dropped")
                options[key] = b""
        if picture.alpha is not None:
            lost.append("jpg holds no alpha: flattened onto white")
            picture = replace(picture, pixels=_on_white(picture.pixels, picture.alpha), alpha=None)
    out = io.BytesIO()
    to_pillow(picture).save(out, {"jpg": "JPEG"}.get(format, format.upper()), **options)
    return out.getvalue(), tuple(lost)


def _on_white(pixels: Bytes, alpha: Bytes) -> Bytes:
    out = np.empty_like(pixels)
    for window in blocks(*alpha.shape):
        weight = alpha[window].astype(np.uint32)[..., None]
        out[window] = (pixels[window] * weight + 255 * (255 - weight) + 127) // 255
    return out


def _from_pillow(image: Image.Image, name: str, max_pixels: int | None) -> Picture:
    if _is_closed(image):
        raise _closed(name)
    frame = image.tell()
    paged = [] if frame else first_full_page(image, name)
    try:
        raw = raw_mode(image)
        stated = stated_colour(image, image.mode in ("1", "L", "LA", "La", *NUMERIC))
        low = None if key_16_bit(image, raw) is None else low_bytes(image)
        image.load()
        _check_size(name, image, max_pixels)  # once more: an icon's header may lie about the picture inside
        orientation, exif, xmp, lost = metadata(image)
        icc = image.info.get("icc_profile")
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
    except ValueError:  # loaded, and then closed: nobody can count them any more
        frames = 1
    if frames > 1 and not paged:
        notes.append(f"1 of {frames} frames kept, {frames - 1} left out")
    return Picture(pixels, alpha, grey, icc, exif, xmp, (*paged, *notes, *lost))


def _is_closed(image: Image.Image) -> bool:
    """True if the pixels are gone, or the file that they were to come from."""
    file = getattr(image, "fp", None)
    if getattr(image, "tile", None) and image.format != "JXL":
        return file is None or bool(getattr(file, "closed", False))
    try:
        _ = image.im
    except ValueError:  # Pillow's own word for it
        return True
    except AssertionError:  # not loaded yet, by a decoder of its own that may do without the file
        return False
    return False


@contextmanager
def _opened(source: str | Path | bytes | BinaryIO, max_pixels: int | None) -> Iterator[tuple[str, BinaryIO]]:
    """Name for messages and a seekable file; only a file opened here is closed."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield "<bytes>", io.BytesIO(source)
    elif isinstance(source, str | Path):
        name = str(source)
        try:
            with open(source, "rb") as file:
                yield name, file if file.seekable() else _buffered(name, file, max_pixels)
        except VqcError:
            raise
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or _line(exc)
            raise InputError(f"{name}: cannot be read: {reason}") from exc
    else:
        name = getattr(source, "name", "<bytes>")
        name = name if isinstance(name, str) else "<stdin>"
        yield name, _buffered(name, source, max_pixels)


def _buffered(name: str, stream: BinaryIO, max_pixels: int | None) -> BinaryIO:
    """All of a stream, which may be endless: no image needs more than 8 bytes a pixel and 64 MiB for the rest."""
    most = None if max_pixels is None else 8 * max_pixels + 2**26
    buffer = io.BytesIO()
    while chunk := stream.read(2**20):
        buffer.write(chunk)
        if most is not None and buffer.tell() > most:
            raise _too_large(name, max_pixels)
    buffer.seek(0)
    return buffer


@contextmanager
def _pillow_limits(max_pixels: int | None) -> Iterator[None]:
    """Pillow with our limit in place of its own and without warnings.

    All are globals of the process, hence the lock; decoding in parallel takes processes. Pillow raises at twice its
    limit, which is before a WebP decoder allocates its canvas.
    """
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
        Image.MAX_IMAGE_PIXELS = None if max_pixels is None else (max_pixels + 1) // 2
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = MAX_CHUNK_BYTES, MAX_CHUNKS_BYTES
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


def _check_size(name: str, image: Image.Image, max_pixels: int | None) -> None:
    if not image.width or not image.height:
        raise InputError(f"{name}: the image has no pixels ({image.width} x {image.height})")
    if max_pixels is not None and image.width * image.height > max_pixels:
        raise _too_large(name, max_pixels, f" ({image.width} x {image.height})")


def _too_large(name: str, max_pixels: int | None, size: str = "") -> LimitError:
    if max_pixels is None:
        return LimitError(f"{name}: the image is too large for this machine's memory")
    return LimitError(f"{name}: more than {max_pixels} pixels{size}; allow more with --max-pixels if you trust it")


def _damaged(name: str, exc: Exception) -> InputError:
    return InputError(f"{name}: damaged or truncated image ({_line(exc)})")


def _closed(name: str) -> InputError:
    return InputError(f"{name}: the image is closed; encode it inside its `with` block, or load() it before the end")


def _refusal(head: bytes) -> str:
    if head.startswith(MAGIC):
        return "is a .vqc file; decode it, or make it smaller with `vqcodec truncate`"
    heif = "HEIF" if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1") else ""
    kind = next((kind for magic, kind in FOREIGN.items() if head.startswith(magic)), heif)
    why = f"{kind} files are not read" if kind else "not an image, or of an unknown format"
    return f"{why}; convert it to PNG or TIFF first"


def _line(exc: Exception) -> str:
    return " ".join(str(exc).split())[:200] or type(exc).__name__
