"""Picture in, bytes out, and back: the whole codec on one screen.

image -> Picture -> index planes -> Tokens -> segments -> bytes; torch is loaded by the steps that need a network.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from mmap import mmap
from pathlib import Path

import numpy as np
from PIL import Image

from . import container
from .container.bytes_like import as_bytes
from .container.damage import INCOMPLETE, damage
from .container.truncate import cut_to_bytes, cut_to_layers
from .decoder import render
from .encoder.budgets import cut_to_budget
from .encoder.encode import encode_picture
from .encoder.size_options import SizeOptions, budget_for_bpp, check_size_options
from .errors import LimitError, LossWarning, UsageError
from .geometry.rectangles import Rect
from .image.files import as_picture
from .image.hidden_colour import with_hidden_filled
from .image.limits import MAX_PIXELS
from .image.picture import Picture, to_pillow
from .image.picture import strip as strip_picture
from .models import loading, registry
from .models.file_info import Info, read_info
from .models.ladder import EFFORT
from .runtime.torch_state import check_device, codec_modes, in_codec_modes
from .tokens import single_group
from .tokens.tokens import Tokens, as_arrays, check_tokens, read_tokens, write_tokens

BytesLike = bytes | bytearray | memoryview | mmap | np.ndarray
"""A .vqc file in memory: anything with a buffer of bytes."""
ImageLike = Picture | Image.Image | np.ndarray | str | Path


@in_codec_modes
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
    """Compress `image` to one .vqc file.

    At most one of these says how large it may be; without any, it is the last step of the model's ladder:
    `quality` 1..100 (a step of the ladder), `keep` (its first 1..N layers), `max_bytes` (whole file), `bpp`
    (whole file, bits per pixel) or `min_quality` (("psnr", dB) or ("ms-ssim", 0..1): the smallest file found that
    reaches it).
    `effort` 1..9 says how hard to look for indices that cost few bits: 1 to 5 choose them under the entropy model, in
    the pass that codes them, 6 (the default) and more decode them several times before, and correct what the decoder
    gets wrong; from 7 on layers are left out where they are not worth their bits.
    `strip` leaves ICC (after conversion to sRGB), Exif and XMP out.
    Colour where alpha is 0 does not count: it is replaced by a continuation of what can be seen.
    Emits LossWarning for each thing that is converted or left out.

    `model` is a name or folder. Without one it is chosen from `registry.FAMILY`, as far as at hand:
    - `quality`: one scale for all, of which each model's ladder covers a part.
    - `max_bytes`, `bpp`: the first whose complete file, alpha and metadata aside, uses `family.FILLED` of the budget
      or more; or else, of those that can be cut so small, the one whose picture has the higher PSNR.
    - `min_quality`: the first whose complete file reaches it.
    - `keep`, or none of these: the first.

    Raises UsageError, InputError, ModelError, LimitError, and TargetError if the size or quality is out of reach.
    """
    candidates = registry.candidates(model)
    size: SizeOptions = {
        "quality": quality,
        "keep": keep,
        "max_bytes": max_bytes,
        "bpp": bpp,
        "min_quality": min_quality,
    }
    check_size_options(candidates, **size)
    _check_effort(effort)
    return encode_picture(_picture(image, strip), candidates, device, effort, **size)


def decode(
    data: BytesLike,
    *,
    keep: int | None = None,
    only_group: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    allow_partial: bool = False,
    decoder: str | None = None,
    device: str = "cpu",
    max_pixels: int | None = MAX_PIXELS,
) -> Image.Image:
    """Decode a .vqc file to a Pillow image of mode RGB, RGBA, L or LA, with its ICC, Exif and XMP in `info`.

    `keep` shows the first layers only, `only_group` one sub-codebook alone, 1..G (FQGAN, figure 3), `region` = (x, y,
    width, height) only that part, in pixels; `allow_partial` takes a file that was cut off or damaged as far as it
    goes, and then sets `info["incomplete"]`; `decoder` names one of the model's decoders.
    Raises InputError, FormatError, ModelError, LimitError, UsageError.
    """
    picture = decode_picture(data, keep, region, allow_partial, decoder, device, max_pixels, only_group)
    image = to_pillow(picture)
    if any(text.startswith(INCOMPLETE) for text in picture.warnings):
        image.info["incomplete"] = True
    return image


@in_codec_modes
def decode_picture(
    data: BytesLike,
    keep: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    allow_partial: bool = False,
    decoder: str | None = None,
    device: str = "cpu",
    max_pixels: int | None = MAX_PIXELS,
    only_group: int | None = None,
) -> Picture:
    """`decode` without the last step: the pixels and what belongs to them."""
    from .inference.networks import pixels_needed

    data = as_bytes(data)
    file = container.read(data, allow_partial, max_pixels)
    header = file.header
    rect = _check_region(region, header.width, header.height)
    model = loading.load(registry.find_by_id(header.token_id, header.entropy_id), device)
    if decoder not in (None, "default"):
        raise UsageError(f"decoder '{decoder}': model '{model.config.name}' has only 'default'")
    area = pixels_needed(model, rect, (header.width, header.height))
    tokens = read_tokens(file, model, keep, area)
    if only_group is not None:
        tokens = single_group.only_group(tokens, model.config, only_group)
    picture = render(tokens, model, rect)
    return picture if file.complete else replace(picture, warnings=(*picture.warnings, damage(file, len(data))))


def inspect(data: BytesLike, max_pixels: int | None = MAX_PIXELS) -> Info:
    """What a .vqc file holds, from its head alone; needs neither torch nor the model."""
    return read_info(as_bytes(data), max_pixels)


@in_codec_modes
def verify(data: BytesLike, max_pixels: int | None = MAX_PIXELS) -> Info:
    """Check every checksum and decode every index.

    Raises FormatError at the first fault, and ModelError if the model is not at hand.
    """
    data = as_bytes(data)
    file = container.read(data, max_pixels=max_pixels)
    entry = registry.find_by_id(file.header.token_id, file.header.entropy_id)
    read_tokens(file, loading.load(entry))
    return read_info(data, max_pixels)


@dataclass(frozen=True)
class Preview:
    """One step from coarse to fine."""

    keep: int
    n_bytes: int
    """Length of the prefix of the file that shows it."""
    image: Image.Image
    complete: bool = True
    """Whether the file is undamaged; if not, this is what is left of the step."""


def previews(
    data: BytesLike, steps: int | None = None, *, device: str = "cpu", max_pixels: int | None = MAX_PIXELS
) -> Iterator[Preview]:
    """The picture from the first layer to the last, in at most `steps` steps; a cut file as far as it goes."""
    check_device(device)
    data = as_bytes(data)
    file = container.read(data, allow_partial=True, max_pixels=max_pixels)
    with codec_modes(device):
        model = loading.load(registry.find_by_id(file.header.token_id, file.header.entropy_id), device)
        tokens, info = read_tokens(file, model), read_info(data, max_pixels)
    rect = Rect(0, tokens.height, 0, tokens.width)
    for keep in preview_steps(tokens.n_layers, steps):
        with codec_modes(device):  # not around `yield`: what the caller does between two steps is not the codec's
            picture = render(tokens.kept(keep), model, rect)
        yield Preview(keep, min(info.layers[keep - 1].end, len(data)), to_pillow(picture), file.complete)


def preview_steps(n_layers: int, steps: int | None) -> list[int]:
    """`steps` values of keep out of 1..n_layers, the first and the last among them. Raises UsageError below 1."""
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
    """Make a .vqc file smaller without decoding it; its model need not be at hand. Exactly one limit is given.

    Raises UsageError, FormatError, and TargetError if not even the first layer fits.
    """
    if sum(v is not None for v in (keep, max_bytes, bpp)) != 1:
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
    """The index planes of `image`, and what else a file would keep. Raises InputError, ModelError, LimitError.

    Without a `model` it is the first of `registry.FAMILY` that is at hand. `rate` says how much bits count when
    codewords are chosen: 0 takes the nearest; without it, it is that of the last step of the model's ladder. `effort`
    1..9 is that of `encode`: from 7 on an index may be MISSING, -1, where it is not worth its bits.
    """
    _check_effort(effort)
    from .encoder.build import encoder_for  # loads torch

    encoder = encoder_for(_picture(image), next(iter(registry.candidates(model))), device, effort)
    return encoder.tokens(encoder.ladder[-1].rate if rate is None else rate)


def _check_effort(effort: int) -> None:
    if not 1 <= effort <= 9:
        raise UsageError(f"effort {effort}: give 1..9")


def _picture(image: ImageLike, strip: bool = False) -> Picture:
    """The Picture to code of `image`; each loss gives a LossWarning, unless the Picture has given it before."""
    picture = as_picture(image)
    told = picture.warnings if isinstance(image, Picture) else ()
    picture = strip_picture(picture) if strip else picture
    for text in picture.warnings[len(told) :]:
        warnings.warn(text, LossWarning, stacklevel=4)
    if max(picture.width, picture.height) > container.MAX_SIDE:
        raise LimitError(f"{picture.width}x{picture.height} pixels: a side can have at most {container.MAX_SIDE}")
    return with_hidden_filled(picture)


@in_codec_modes
def detokenize(tokens: Tokens, *, keep: int | None = None, device: str = "cpu") -> Image.Image:
    """The picture of `tokens`, of its first `keep` layers if given."""
    tokens = as_arrays(tokens)
    model = loading.load_model(tokens.model, device)
    check_tokens(tokens, model)
    tokens = tokens if keep is None else tokens.kept(keep)
    return to_pillow(render(tokens, model, Rect(0, tokens.height, 0, tokens.width)))


@in_codec_modes
def encode_tokens(tokens: Tokens, *, keep: int | None = None, max_bytes: int | None = None) -> bytes:
    """A .vqc file of `tokens`: its first `keep` layers, or what fits into `max_bytes`; without either, all."""
    tokens = as_arrays(tokens)
    if keep is not None:
        tokens = tokens.kept(keep)
    model = loading.load_model(tokens.model)
    data = write_tokens(tokens, model)
    return data if max_bytes is None else cut_to_budget(data, max_bytes, lambda: write_tokens(tokens.kept(1), model))


@in_codec_modes
def decode_tokens(data: BytesLike, *, keep: int | None = None, max_pixels: int | None = MAX_PIXELS) -> Tokens:
    """The index planes in a .vqc file; needs no network."""
    data = as_bytes(data)
    file = container.read(data, max_pixels=max_pixels)
    entry = registry.find_by_id(file.header.token_id, file.header.entropy_id)
    return replace(read_tokens(file, loading.load(entry), keep), model=registry.name_of(entry))


def _check_region(region: tuple[int, int, int, int] | None, width: int, height: int) -> Rect:
    if region is None:
        return Rect(0, height, 0, width)
    x, y, w, h = region
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise UsageError(f"region {x},{y},{w},{h}: not within the picture of {width}x{height} pixels")
    return Rect(y, y + h, x, x + w)
