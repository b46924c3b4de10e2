"""Colour stated without an ICC profile: PNG gAMA, cHRM and cICP, AVIF nclx, TIFF chromaticities, Exif.

A tone curve is applied to the samples; other primaries become a small ICC profile, so that no colour is clipped; HDR
transfer curves are named in a warning. Codes of cICP and nclx are those of ITU-T H.273.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import IFD

Primaries = tuple[float, float, float, float, float, float, float, float]
"""CIE x and y of white, red, green and blue, as in cHRM."""
SRGB: Primaries = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE: Primaries = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
H273_PRIMARIES: dict[int, Primaries] = {
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (0.3127, 0.3290, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
H273_EXPONENTS = {4: 2.2, 5: 2.8, 8: 1.0}
"""Exponents of light as a function of samples, by H.273 code. The curves of video (1, 6, 14, 15) are taken as sRGB's,
as most programs do."""
HDR = {16: "PQ", 18: "HLG"}
"""HDR transfer curves by H.273 code."""
SRGB_EXPONENT = 2.2
ADOBE_EXPONENT = 563 / 256
SAME_EXPONENT, SAME_PLACE = 0.1, 0.006
"""Differences of an exponent and of a chromaticity up to which they are taken as equal."""
MAX_PROPERTIES_BYTES = 2**16
"""Bytes at the start of an AVIF or HEIF file that are searched for its properties."""
MAX_PNG_CHUNKS = 1000
"""Chunks of a PNG that are searched."""
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Stated:
    """Treatment of samples whose stated colour differs from sRGB; all None and empty: samples are sRGB."""

    table: NDArray[np.uint8] | None = None
    """[65536], sample of 16 bits -> sRGB sample of 8 bits."""
    icc: bytes | None = None
    """Profile of the samples."""
    notes: tuple[str, ...] = ()
    """Warnings for the user."""


def stated_colour(image: Image.Image, grey: bool) -> Stated:
    """Treatment of a picture without an ICC profile. Reads the image's file: call it before `image.load()`."""
    primaries, exponent, source = SRGB, SRGB_EXPONENT, ""
    codes = _h273(image)
    if codes is not None:
        if codes[1] in HDR:
            return Stated(notes=(f"HDR ({HDR[codes[1]]}) samples taken as sRGB: the picture looks flat",))
        primaries, exponent = H273_PRIMARIES.get(codes[0], SRGB), H273_EXPONENTS.get(codes[1], SRGB_EXPONENT)
        source = "cICP"
    elif "srgb" not in image.info:
        gamma = image.info.get("gamma")
        if isinstance(gamma, int | float) and 0.1 <= gamma <= 10:
            exponent, source = 1 / gamma, f"gAMA {gamma:g}"
        found = _chromaticities(image)
        primaries = found if found is not None else primaries
    notes: list[str] = []
    if not grey and not _near(primaries, SRGB):
        try:
            return Stated(icc=profile(primaries, exponent))
        except (ValueError, np.linalg.LinAlgError, struct.error):
            notes.append("unusable chromaticities ignored: colours may look different")
    if abs(exponent - SRGB_EXPONENT) <= SAME_EXPONENT:
        return Stated(notes=tuple(notes))
    return Stated(to_srgb_table(exponent, 65536), notes=(*notes, f"tone curve ({source}) converted to sRGB"))


def to_srgb_table(exponent: float, entries: int = 256) -> NDArray[np.uint8]:
    """[entries], samples with light = sample ** exponent -> samples of sRGB (IEC 61966-2-1)."""
    light = np.linspace(0, 1, entries) ** exponent
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)


def profile(primaries: Primaries, exponent: float) -> bytes:
    """ICC profile (version 2, RGB) of these primaries and tone curve.

    The curve is sRGB's for an exponent near 2.2, except for the primaries of Adobe RGB. Raises ValueError or
    LinAlgError for invalid chromaticities.
    """
    columns = _matrix(primaries)
    if not np.isfinite(columns).all() or np.abs(columns).max() > 100:
        raise ValueError("chromaticities out of range")
    near = abs(exponent - SRGB_EXPONENT) <= SAME_EXPONENT and not _near(primaries, ADOBE)
    values = [exponent * 256] if not near else (to_linear() * 65535).tolist()
    curve = b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *(round(v) for v in values))
    curve += bytes(-len(curve) % 4)
    white = (0.9642, 1.0, 0.8249)
    name = b"desc\0\0\0\0" + struct.pack(">I", 7) + b"stated\0" + bytes(78)
    parts = {b"desc": name + bytes(-len(name) % 4), b"cprt": b"text\0\0\0\0CC0\0", b"wtpt": _xyz(white)}
    parts |= {tag: _xyz(column) for tag, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns.T.tolist(), strict=True)}
    start = 128 + 4 + 12 * (len(parts) + 3)
    table, body = struct.pack(">I", len(parts) + 3), b""
    for tag, data in parts.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data
    for tag in (b"rTRC", b"gTRC", b"bTRC"):
        table += tag + struct.pack(">II", start + len(body), len(curve))
    head = struct.pack(">I", start + len(body) + len(curve)) + bytes(4) + b"\x02\x40\0\0mntrRGB XYZ "
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + table + body + curve


def to_linear(entries: int = 64) -> NDArray[np.float64]:
    """Light 0..1 of evenly spaced sRGB samples, [entries] (IEC 61966-2-1)."""
    sample = np.linspace(0, 1, entries)
    return np.where(sample <= 0.04045, sample / 12.92, ((sample + 0.055) / 1.055) ** 2.4)


def named_profile(exif: bytes | None, xmp: bytes | None) -> tuple[bytes | None, str]:
    """Profile of the colour space that Exif or XMP name, None for sRGB; and a warning if the space is unknown."""
    space, index = _exif_space(exif)
    if space == 2 or index == "R03" or (xmp is not None and b'ICCProfile="Adobe RGB (1998)"' in xmp):
        return profile(ADOBE, ADOBE_EXPONENT), ""
    if space == 0xFFFF:
        return None, "colour space of Exif is 'uncalibrated' and unknown: taken as sRGB, colours may look different"
    return None, ""


def png_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset of the data, length) of each complete PNG chunk; at most MAX_PNG_CHUNKS."""
    place, end = 8, file.seek(0, io.SEEK_END)
    for _ in range(MAX_PNG_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8 or place + 12 > end:
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], place + 8, length
        place += 12 + length


def _h273(image: Image.Image) -> tuple[int, int] | None:
    """H.273 codes (primaries, transfer) of a PNG's cICP or an AVIF's nclx; None without."""
    file: Any = getattr(image, "fp", None)
    if file is None or image.format not in ("PNG", "AVIF", "HEIF"):
        return None
    try:
        before = file.tell()
        try:
            return _cicp(file) if image.format == "PNG" else _nclx(file)
        finally:
            file.seek(before)
    except (OSError, ValueError):
        return None


def _cicp(file: BinaryIO) -> tuple[int, int] | None:
    for kind, place, length in png_chunks(file):
        if kind == b"IDAT":
            return None
        if kind == b"cICP" and length >= 2:
            file.seek(place)
            found = file.read(2)
            return found[0], found[1]
    return None


def _nclx(file: BinaryIO) -> tuple[int, int] | None:
    file.seek(0)
    head = file.read(MAX_PROPERTIES_BYTES)
    place = head.find(b"colrnclx") + 8
    return struct.unpack_from(">HH", head, place) if 8 <= place <= len(head) - 4 else None


def _chromaticities(image: Image.Image) -> Primaries | None:
    found = image.info.get("chromaticity")
    tags = getattr(image, "tag_v2", None)
    if found is None and tags is not None and len(tags.get(319, ())) == 6:
        white = tags.get(318, SRGB[:2])
        found = (*white, *tags[319]) if len(white) == 2 else None
    if not isinstance(found, tuple) or len(found) != 8:
        return None
    try:
        values = tuple(float(value) for value in found)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return values  # type: ignore[return-value]


def _near(one: Primaries, other: Primaries) -> bool:
    return all(abs(a - b) <= SAME_PLACE for a, b in zip(one, other, strict=True))


def _matrix(primaries: Primaries) -> NDArray[np.float64]:
    """[3, 3]: XYZ of red, green and blue in columns, white adapted to D50 by the Bradford transform."""
    if min(primaries[1::2]) <= 0:
        raise ValueError("a chromaticity y is not positive")
    x, y = np.array(primaries[0::2]), np.array(primaries[1::2])
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    columns = xyz[:, 1:] * np.linalg.solve(xyz[:, 1:], xyz[:, 0])
    cones = (BRADFORD @ D50) / (BRADFORD @ xyz[:, 0])
    adapted: NDArray[np.float64] = np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ columns
    return adapted


def _xyz(values: Any) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(value * 65536) for value in values))


def _exif_space(exif: bytes | None) -> tuple[int | None, str]:
    """Exif's ColorSpace and the index of its interoperability directory."""
    if exif is None:
        return None, ""
    found = Image.Exif()
    try:
        found.load(exif)
        space = found.get_ifd(IFD.Exif).get(0xA001)
        index = found.get_ifd(IFD.Interop).get(1, "")
    except Exception:  # Pillow raises many kinds for damaged directories
        return None, ""
    return space if isinstance(space, int) else None, str(index).strip("\0 ")
