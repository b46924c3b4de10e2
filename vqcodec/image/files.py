"""Reading of image files to a Picture or to its pixels alone, and writing of a Picture, with limits on size.

The reader of every picture: of the codec, the trainer and the evaluation.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import IFD
from PIL.PngImagePlugin import PngInfo

from ..container import MAGIC
from ..container.foreign import picture_format
from ..errors import InputError, UsageError, VqcError
from ..runtime.progress import Part, working
from . import plugins
from .colour import stated_colour
from .limits import MAX_PIXELS, check_size, pillow_limits, too_large
from .metadata import density, metadata
from .picture import Picture, damaged, from_array, from_opened, from_pillow, one_line, strip, to_pillow
from .pixels import Bytes, as_stored, blocks, raw_mode
from .sources import without_long_text

FORMATS = frozenset({"png", "jpg", "webp", "avif", "tiff", "ppm"})
"""Formats that `write_picture` writes."""
PNG_LEVEL = 1
"""Compression level of PNG: takes a quarter of the time of level 6, for 13 % more bytes."""
QUALITY = 95
"""Default quality of the lossy formats, 1..100."""
READABLE = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "TIFF", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "ICO", "ICNS",
            "QOI", "DDS", "PCX", "SGI", "HEIF", "JXL", "TGA")  # fmt: skip
"""Pillow's names of the formats read. HEIF and JXL open where their Pillow plugin is installed, see plugins.py.

TGA has no magic number, so it is last: Pillow tries the formats in this order.
"""
FOREIGN = {b"%PDF": "PDF", b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "EPS", b"8BPS": "PSD", b"SIMPLE": "FITS",
           b"<svg": "SVG", b"IIU\0": "camera raw", b"IIRO": "camera raw", b"IIRS": "camera raw", b"MMOR": "camera raw",
           b"FUJIFILMCCD-RAW": "camera raw", b"\0\0\0\x18ftypcrx": "camera raw"}  # fmt: skip
"""First bytes of formats that are not read, for the error message."""
XMP_TAG = 700
"""Tag of a TIFF's directory that holds XMP."""
SIDE_LIMITS = {"jpg": 65500, "webp": 16383, "avif": 32768}
"""Longest side of a format, px."""


def suffixes() -> frozenset[str]:
    """Suffixes of pictures in folders and shards, lower case (".jpg"): those of Pillow and of installed plugins."""
    known = (suffix for suffix, format in Image.registered_extensions().items() if format in READABLE)
    return frozenset(known) | plugins.suffixes()


def readable_formats() -> list[str]:
    """The formats of READABLE that Pillow can open on this machine, for `Image.open(formats=)`."""
    Image.init()
    return [format for format in READABLE if format in Image.OPEN]


def as_picture(image: Picture | Image.Image | np.ndarray[Any, Any] | str | Path) -> Picture:
    """Picture from any type that holds one. Raises UsageError for other types, or the errors of the reader used."""
    if isinstance(image, Picture):
        return image
    if isinstance(image, Image.Image):
        return from_pillow(image)
    if isinstance(image, np.ndarray):
        return from_array(image)
    if isinstance(image, str | Path):
        return read_picture(image)
    raise UsageError(f"an image is a path, Pillow image, numpy array or Picture, not {type(image).__name__}")


def read_pixels(source: str | Path | bytes | BinaryIO, max_pixels: int | None = MAX_PIXELS) -> Bytes:
    """Pixels uint8 [H, W, 3] of an image file as the codec encodes them: those of `read_picture`, upright.

    Pixels with an ICC profile stay in its colour space, as in a .vqc file, which keeps the profile. Plain JPEG and PNG
    files are decoded without `read_picture`'s lock, so that threads decode at the same time.

    Raises: InputError and LimitError, as `read_picture`.
    """
    with _opened(source, max_pixels) as (name, file):
        pixels = _plain_pixels(file, max_pixels)
        if pixels is not None:
            return pixels
        file.seek(0)
        return _read(file, name, max_pixels).pixels


def _plain_pixels(file: BinaryIO, max_pixels: int | None) -> Bytes | None:
    """Pixels of a JPEG or PNG whose 8-bit grey or RGB samples need no conversion but a rotation; None for others."""
    try:
        with Image.open(file, formats=("JPEG", "PNG")) as image:
            check_size("", image, max_pixels)
            if image.format not in ("JPEG", "PNG") or image.mode not in ("L", "RGB") or "transparency" in image.info:
                return None
            if ";" in raw_mode(image) or stated_colour(image, image.mode == "L").table is not None:
                return None
            image.load()
            orientation = metadata(image)[0]
            stored = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except Exception:  # `read_picture` words the error, and opens what exceeds Pillow's own limits
        return None
    if orientation == 1:
        return stored
    height, width = stored.shape[:2]
    upright = np.empty((width, height, 3) if orientation >= 5 else stored.shape, np.uint8)
    as_stored(upright, orientation)[...] = stored
    return upright


def read_picture(source: str | Path | bytes | BinaryIO, max_pixels: int | None = MAX_PIXELS) -> Picture:
    """Read an image file; of an animation, the first frame.

    Args:
        source: path, bytes of a file, or open binary file.
        max_pixels: largest width x height, checked against the header before pixels are decoded; None: no limit.

    Raises:
        InputError: the file is missing, empty, damaged, truncated or of a format that is not read.
        LimitError: the picture has more than `max_pixels` pixels, or memory does not hold it.
    """
    with working(Part.PICTURE_IN), _opened(source, max_pixels) as (name, file):
        return _read(file, name, max_pixels)


def _read(file: BinaryIO, name: str, max_pixels: int | None) -> Picture:
    with pillow_limits(max_pixels):
        try:
            if not (head := file.read(16)):
                raise InputError(f"{name}: the file is empty")
            if (format := picture_format(head)) in plugins.PLUGINS:
                plugins.register(format)
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
            raise too_large(name, max_pixels) from exc
        except Exception as exc:  # Pillow's parsers of damaged files raise many kinds
            raise damaged(name, exc) from exc


def _decoded(file: BinaryIO, name: str, max_pixels: int | None) -> Picture:
    with Image.open(file, formats=readable_formats()) as image:
        check_size(name, image, max_pixels)
        return from_opened(image, name, max_pixels)


def write_picture(
    picture: Picture, format: str, quality: int | None = None, compress_level: int = PNG_LEVEL
) -> tuple[bytes, tuple[str, ...]]:
    """Bytes of an image file, and one line for each property of the picture that the format cannot hold.

    Args:
        picture: pixels, alpha and metadata.
        format: png, tiff: exact. jpg: 4:4:4, alpha flattened onto white, up to 65500 px a side. webp: up to 16383 px
            a side. avif: 4:4:4, up to 32768 px a side. ppm: exact P6, or P5 when grey, without alpha and metadata.
        quality: 1..100 of jpg, webp and avif; default 95. The exact formats ignore it.
        compress_level: 0..9 of png, fast to small.

    Raises: UsageError for other formats and for sides over the limit.
    """
    if format not in FORMATS:
        raise UsageError(f"format {format!r} cannot be written; use one of {', '.join(sorted(FORMATS))}")
    side = max(picture.width, picture.height)
    if side > SIDE_LIMITS.get(format, side):
        raise UsageError(f"{format} holds at most {SIDE_LIMITS[format]} pixels a side, not {side}; use png")
    if format == "ppm":
        return _ppm(picture)
    lost: list[str] = []
    if format in ("webp", "avif") and picture.one_channel and picture.icc is not None:
        # WebP and AVIF store grey as RGB, which a grey profile does not describe.
        picture = replace(strip(picture), exif=picture.exif, xmp=picture.xmp)
    options: dict[str, Any] = {"icc_profile": picture.icc or b"", "exif": picture.exif or b""}
    if format == "png":
        options |= {"compress_level": compress_level, "pnginfo": PngInfo()}
        if picture.xmp is not None:
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", picture.xmp)
    elif format == "tiff":
        options |= _tiff_options(picture)
    else:
        options |= {"quality": QUALITY if quality is None else quality, "xmp": picture.xmp or b""}
    if format in ("png", "jpg", "tiff") and (dpi := density(picture.exif)) is not None:
        options["dpi"] = tuple(min(round(value), 65535) for value in dpi) if format == "jpg" else dpi
    if format in ("jpg", "avif"):
        options["subsampling"] = "4:4:4"
    if format == "avif" and picture.alpha is not None:
        lost.append("avif stores alpha with losses: webp and png are exact")
    if format == "jpg":
        for key, room in (("exif", 65533), ("xmp", 65504)):
            if len(options[key]) > room:
                lost.append(f"jpg holds at most {room} bytes of {key}: {len(options[key])} dropped")
                options[key] = b""
        if picture.alpha is not None:
            lost.append("jpg holds no alpha: flattened onto white")
            picture = replace(picture, pixels=_on_white(picture.pixels, picture.alpha), alpha=None)
    out = io.BytesIO()
    with working(Part.PICTURE_OUT, picture.width * picture.height):
        to_pillow(picture).save(out, {"jpg": "JPEG"}.get(format, format.upper()), **options)
    return out.getvalue(), tuple(lost)


def _tiff_options(picture: Picture) -> dict[str, Any]:
    """Options of Pillow for a lossless TIFF: Exif and XMP are tags of its directory; no profile if there is none."""
    tags = Image.Exif()
    tags.load(picture.exif or b"")
    if picture.xmp is not None:
        tags[XMP_TAG] = picture.xmp
    # Pillow writes directories inside Exif, such as that of the GPS position, in files without compression only.
    nested = any(tag in tags for tag in (IFD.Exif, IFD.GPSInfo, IFD.Interop))
    compression = "raw" if nested else "tiff_adobe_deflate"
    return {"compression": compression, "exif": tags, "icc_profile": picture.icc}


def _ppm(picture: Picture) -> tuple[bytes, tuple[str, ...]]:
    held = {"alpha": picture.alpha, "ICC": picture.icc, "Exif": picture.exif, "XMP": picture.xmp}
    header = f"P{5 if picture.grey else 6}\n{picture.width} {picture.height}\n255\n".encode()
    data = header + (picture.pixels[..., 0] if picture.grey else picture.pixels).tobytes()
    return data, tuple(f"ppm holds no {key}: dropped" for key, value in held.items() if value is not None)


def _on_white(pixels: Bytes, alpha: Bytes) -> Bytes:
    out = np.empty_like(pixels)
    for window in blocks(*alpha.shape):
        weight = alpha[window].astype(np.uint32)[..., None]
        out[window] = (pixels[window] * weight + 255 * (255 - weight) + 127) // 255
    return out


@contextmanager
def _opened(source: str | Path | bytes | BinaryIO, max_pixels: int | None) -> Iterator[tuple[str, BinaryIO]]:
    """Name for messages, and a seekable file; only a file opened here is closed."""
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
            reason = getattr(exc, "strerror", None) or one_line(exc)
            raise InputError(f"{name}: cannot be read: {reason}") from exc
    else:
        name = getattr(source, "name", "<bytes>")
        name = name if isinstance(name, str) else "<stdin>"
        yield name, _buffered(name, source, max_pixels)


def _buffered(name: str, stream: BinaryIO, max_pixels: int | None) -> BinaryIO:
    """All of a stream. As it may be endless, at most 8 bytes for each of `max_pixels` and 64 MiB for the rest."""
    max_bytes = None if max_pixels is None else 8 * max_pixels + 2**26
    buffer = io.BytesIO()
    while chunk := stream.read(2**20):
        buffer.write(chunk)
        if max_bytes is not None and buffer.tell() > max_bytes:
            raise too_large(name, max_pixels)
    buffer.seek(0)
    return buffer


def _refusal(head: bytes) -> str:
    """Reason why a file that begins with `head` is not read, and what to do."""
    if head.startswith(MAGIC):
        return "is a .vqc file; decode it, or make it smaller with `vqcodec truncate`"
    name = picture_format(head)
    if name in plugins.PLUGINS and not plugins.installed(name):
        package = plugins.PLUGINS[name].package
        return f"{name} files are read with the package {package}: pip install {package}, or convert it to PNG first"
    if name in plugins.PLUGINS:
        return f"is a damaged {name} file, or of a kind that its plugin does not read; convert it to PNG first"
    kind = next((kind for magic, kind in FOREIGN.items() if head.startswith(magic)), None)
    if kind is None and name is not None:
        return f"is damaged, or a kind of {name} that is not read; convert it to PNG first"
    why = f"{kind} files are not read" if kind else "not an image, or of an unknown format"
    return f"{why}; convert it to PNG or TIFF first"
