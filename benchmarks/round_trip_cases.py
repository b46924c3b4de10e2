"""Cases of round_trips.py: images of every kind that people have, with the values that a file of them must give.

Each image is generated; its expected pixels are the generated ones, or Pillow's decoding where the format is lossy.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import IFD, Base

SIZES = [(1, 1), (1, 37), (37, 1), (31, 23), (64, 48)]
"""(width, height), pixels."""
SMALL = (45, 30)
SRGB_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
DEEP_GREY, DEEP, CMYK = "16-bit grey scaled", "16-bit samples cut", "CMYK"


@dataclass(frozen=True)
class Source:
    """One kind of image file."""

    name: str
    suffix: str
    write: Callable[[int, int, dict[str, object]], bytes]
    """(width, height, options of Pillow's `save`) -> the file."""
    warning: str = ""
    """A part of the only warning, empty for none."""
    channels: Callable[[int, int], np.ndarray] | None = None
    """(width, height) -> expected uint8 [H, W, 1..4]; None: as Pillow decodes the file."""
    alpha: bool = False
    grey: bool = False


@dataclass(frozen=True)
class Metadata:
    """Properties beside the pixels, and what must be left of them."""

    name: str
    save: dict[str, object] = field(default_factory=dict)
    """Options of Pillow's `save`."""
    warning: str = ""
    orientation: int = 1
    kept: tuple[str, ...] = ()
    """Keys of `Image.info` after decoding: icc_profile, exif, xmp, dpi."""


@dataclass(frozen=True)
class Case:
    """One round trip."""

    source: Source
    size: tuple[int, int]
    metadata: Metadata
    encode: tuple[str, ...] = ()
    """Options of `vqcodec encode`."""
    to: str = "png"
    """Suffix of the decoded image."""
    decode: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Words for tables and test identifiers."""
        options = " ".join([*self.encode, *(f"to {self.to}" for _ in range(self.to != "png")), *self.decode])
        width, height = self.size
        return f"{self.source.name}, {width}x{height}, {self.metadata.name}" + (f", {options}" if options else "")


def scene(width: int, height: int) -> np.ndarray:
    """Colours uint8 [H, W, 3]: waves with some noise, no channel equal to another."""
    y, x = np.mgrid[:height, :width].astype(float)
    waves = np.stack([np.sin(x / 9 + y / 31 + 2.1 * c) for c in range(3)], -1)
    noise = np.random.default_rng(width * 1000 + height).normal(0, 4, waves.shape)
    return (128 + 90 * waves + noise).clip(0, 255).astype(np.uint8)


def with_alpha(width: int, height: int) -> np.ndarray:
    """`scene` with alpha 0..255 from left to right, uint8 [H, W, 4]."""
    ramp = np.linspace(0, 255, width).round().astype(np.uint8)
    return np.dstack([scene(width, height), np.broadcast_to(ramp, (height, width))])


def grey(width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 1]."""
    return scene(width, height)[..., :1]


def grey_alpha(width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 2]."""
    return with_alpha(width, height)[..., [0, 3]]


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    """The bytes of a file that Pillow writes."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def png(samples: np.ndarray, *chunks: bytes) -> bytes:
    """A PNG of uint8 or uint16 [H, W, 1..4], with further complete chunks."""
    height, width, channels = samples.shape
    depth, colour = 8 * samples.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(f">u{samples.itemsize}").tobytes() for row in samples)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"".join([head, *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(kind: bytes, data: bytes) -> bytes:
    """A complete PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def plain(
    format: str, pixels: Callable[[int, int], np.ndarray], mode: str = "", **fixed: object
) -> Callable[..., bytes]:
    """Writer of a Pillow format from an array, converted to `mode` if given."""

    def write(width: int, height: int, options: dict[str, object]) -> bytes:
        array = pixels(width, height)
        image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
        return saved(image.convert(mode) if mode else image, format, **fixed, **options)

    return write


def raw_png(pixels: Callable[[int, int], np.ndarray], *chunks: bytes, deep: bool = False) -> Callable[..., bytes]:
    """Writer of a PNG with chunks or 16-bit samples, which Pillow cannot write."""

    def write(width: int, height: int, options: dict[str, object]) -> bytes:
        array = pixels(width, height)
        low = np.random.default_rng(1).integers(0, 128, array.shape)
        return png((array.astype(np.uint16) * 256 + low).astype(np.uint16) if deep else array, *chunks)

    return write


def deep_grey(format: str, kind: type = np.uint16) -> Callable[..., bytes]:
    """Writer of grey samples of 16 bits or floating point."""

    def write(width: int, height: int, options: dict[str, object]) -> bytes:
        array = grey(width, height)[..., 0]
        samples = array.astype(np.float32) / 255 if kind is np.float32 else array.astype(np.uint16) * 257
        return saved(Image.fromarray(samples), format, **options)

    return write


def palette(format: str, transparent: bool = False) -> Callable[..., bytes]:
    """Writer of 64 palette colours, with their alpha if `transparent`."""

    def write(width: int, height: int, options: dict[str, object]) -> bytes:
        image = Image.fromarray(scene(width, height)).quantize(64)
        alpha = {"transparency": bytes(range(0, 256, 4))} if transparent else {}
        return saved(image, format, **alpha, **options)

    return write


def keyed(width: int, height: int, options: dict[str, object]) -> bytes:
    """A PNG whose first colour is transparent."""
    array = scene(width, height)
    return saved(Image.fromarray(array), "PNG", transparency=tuple(map(int, array[0, 0])), **options)


def white_at_zero(width: int, height: int, options: dict[str, object]) -> bytes:
    """A grey TIFF in which 0 is white."""
    data = bytearray(saved(Image.fromarray(255 - grey(width, height)[..., 0]), "TIFF", **options))
    entry = data.index(struct.pack("<HHI", Base.PhotometricInterpretation, 3, 1))
    struct.pack_into("<H", data, entry + 8, 0)
    return bytes(data)


def frames(width: int, height: int, options: dict[str, object]) -> bytes:
    """A GIF of two frames."""
    first = Image.fromarray(grey(width, height)[..., 0])
    return saved(first, "GIF", save_all=True, append_images=[ImageOps.invert(first)], **options)


def lab(width: int, height: int, options: dict[str, object]) -> bytes:
    """A TIFF in CIE Lab."""
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(srgb, ImageCms.createProfile("LAB"), "RGB", "LAB")
    return saved(transform.apply(Image.fromarray(scene(width, height))), "TIFF", **options)


LINEAR = chunk(b"gAMA", struct.pack(">I", 100000))
P3 = chunk(b"cICP", bytes([12, 13, 0, 1]))
SOURCES = [
    Source("PNG grey", "png", plain("PNG", grey), channels=grey, grey=True),
    Source("PNG grey and alpha", "png", plain("PNG", grey_alpha), channels=grey_alpha, alpha=True, grey=True),
    Source("PNG RGB", "png", plain("PNG", scene), channels=scene),
    Source("PNG RGBA", "png", plain("PNG", with_alpha), channels=with_alpha, alpha=True),
    Source("PNG bilevel", "png", plain("PNG", grey, "1"), grey=True),
    Source("PNG palette", "png", palette("PNG")),
    Source("PNG palette with alpha", "png", palette("PNG", True), alpha=True),
    Source("PNG transparent colour", "png", keyed, alpha=True),
    Source("PNG 16-bit grey", "png", deep_grey("PNG"), DEEP_GREY, grey, grey=True),
    Source("PNG 16-bit grey and alpha", "png", raw_png(grey_alpha, deep=True), DEEP, grey_alpha, True, True),
    Source("PNG 16-bit RGB", "png", raw_png(scene, deep=True), DEEP, scene),
    Source("PNG 16-bit RGBA", "png", raw_png(with_alpha, deep=True), DEEP, with_alpha, True),
    Source("PNG Display P3 by cICP", "png", raw_png(scene, P3), channels=scene),
    Source("JPEG grey", "jpg", plain("JPEG", grey), grey=True),
    Source("JPEG RGB", "jpg", plain("JPEG", scene, quality=95)),
    Source("JPEG CMYK", "jpg", plain("JPEG", scene, "CMYK"), CMYK),
    Source("WebP lossless RGB", "webp", plain("WEBP", scene, lossless=True), channels=scene),
    Source("WebP lossless RGBA", "webp", plain("WEBP", with_alpha, lossless=True, exact=True), "", with_alpha, True),
    Source("WebP lossy", "webp", plain("WEBP", scene)),
    Source("AVIF RGB", "avif", plain("AVIF", scene, speed=10)),
    Source("AVIF RGBA", "avif", plain("AVIF", with_alpha, speed=10), alpha=True),
    Source("TIFF RGB", "tif", plain("TIFF", scene), channels=scene),
    Source("TIFF RGBA", "tif", plain("TIFF", with_alpha), channels=with_alpha, alpha=True),
    Source("TIFF LZW grey", "tif", plain("TIFF", grey, compression="tiff_lzw"), channels=grey, grey=True),
    Source("TIFF white at zero", "tif", white_at_zero, channels=grey, grey=True),
    Source("TIFF 16-bit grey", "tif", deep_grey("TIFF"), DEEP_GREY, grey, grey=True),
    Source("TIFF float", "tif", deep_grey("TIFF", np.float32), "floating-point samples", grey, grey=True),
    Source("TIFF CMYK", "tif", plain("TIFF", scene, "CMYK"), CMYK),
    Source("TIFF Lab", "tif", lab, "Lab converted"),
    Source("GIF", "gif", palette("GIF")),
    Source("GIF animation", "gif", frames, "1 of 2 frames", grey, grey=True),
    Source("BMP", "bmp", plain("BMP", scene), channels=scene),
    Source("PPM", "ppm", plain("PPM", scene), channels=scene),
    Source("PGM", "pgm", plain("PPM", grey), channels=grey, grey=True),
    Source("PGM 16-bit", "pgm", deep_grey("PPM"), DEEP_GREY, grey, grey=True),
    Source("JPEG 2000", "jp2", plain("JPEG2000", scene), channels=scene),
    Source("QOI", "qoi", plain("QOI", scene), channels=scene),
    Source("TGA RGBA", "tga", plain("TGA", with_alpha), channels=with_alpha, alpha=True),
]


def exif(orientation: int, thumbnail: bool = False) -> bytes:
    """An Exif block of a camera, with a thumbnail in its second directory if wanted."""
    found = Image.Exif()
    found[Base.Make], found[Base.Orientation] = "Camera", orientation
    if thumbnail:
        image = saved(Image.new("RGB", (16, 12)), "JPEG")
        found.get_ifd(IFD.IFD1).update({0x0201: 0, 0x0202: len(image)})
    return found.tobytes()


def text() -> PngImagePlugin.PngInfo:
    """A caption as PNG text."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "waves")
    return info


def png_xmp() -> PngImagePlugin.PngInfo:
    """XMP in the text chunk that PNG has for it."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return info


def tiff_xmp() -> TiffImagePlugin.ImageFileDirectory_v2:
    """XMP in the tag that TIFF has for it."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[700], tags.tagtype[700] = XMP, 1
    return tags


def metadata_of(suffix: str) -> Iterator[Metadata]:
    """The properties that this format can hold."""
    xmp: dict[str, object] = {"png": {"pnginfo": png_xmp()}, "tif": {"tiffinfo": tiff_xmp()}}.get(suffix, {"xmp": XMP})
    yield Metadata("ICC", {"icc_profile": SRGB_ICC}, kept=("icc_profile",))
    for orientation in range(1, 9):
        yield Metadata(f"Exif {orientation}", {"exif": exif(orientation)}, "", orientation, ("exif",))
    yield Metadata("XMP", xmp, kept=("xmp",))
    if suffix != "tif":
        yield Metadata("thumbnail", {"exif": exif(6, True)}, "", 6, ("exif",))
        everything = {"icc_profile": SRGB_ICC, "exif": exif(8)} | xmp
        yield Metadata("ICC, Exif 8, XMP", everything, "", 8, ("icc_profile", "exif", "xmp"))
    if suffix in ("png", "jpg", "tif"):
        yield Metadata("density", {"dpi": (300, 300)}, kept=("dpi",))
    if suffix == "png":
        yield Metadata("text", {"pnginfo": text()}, "text left out: Title")
    if suffix == "jpg":
        yield Metadata("comment", {"comment": b"waves"}, "comment left out")


NONE = Metadata("plain")


def cases() -> Iterator[Case]:
    """All cases."""
    by_name = {source.name: source for source in SOURCES}
    for source in SOURCES:
        for size in SIZES:
            yield Case(source, size, NONE)
    for name in ("PNG RGB", "PNG RGBA", "JPEG RGB", "WebP lossless RGB", "TIFF RGB", "AVIF RGB"):
        for metadata in metadata_of(by_name[name].suffix):
            yield Case(by_name[name], SMALL, metadata)
    tagged = Metadata("Exif 6", {"exif": exif(6)}, "", 6, ("exif",))
    for name in ("PNG grey", "PNG RGB", "PNG RGBA", "JPEG RGB", "WebP lossless RGBA", "JPEG CMYK"):
        source = by_name[name]
        for options in (("--strip",), ("--keep", "2"), ("-q", "30"), ("--target-size", "3k"), ("--preserve",)):
            yield Case(source, SMALL, tagged, options)
        for to in ("jpg", "webp", "avif", "tiff", "ppm"):
            yield Case(source, SMALL, tagged, to=to)
        yield Case(source, SMALL, tagged, decode=("--region", "3,5,11,7"))
        yield Case(source, SMALL, tagged, ("--strict",))
