"""Pictures, files and colour profiles for the tests of image input and output."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import IFD, Base

SIZES = [(1, 1), (1, 37), (37, 1), (31, 23), (64, 48)]  # width, height


def noise(width: int, height: int, channels: int, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def photo(name: str = "chelsea.png") -> Image.Image:
    data = pytest.importorskip("skimage.data", reason="real photographs come with scikit-image")
    with Image.open(Path(data.__file__).parent / name) as image:
        small = image.convert("RGB").resize((120, 80))
    small.info.clear()
    return small


def icc(space: bytes, pcs: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    """A version 2 profile of these tags."""
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        data += bytes(-len(data) % 4)
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data
    d50 = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    size = struct.pack(">I", start + len(body))
    header = size + bytes(4) + b"\x02\x40\0\0" + kind + space + pcs + bytes(12) + b"acsp" + bytes(28) + d50
    return header.ljust(128, b"\0") + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(v * 65536) for v in values))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


WHITE = {b"wtpt": xyz(0.9642, 1, 0.8249)}


GREY_ICC = icc(b"GRAY", b"XYZ ", WHITE | {b"kTRC": gamma(1.0)})


SRGB_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


ADOBE_ICC = icc(
    b"RGB ",
    b"XYZ ",
    WHITE
    | {b"rXYZ": xyz(0.6097, 0.3111, 0.0195), b"gXYZ": xyz(0.2053, 0.6257, 0.0609), b"bXYZ": xyz(0.1492, 0.0632, 0.7446)}
    | {tag: gamma(2.2) for tag in (b"rTRC", b"gTRC", b"bTRC")},
)


def cmyk_icc() -> bytes:
    """A CMYK profile without colour: Lab lightness 100 (1 - K), 50 less with C."""
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    ramp = struct.pack(">HH", 0, 65535)
    cells = b""
    for cell in range(16):
        cyan, black = cell >> 3 & 1, cell & 1
        cells += struct.pack(">HHH", int(65280 * max(0, 1 - black - 0.5 * cyan)), 32768, 32768)
    lut = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + struct.pack(">HH", 2, 2) + ramp * 4 + cells + ramp * 3
    return icc(b"CMYK", b"Lab ", WHITE | {b"A2B0": lut}, b"prtr")


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG from its parts; `rows` is filter byte + samples, `extra` complete chunks before the pixels."""
    parts = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + extra
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    exif[Base.Make] = "Camera"
    exif[IFD.Exif] = {Base.ISOSpeedRatings: 400}
    return exif
