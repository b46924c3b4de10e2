"""The codec's functions: image to file and back, previews, truncation, tokens.

image -> Picture -> index planes -> Tokens -> segments -> bytes. Torch is loaded by the steps that need a network.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
from PIL import Image

from . import container
from .config.effort import EFFORT
from .container.bytes_like import as_bytes
from .container.damage import INCOMPLETE, damage
from .container.truncate import cut_to_bytes, cut_to_layers
from .decoder import render
from .encoder.size_options import SizeOptions, budget_for_bpp, check_size_options
from .errors import LimitError, LossWarning, UsageError
from .geometry.rectangles import Rect
from .image.files import as_picture
from .image.grey import with_grey_found
from .image.hidden_colour import with_hidden_filled
from .image.limits import MAX_PIXELS
from .image.picture import Picture, to_pillow
from .image.picture import strip as strip_picture
from .models import loading, registry
from .models.file_info import Info, read_info
from .models.ladder import default_step
from .runtime.memory import BYTES_PER_PIXEL, STEPPED_BYTES_PER_PIXEL, check_memory
from .runtime.progress import Part, expect, working
from .runtime.torch_state import check_device, codec_modes, in_codec_modes
from .tokens.reading import read_tokens
from .tokens.single_group import only_group as keep_only_group
from .tokens.tokens import Tokens, as_arrays, check_tokens, write_tokens

if TYPE_CHECKING:
    from .encoder.bounded_files import Encoded

BytesLike = bytes | bytearray | memoryview | mmap | np.ndarray
"""A .vqc file in memory: any object with a buffer of bytes."""
ImageLike = Picture | Image.Image | np.ndarray | str | Path
"""An image: a Picture, a Pillow image, an array uint8 [H, W], [H, W, 3] or [H, W, 4], or the path of a file."""


def encode(
    image: ImageLike,
    model: str | None = None,
    *,
    quality: int | None = None,
    keep: int | None = None,
    max_bytes: int | None = None,
    bpp: float | None = None,
    min_quality: tuple[str, float] | None = None,
    effort: int = EFFORT,
    strip: bool = False,
    device: str = "cpu",
) -> bytes:
    """Compress an image to one .vqc file.

    At most one size option is given: `quality`, `keep`, `max_bytes`, `bpp` or `min_quality`. Without any, it is
    quality 50, or the last step of a ladder that begins above 50 or ends below.

    Args:
        image: Picture, Pillow image, array uint8 [H, W], [H, W, 3] or [H, W, 4], or path of an image file.
        model: name or folder; default `photo`.
        quality: 1..100, a step of the model's ladder.
        keep: the first 1..N layers.
        max_bytes: budget for the whole file.
        bpp: budget for the whole file in bits per pixel.
        min_quality: ("psnr", dB) or ("ms-ssim", 0..1); the smallest file found that reaches it.
        effort: 1..9, default 6. Low efforts select indices by rate-distortion cost under the context model, in one
            pass. Latent refinement comes before it from effort 6 on; models of codebooks also leave out layers of
            blocks from 7 on. Models trained without a rate term ignore it.
        strip: leave out ICC (after conversion to sRGB), Exif and XMP.
        device: torch device of the networks.

    Colour where alpha is 0 is replaced by a smooth continuation of the visible colour.
    Emits LossWarning for each conversion and loss.
    Raises UsageError, InputError, ModelError, LimitError, and TargetError if the size or quality is out of reach.
    """
    size: SizeOptions = {
        "quality": quality,
        "keep": keep,
        "max_bytes": max_bytes,
        "bpp": bpp,
        "min_quality": min_quality,
    }
    return encode_measured(image, model, effort=effort, strip=strip, device=device, **size).data


@in_codec_modes
def encode_measured(
    image: ImageLike,
    model: str | None = None,
    *,
    effort: int = EFFORT,
    strip: bool = False,
    device: str = "cpu",
    **size: Unpack[SizeOptions],
) -> Encoded:
    """`encode`, with the quality that the search for the file has measured on the way, if it has."""
    from .encoder.by_size_option import encode_picture  # decoders load no encoder

    name = registry.name_or_default(model)
    check_size_options(name, registry.find(name).config, **size)
    _check_effort(effort)
    return encode_picture(_to_picture(image, strip, stacklevel=5), name, device, effort, **size)


def decode(
    data: BytesLike,
    *,
    keep: int | None = None,
    only_group: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    allow_partial: bool = False,
    device: str = "cpu",
    max_pixels: int | None = MAX_PIXELS,
) -> Image.Image:
    """Decode a .vqc file to a Pillow image of mode RGB, RGBA, L or LA, with its ICC, Exif and XMP in `info`.

    Args:
        data: bytes of a .vqc file, or any bytes-like object that holds them.
        keep: decode the first layers only, 1..N.
        only_group: decode one group of codewords alone, 1..G (FQGAN, figure 3).
        region: (x, y, width, height) in pixels; decode that part only.
        allow_partial: decode a cut or damaged file as far as it goes; `info["incomplete"]` is then True.
        device: torch device of the networks.
        max_pixels: refuse larger pictures; None for no limit.

    Raises InputError, FormatError, ModelError, LimitError, UsageError.
    """
    picture = decode_picture(
        data,
        keep=keep,
        only_group=only_group,
        region=region,
        allow_partial=allow_partial,
        device=device,
        max_pixels=max_pixels,
    )
    image = to_pillow(picture)
    if any(text.startswith(INCOMPLETE) for text in picture.warnings):
        image.info["incomplete"] = True
    return image


@in_codec_modes
def decode_picture(
    data: BytesLike,
    *,
    keep: int | None = None,
    only_group: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    allow_partial: bool = False,
    device: str = "cpu",
    max_pixels: int | None = MAX_PIXELS,
) -> Picture:
    """`decode` to a Picture: pixels, alpha, metadata and warnings."""
    with working(Part.START_UP):
        from .inference.networks import pixels_needed, prepare_decoder

    data = as_bytes(data)
    with working(Part.CONTAINER):
        file = container.read(data, allow_partial, max_pixels)
    header = file.header
    area = _check_region(region, header.width, header.height)
    check_memory("", _least_bytes(header, area.area))
    expect(Part.DECODER, area.area)
    model = loading.load(registry.find_by_id(header.token_id, header.entropy_id), device)
    size = (header.width, header.height)
    prepare_decoder(model, area, size)
    tokens = read_tokens(file, model, keep, pixels_needed(model, area, size))
    if only_group is not None:
        tokens = keep_only_group(tokens, model.config, only_group)
    picture = render(tokens, model, area)
    return picture if file.complete else replace(picture, warnings=(*picture.warnings, damage(file, len(data))))


def _least_bytes(header: container.Header, pixels: int) -> int:
    """Least memory that decoding so many pixels of a file takes, bytes."""
    return pixels * (BYTES_PER_PIXEL if header.step is None else STEPPED_BYTES_PER_PIXEL)


def inspect(data: BytesLike, max_pixels: int | None = MAX_PIXELS) -> Info:
    """Facts of a .vqc file from its header alone; needs neither torch nor the model. Raises FormatError, LimitError."""
    return read_info(as_bytes(data), max_pixels)


@in_codec_modes
def verify(data: BytesLike, max_pixels: int | None = MAX_PIXELS) -> Info:
    """Check every checksum and decode every index of a .vqc file.

    Raises FormatError at the first fault, and ModelError if the model is not installed.
    """
    data = as_bytes(data)
    with working(Part.CONTAINER):
        file = container.read(data, max_pixels=max_pixels)
    entry = registry.find_by_id(file.header.token_id, file.header.entropy_id)
    read_tokens(file, loading.load(entry))
    return read_info(data, max_pixels)


@dataclass(frozen=True)
class Preview:
    """One step of progressive decoding."""

    keep: int
    """Layers decoded, 1..N."""
    n_bytes: int
    """Length of the prefix of the file that holds them."""
    image: Image.Image
    complete: bool = True
    """True if the file is complete; else the image holds what is left of the layers."""


def previews(
    data: BytesLike, steps: int | None = None, *, device: str = "cpu", max_pixels: int | None = MAX_PIXELS
) -> Iterator[Preview]:
    """Images of the first 1, 2, ... N layers, in at most `steps` steps; cut files as far as they go.

    Raises as `decode`, at the first step.
    """
    check_device(device)
    data = as_bytes(data)
    with working(Part.CONTAINER):
        file = container.read(data, allow_partial=True, max_pixels=max_pixels)
    keeps = preview_steps(file.header.n_layers, steps)
    check_memory("", _least_bytes(file.header, file.header.width * file.header.height))
    expect(Part.DECODER, len(keeps) * file.header.width * file.header.height)
    with codec_modes(device):
        model = loading.load(registry.find_by_id(file.header.token_id, file.header.entropy_id), device)
        tokens, info = read_tokens(file, model), read_info(data, max_pixels)
    whole = Rect(0, tokens.height, 0, tokens.width)
    for keep in keeps:
        with codec_modes(device):  # not around `yield`: the caller's code between two steps keeps its own modes
            picture = render(tokens.kept(keep), model, whole)
        yield Preview(keep, min(info.layers[keep - 1].end, len(data)), to_pillow(picture), file.complete)


def preview_steps(n_layers: int, steps: int | None) -> list[int]:
    """`steps` values of keep out of 1..n_layers, evenly spaced, with the last one; all without `steps`.

    Raises UsageError below 1.
    """
    if steps is not None and steps < 1:
        raise UsageError(f"steps {steps}: at least 1")
    if steps is None or steps >= n_layers:
        return list(range(1, n_layers + 1))
    if steps == 1:
        return [n_layers]
    return sorted({round(1 + i * (n_layers - 1) / (steps - 1)) for i in range(steps)})


def truncate(
    data: BytesLike, *, keep: int | None = None, max_bytes: int | None = None, bpp: float | None = None
) -> bytes:
    """Shorten a .vqc file without decoding it, to its first `keep` layers or to a budget. Needs no model.

    Exactly one limit is given. Raises UsageError, FormatError, and TargetError if not even the first layer fits.
    """
    if sum(limit is not None for limit in (keep, max_bytes, bpp)) != 1:
        raise UsageError("give exactly one of keep, max_bytes and bpp")
    data = as_bytes(data)
    file = container.read(data, max_pixels=None)
    if keep is not None:
        return data if keep == file.header.n_layers else cut_to_layers(file, keep)
    if bpp is not None:
        max_bytes = budget_for_bpp(bpp, file.header.width, file.header.height)
    assert max_bytes is not None
    return data if len(data) <= max_bytes else cut_to_bytes(file, max_bytes)


@in_codec_modes
def tokenize(
    image: ImageLike, model: str | None = None, *, rate: float | None = None, effort: int = EFFORT, device: str = "cpu"
) -> Tokens:
    """The index planes of an image, with its size, alpha and metadata.

    Args:
        image: as for `encode`.
        model: name or folder; default `photo`.
        rate: Lagrangian multiplier, at least 0: the weight of bits against distortion in the selection of indices. 0
            selects the nearest codewords; default that of files without a size option. Models trained without a rate
            term ignore it.
        effort: 1..9, as for `encode`. An index may be MISSING, -1, where a block leaves out layers.
        device: torch device of the networks.

    Raises UsageError, InputError, ModelError, LimitError.
    """
    _check_effort(effort)
    from .encoder.build import encoder_for  # loads torch

    encoder = encoder_for(_to_picture(image), registry.name_or_default(model), device, effort)
    return encoder.tokens(default_step(encoder.model.config).lmbda if rate is None else rate)


@in_codec_modes
def detokenize(tokens: Tokens, *, keep: int | None = None, device: str = "cpu") -> Image.Image:
    """The image of `tokens`, of the first `keep` layers if given. Raises UsageError, ModelError, LimitError."""
    tokens = as_arrays(tokens)
    model = loading.load_model(tokens.model, device)
    check_tokens(tokens, model)
    tokens = tokens if keep is None else tokens.kept(keep)
    return to_pillow(render(tokens, model, Rect(0, tokens.height, 0, tokens.width)))


@in_codec_modes
def encode_tokens(tokens: Tokens, *, keep: int | None = None, max_bytes: int | None = None) -> bytes:
    """A .vqc file of `tokens`: of the first `keep` layers if given, cut to `max_bytes` if given.

    Raises UsageError, ModelError, and TargetError if not even the first layer fits.
    """
    from .encoder.bounded_files import cut_to_budget  # decoders load no encoder

    tokens = as_arrays(tokens)
    tokens = tokens if keep is None else tokens.kept(keep)
    model = loading.load_model(tokens.model)
    data = write_tokens(tokens, model)
    return data if max_bytes is None else cut_to_budget(data, max_bytes, lambda: write_tokens(tokens.kept(1), model))


@in_codec_modes
def decode_tokens(data: BytesLike, *, keep: int | None = None, max_pixels: int | None = MAX_PIXELS) -> Tokens:
    """The index planes in a .vqc file, of the first `keep` layers if given; runs no network.

    Raises FormatError, ModelError, LimitError, UsageError.
    """
    data = as_bytes(data)
    file = container.read(data, max_pixels=max_pixels)
    entry = registry.find_by_id(file.header.token_id, file.header.entropy_id)
    return replace(read_tokens(file, loading.load(entry), keep), model=registry.name_of(entry))


def _to_picture(image: ImageLike, strip: bool = False, stacklevel: int = 4) -> Picture:
    """The Picture to encode; a LossWarning for each loss, except those that a given Picture has already reported."""
    picture = as_picture(image)
    reported = picture.warnings if isinstance(image, Picture) else ()
    picture = strip_picture(picture) if strip else picture
    for text in picture.warnings[len(reported) :]:
        warnings.warn(text, LossWarning, stacklevel=stacklevel)
    if max(picture.width, picture.height) > container.MAX_SIDE:
        raise LimitError(f"{picture.width}x{picture.height} pixels: a side can have at most {container.MAX_SIDE}")
    return with_grey_found(with_hidden_filled(picture))


def _check_effort(effort: int) -> None:
    if not 1 <= effort <= 9:
        raise UsageError(f"effort {effort}: give 1..9")


def _check_region(region: tuple[int, int, int, int] | None, width: int, height: int) -> Rect:
    """`region` as a rectangle, default the whole picture. Raises UsageError where it is not within the picture."""
    if region is None:
        return Rect(0, height, 0, width)
    x, y, w, h = region
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise UsageError(f"region {x},{y},{w},{h}: not within the picture of {width}x{height} pixels")
    return Rect(y, y + h, x, x + w)
