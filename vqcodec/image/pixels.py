"""Conversion of any Pillow mode to 8-bit grey or RGB with optional alpha, and of pixels to sRGB by an ICC profile.

Works in blocks, so that no conversion, even one through 64-bit floats, needs more memory than the result.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from .colour import Stated
from .sources import is_deep, is_white_at_zero, key_16_bit

Bytes = NDArray[np.uint8]
BLOCK = 2**20
"""Most pixels of a block."""

CONVERSIONS = {
    "1": ("L", ""),
    "La": ("LA", "premultiplied alpha divided out"),
    "RGBX": ("RGB", ""),
    "RGBa": ("RGBA", "premultiplied alpha divided out"),
    "PA": ("RGBA", ""),
    "CMYK": ("RGB", "CMYK without a usable profile converted to RGB: colours are approximate"),
    "YCbCr": ("RGB", "YCbCr converted to RGB"),
    "HSV": ("RGB", "HSV converted to RGB"),
    "LAB": ("RGB", "Lab converted to sRGB: colours outside sRGB are clipped"),
}
"""Pillow mode -> mode that it is converted to, and the warning for the user, empty if nothing is lost."""
OWN_COLOUR = ("CMYK", "LAB", "YCbCr", "HSV")
"""Modes that are converted to sRGB, so that colour stated for their samples does not apply to the result."""
NUMERIC = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Modes of grey samples with more than 8 bits."""
DEEP = ";deep"
ICC_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")
"""Classes of ICC profiles that describe a device or a colour space."""


def blocks(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of windows of at most BLOCK pixels that cover the picture once."""
    step_x = min(width, BLOCK)
    step_y = max(1, BLOCK // step_x)
    for y in range(0, height, step_y):
        for x in range(0, width, step_x):
            yield slice(y, min(height, y + step_y)), slice(x, min(width, x + step_x))


def raw_mode(image: Image.Image) -> str:
    """Pillow's name of the sample layout in the file ("RGB;16B", "L;2", ...), "" if unknown or after `image.load()`.

    It ends with DEEP where the decoder gives 8 bits of deeper samples without naming a layout.
    """
    tile = getattr(image, "tile", None)
    if is_deep(image):
        return DEEP
    if not tile:
        return ""
    codec, args = tile[0][0], tile[0][3]
    raw = args if isinstance(args, str) else args[0] if args and isinstance(args[0], str) else ""
    if codec.startswith("ppm") and isinstance(args, tuple) and isinstance(args[-1], int) and args[-1] > 255:
        return f"{raw};16"
    return raw


def render(
    image: Image.Image, raw: str, icc: bytes | None, orientation: int, stated: Stated, low: Image.Image | None
) -> tuple[Bytes, Bytes | None, bool, bytes | None, list[str]]:
    """Upright 8-bit pixels of an image.

    Args:
        image: loaded; not changed.
        raw: its `raw_mode` before loading.
        icc: its ICC profile.
        orientation: Exif orientation of the stored pixels, 1..8.
        stated: treatment of colour stated without an ICC profile.
        low: lower bytes of 16-bit samples, for a transparent colour among these and for tone curves; None if unknown.

    Returns: pixels [H, W, 3]; alpha [H, W] or None; True if grey; the profile of these pixels or None; warnings.
    """
    notes: list[str] = []
    if image.mode == "LAB":
        icc = None  # a valid one states the standard Lab space, which the conversion assumes
    if icc is not None and not is_profile(icc):
        icc = None
        notes.append("damaged ICC profile dropped")
    table = None
    if icc is None and image.mode not in OWN_COLOUR:
        icc, table = stated.icc, stated.table
        notes += stated.notes
    key = key_16_bit(image, raw)
    if key is not None and low is None:
        key = None
        notes.append("transparent colour of 16-bit samples dropped: with 8 bits it equals other colours")
    read, has_alpha, grey, icc = _reader(image, raw, icc, table, notes)
    if image.mode.startswith("I;16"):
        table = None  # applied by `read`
    has_alpha = has_alpha or key is not None
    if raw == DEEP:
        notes.append("samples of more than 8 bits cut to 8 bits")
    elif ";16" in raw and not image.mode.startswith(("I", "F")):
        notes.append("16-bit samples cut to 8 bits")
    if icc is not None and icc[16:20] != (b"GRAY" if grey else b"RGB "):
        space = icc[16:20].decode("latin-1").strip()
        notes.append(f"ICC profile dropped: it describes {space} and the pixels are {'grey' if grey else 'RGB'}")
        icc = None

    size = (image.width, image.height) if orientation >= 5 else (image.height, image.width)
    pixels = np.empty((*size, 3), np.uint8)
    alpha = np.empty(size, np.uint8) if has_alpha else None
    # Writing through a view in the stored order rotates the picture without a second copy.
    stored = as_stored(pixels, orientation)
    stored_alpha = None if alpha is None else as_stored(alpha, orientation)
    for rows, columns in blocks(image.height, image.width):
        box = (columns.start, rows.start, columns.stop, rows.stop)
        values = read(image.crop(box))
        colour = values[..., :1] if grey else values[..., :3]
        stored[rows, columns] = colour if table is None else _curved(colour, table, low, box)
        if key is not None and low is not None and stored_alpha is not None:
            clear = (values == key >> 8) & (np.asarray(low.crop(box)) == key & 255)
            stored_alpha[rows, columns] = np.where(clear.all(axis=-1), 0, 255)
        elif stored_alpha is not None:
            stored_alpha[rows, columns] = values[..., -1]
    return pixels, alpha, grey, icc, notes


def _curved(colour: Bytes, table: Bytes, low: Image.Image | None, box: tuple[int, int, int, int]) -> Bytes:
    """Samples [h, w, *] of `box` (left, top, right, bottom) through a table of 16-bit samples."""
    if low is None:
        return table[colour.astype(np.uint16) * 257]
    return table[colour.astype(np.uint16) * 256 + np.asarray(low.crop(box))[..., : colour.shape[-1]]]


def as_stored(upright: Bytes, orientation: int) -> Bytes:
    """View of an upright [H, W, ...] array in the stored order of a file with this Exif orientation (1..8)."""
    match orientation:
        case 2:
            return upright[:, ::-1]
        case 3:
            return upright[::-1, ::-1]
        case 4:
            return upright[::-1]
        case 5:
            return upright.swapaxes(0, 1)
        case 6:
            return upright.swapaxes(0, 1)[::-1]
        case 7:
            return upright.swapaxes(0, 1)[::-1, ::-1]
        case 8:
            return upright.swapaxes(0, 1)[:, ::-1]
        case _:
            return upright


def is_profile(icc: bytes) -> bool:
    """True if the bytes are a profile of a device or colour space that LittleCMS can open."""
    if len(icc) < 132 or icc[36:40] != b"acsp" or icc[12:16] not in ICC_CLASSES:
        return False
    try:
        ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except (OSError, ImageCms.PyCMSError):
        return False
    return True


def to_srgb(icc: bytes, mode: str) -> Callable[[Image.Image], Image.Image]:
    """Function from an image of `mode` in the profile's space to sRGB. Raises PyCMSError if they do not fit."""
    source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
    relative, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    transform = ImageCms.buildTransform(source, ImageCms.ImageCmsProfile(target), mode, "RGB", relative, flags)
    return transform.apply


def pixels_in_srgb(pixels: Bytes, icc: bytes, grey: bool) -> Bytes:
    """Pixels [H, W, 3] converted to sRGB; the array itself if the profile equals sRGB within one level of 255.

    Raises PyCMSError as `to_srgb`.
    """
    convert = to_srgb(icc, "L" if grey else "RGB")
    if grey:
        ramp = np.arange(256, dtype=np.uint8)[None]
        table = np.rint(np.asarray(convert(Image.fromarray(ramp)))[0].mean(axis=-1)).astype(np.uint8)
        probe, result = ramp[0], table
    else:
        steps = np.linspace(0, 255, 9).astype(np.uint8)
        probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        result = np.asarray(convert(Image.fromarray(probe)))
    if np.abs(result.astype(np.int16) - probe).max() <= 1:
        return pixels
    out = np.empty_like(pixels)
    for rows, columns in blocks(*pixels.shape[:2]):
        block = pixels[rows, columns]
        out[rows, columns] = table[block] if grey else np.asarray(convert(Image.fromarray(np.ascontiguousarray(block))))
    return out


def _reader(
    image: Image.Image, raw: str, icc: bytes | None, table: Bytes | None, notes: list[str]
) -> tuple[Callable[[Image.Image], Bytes], bool, bool, bytes | None]:
    """Function from a block of the image to uint8 [h, w, 1..4]; True if that has alpha; True if grey; its profile.

    Appends warnings to `notes`. Only samples of 16-bit grey modes go through `table`, the tone curve.
    """
    mode = image.mode
    key = _transparent(image, raw)
    scale: Callable[[NDArray[Any]], Bytes] = _same
    target, note = CONVERSIONS.get(mode, (mode, ""))
    convert: Callable[[Image.Image], Image.Image] | None = None
    if mode == "P":
        # The transparency of a palette is an index or a list of alphas; Pillow raises for other types.
        known = isinstance(image.info.get("transparency"), int | bytes)
        opaque = image.palette is None or not image.palette.mode.endswith("A")
        target = "RGBA" if known or ("transparency" not in image.info and not opaque) else "RGB"
    elif mode == "RGBA" and raw.startswith("LA"):
        target = "LA"  # 16-bit grey with alpha in PNG, which Pillow expands to RGBA
    elif mode in NUMERIC:
        scale, note, keeps_icc = _scaler(image, raw)
        if table is not None and mode.startswith("I;16"):
            scale = table.__getitem__  # on all 16 bits: 8 would leave few levels of dark samples
        if is_white_at_zero(image):
            scale = _inverted(scale)
        if icc is not None and not keeps_icc:
            icc, note = None, f"{note}; ICC profile dropped"
    elif mode == "CMYK" and icc is not None:
        with suppress(OSError, ValueError, ImageCms.PyCMSError):
            convert = to_srgb(icc, "CMYK")
            note = "CMYK converted to sRGB through its ICC profile"
        icc = None  # the result is sRGB, or an approximation of it
    elif mode not in CONVERSIONS and mode not in NUMERIC and mode not in ("L", "LA", "P", "RGB", "RGBA"):
        target, note = "RGB", f"mode {mode} converted to RGB"
    if note:
        notes.append(note)
    grey = target in ("L", "LA") or mode in NUMERIC
    if convert is None and target != mode:

        def convert(block: Image.Image) -> Image.Image:
            return block.convert(target)

    def read(block: Image.Image) -> Bytes:
        if mode != "P":
            block.info.pop("transparency", None)
        values = np.asarray(block if convert is None else convert(block))
        values = values.reshape(block.height, block.width, -1)
        scaled = scale(values)
        if key is None:
            return scaled
        alpha = np.where((values == key).all(axis=-1, keepdims=True), 0, 255).astype(np.uint8)
        return np.concatenate([scaled, alpha], axis=-1)

    return read, key is not None or target in ("LA", "RGBA"), grey, icc


def _transparent(image: Image.Image, raw: str) -> NDArray[np.int64] | None:
    """Transparent colour of `info["transparency"]` in the scale of the loaded samples, [1] or [3]; None without one."""
    value = image.info.get("transparency")
    if image.mode in ("1", "L", "I;16", "I;16B", "I;16L") and isinstance(value, int):
        return np.array([value * {"L;2": 85, "L;4": 17}.get(raw, 1)])
    if image.mode == "RGB" and isinstance(value, tuple) and len(value) == 3 and key_16_bit(image, raw) is None:
        return np.array(value)
    return None


def _scaler(image: Image.Image, raw: str) -> tuple[Callable[[NDArray[Any]], Bytes], str, bool]:
    """Function from samples of a numeric mode to 0..255; its warning; True if a grey profile still applies."""
    if raw == "I;12":
        return _linear(0, 4095), "12-bit grey scaled to 8 bits", True
    low, high = _range(image)
    if image.mode.startswith("I;16"):
        return _from_16_bit, "16-bit grey scaled to 8 bits", True
    if image.mode == "I" and low >= 0 and (image.format in ("PNG", "PPM") or 255 < high <= 65535) and high <= 65535:
        return _from_16_bit, "16-bit grey scaled to 8 bits", True
    kind = "32-bit integers" if image.mode == "I" else "floating-point samples"
    if image.mode == "F" and low >= 0 and high <= 1:
        return _linear(0, 1), f"{kind} 0..1 scaled to 0..255", True
    if low >= 0 and high <= 255:
        return _linear(0, 255), f"{kind} taken as 0..255", True
    return _linear(low, high), f"{kind} {low:g}..{high:g} stretched to 0..255", False


def _range(image: Image.Image) -> tuple[float, float]:
    """Smallest and largest finite sample; (0, 0) without finite samples."""
    low, high = math.inf, -math.inf
    for rows, columns in blocks(image.height, image.width):
        block = np.asarray(image.crop((columns.start, rows.start, columns.stop, rows.stop)))
        finite = block[np.isfinite(block)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _inverted(scale: Callable[[NDArray[Any]], Bytes]) -> Callable[[NDArray[Any]], Bytes]:
    """`scale` for samples of which the smallest is white."""

    def inverted(values: NDArray[Any]) -> Bytes:
        return 255 - scale(values)

    return inverted


def _same(values: NDArray[Any]) -> Bytes:
    return values.astype(np.uint8, copy=False)


def _from_16_bit(values: NDArray[Any]) -> Bytes:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _linear(low: float, high: float) -> Callable[[NDArray[Any]], Bytes]:
    """Linear map of low..high onto 0..255; NaN becomes 0, infinities become 0 and 255."""
    span = high - low if high > low else math.inf

    def scale(values: NDArray[Any]) -> Bytes:
        shifted = np.clip(values.astype(np.float64), low, high) - low
        return np.rint(np.nan_to_num(shifted * 255 / span)).astype(np.uint8)

    return scale
