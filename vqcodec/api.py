"""Picture in, bytes out, and back: the whole codec on one screen.

image -> Picture -> index planes -> Tokens -> segments -> bytes; torch is loaded by the steps that need a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from . import container, registry, single_group
from .cutting import cut_to_bytes, cut_to_layers
from .damage import INCOMPLETE, damage
from .errors import LimitError, TargetError, UsageError
from .family import EFFORT, at_quality, fills, ladder
from .image import MAX_PIXELS, Picture, as_picture, to_pillow
from .image import strip as strip_picture
from .info import Info, read_info
from .metrics import METRICS
from .rate import budget_for_bpp, check_rate
from .tiling import Rect
from .tokens import Tokens, check_tokens, read_tokens, write_tokens

ImageLike = Picture | Image.Image | np.ndarray | str | Path


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

    `model` is a name or folder. Without one it is chosen from `registry.FAMILY`, as far as at hand:
    - `quality`: one scale for all, of which each model's ladder covers a part.
    - `max_bytes`, `bpp`: the first whose complete file, alpha and metadata aside, uses `family.FILLED` of the budget
      or more; or else, of those that can be cut so small, the one whose picture has the higher PSNR.
    - `min_quality`: the first whose complete file reaches it.
    - `keep`, or none of these: the first.

    Raises UsageError, InputError, ModelError, LimitError, and TargetError if the size or quality is out of reach.
    """
    candidates = registry.candidates(model)
    check_rate(candidates, quality=quality, keep=keep, max_bytes=max_bytes, bpp=bpp, min_quality=min_quality)
    _check_effort(effort)
    picture = as_picture(image)
    if strip:
        picture = strip_picture(picture)
    _check_size(picture)
    names = list(candidates)
    if min_quality is not None:
        return _encode_reaching(names, picture, *min_quality, device, effort)
    if bpp is not None:
        max_bytes = budget_for_bpp(bpp, picture.width, picture.height)
    if max_bytes is not None:
        return _encode_within(names, picture, max_bytes, device, effort)
    from .encoder.choose import encoder_of

    name, step = (names[0], ladder(candidates[names[0]])[-1]) if quality is None else at_quality(candidates, quality)
    kept = step.keep if quality is not None else keep
    return encoder_of(picture, name, device, effort).file(step.rate, kept)


def decode(
    data: bytes,
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


def decode_picture(
    data: bytes,
    keep: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    allow_partial: bool = False,
    decoder: str | None = None,
    device: str = "cpu",
    max_pixels: int | None = MAX_PIXELS,
    only_group: int | None = None,
) -> Picture:
    """`decode` without the last step: the pixels and what belongs to them."""
    from .compute import pixels_needed

    file = container.read(data, allow_partial, max_pixels)
    header = file.header
    rect = _check_region(region, header.width, header.height)
    model = registry.load(registry.find_by_id(header.token_id, header.entropy_id), device)
    if decoder not in (None, "default"):
        raise UsageError(f"decoder '{decoder}': model '{model.config.name}' has only 'default'")
    area = pixels_needed(model, rect, (header.width, header.height))
    tokens = read_tokens(file, model, keep, area)
    if only_group is not None:
        tokens = single_group.only_group(tokens, model.config, only_group)
    picture = _render(tokens, model, rect)
    return picture if file.complete else replace(picture, warnings=(*picture.warnings, damage(file, len(data))))


def inspect(data: bytes, max_pixels: int | None = MAX_PIXELS) -> Info:
    """What a .vqc file holds, from its head alone; needs neither torch nor the model."""
    return read_info(data, max_pixels)


def verify(data: bytes, max_pixels: int | None = MAX_PIXELS) -> Info:
    """Check every checksum and decode every index.

    Raises FormatError at the first fault, and ModelError if the model is not at hand.
    """
    file = container.read(data, max_pixels=max_pixels)
    entry = registry.find_by_id(file.header.token_id, file.header.entropy_id)
    read_tokens(file, registry.load(entry))
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
    data: bytes, steps: int | None = None, *, device: str = "cpu", max_pixels: int | None = MAX_PIXELS
) -> Iterator[Preview]:
    """The picture from the first layer to the last, in at most `steps` steps; a cut file as far as it goes."""
    file = container.read(data, allow_partial=True, max_pixels=max_pixels)
    model = registry.load(registry.find_by_id(file.header.token_id, file.header.entropy_id), device)
    tokens, info = read_tokens(file, model), read_info(data, max_pixels)
    rect = Rect(0, tokens.height, 0, tokens.width)
    for keep in preview_steps(tokens.n_layers, steps):
        picture = _render(tokens.kept(keep), model, rect)
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


def truncate(data: bytes, *, keep: int | None = None, max_bytes: int | None = None, bpp: float | None = None) -> bytes:
    """Make a .vqc file smaller without decoding it; its model need not be at hand. Exactly one limit is given.

    Raises UsageError, FormatError, and TargetError if not even the first layer fits.
    """
    if sum(v is not None for v in (keep, max_bytes, bpp)) != 1:
        raise UsageError("give exactly one of keep, max_bytes and bpp")
    file = container.read(data, max_pixels=None)
    if keep is not None:
        return data if keep == file.header.n_layers else cut_to_layers(file, keep)
    if bpp is not None:
        max_bytes = budget_for_bpp(bpp, file.header.width, file.header.height)
    assert max_bytes is not None
    return data if len(data) <= max_bytes else cut_to_bytes(file, max_bytes)


def tokenize(
    image: ImageLike, model: str | None = None, *, rate: float | None = None, effort: int = EFFORT, device: str = "cpu"
) -> Tokens:
    """The index planes of `image`, and what else a file would keep. Raises InputError, ModelError, LimitError.

    Without a `model` it is the first of `registry.FAMILY` that is at hand. `rate` says how much bits count when
    codewords are chosen: 0 takes the nearest; without it, it is that of the last step of the model's ladder. `effort`
    1..9 is that of `encode`: from 7 on an index may be MISSING, -1, where it is not worth its bits.
    """
    _check_effort(effort)
    from .encoder.choose import encoder_of

    picture = as_picture(image)
    _check_size(picture)
    name = next(iter(registry.candidates(model)))
    encoding = encoder_of(picture, name, device, effort)
    return encoding.tokens(encoding.ladder[-1].rate if rate is None else rate)


def _check_effort(effort: int) -> None:
    if not 1 <= effort <= 9:
        raise UsageError(f"effort {effort}: give 1..9")


def _check_size(picture: Picture) -> None:
    if max(picture.width, picture.height) > container.MAX_SIDE:
        raise LimitError(f"{picture.width}x{picture.height} pixels: a side can have at most {container.MAX_SIDE}")


def detokenize(tokens: Tokens, *, keep: int | None = None, device: str = "cpu") -> Image.Image:
    """The picture of `tokens`, of its first `keep` layers if given."""
    model = registry.load_model(tokens.model, device)
    check_tokens(tokens, model)
    tokens = tokens if keep is None else tokens.kept(keep)
    return to_pillow(_render(tokens, model, Rect(0, tokens.height, 0, tokens.width)))


def encode_tokens(tokens: Tokens, *, keep: int | None = None, max_bytes: int | None = None) -> bytes:
    """A .vqc file of `tokens`: its first `keep` layers, or what fits into `max_bytes`; without either, all."""
    if keep is not None:
        tokens = tokens.kept(keep)
    model = registry.load_model(tokens.model)
    data = write_tokens(tokens, model)
    return data if max_bytes is None else _cut(data, max_bytes, lambda: write_tokens(tokens.kept(1), model))


def decode_tokens(data: bytes, *, keep: int | None = None, max_pixels: int | None = MAX_PIXELS) -> Tokens:
    """The index planes in a .vqc file; needs no network."""
    file = container.read(data, max_pixels=max_pixels)
    entry = registry.find_by_id(file.header.token_id, file.header.entropy_id)
    return replace(read_tokens(file, registry.load(entry), keep), model=registry.name_of(entry))


def _cut(data: bytes, max_bytes: int, first_layer: Callable[[], bytes]) -> bytes:
    """The complete file `data`, or as much of it as fits; `first_layer` makes a complete file of that alone."""
    if len(data) <= max_bytes:
        return data
    try:
        return truncate(data, max_bytes=max_bytes)
    except TargetError:
        # A stream that ends after the first layer is a little shorter than one cut there.
        smallest = first_layer()
        if len(smallest) <= max_bytes:
            return smallest
        beside = container.read_head(data, None).alpha_bytes or 0
        part = f", {beside} of them alpha" if beside else ""
        raise TargetError(
            f"{max_bytes} bytes: the first layer alone makes a file of {len(smallest)}{part}; ask for at least "
            f"{len(smallest)} bytes"
        ) from None


def _encode_within(names: list[str], picture: Picture, max_bytes: int, device: str, effort: int) -> bytes:
    """By the first of the models whose finest file fills the budget, else by the one of the better picture.

    The largest complete file within the budget, if that is close to it; or else the next larger one, cut to it.
    """
    from .encoder.choose import encoder_of
    from .encoder.rate_control import CLOSE

    rect = Rect(0, picture.height, 0, picture.width)

    def psnr(data: bytes, model: registry.Model) -> float:
        shown = _render(read_tokens(container.read(data, max_pixels=None), model), model, rect)
        return METRICS["psnr"].measure(picture.pixels, shown.pixels)

    best: bytes | None = None
    reached = -math.inf
    for name in names:
        encoding = encoder_of(picture, name, device, effort)
        under, over = encoding.within(max_bytes)
        if under is None or len(under) < CLOSE * max_bytes:
            try:
                cut = _cut(over, max_bytes, lambda e=encoding: e.file(e.ladder[0].rate, 1))  # type: ignore[misc]
            except TargetError:
                if best is None:
                    raise
                return best
            under = max(under or b"", cut, key=len)
        filled = fills(encoding.rough.step(len(encoding.ladder) - 1), max_bytes)
        if best is None and (filled or name == names[-1]):
            return under
        # What is smooth takes few bits of the first model, and the next one's file may be larger and worse.
        if (shown := psnr(under, encoding.model)) > reached:
            best, reached = under, shown
        if filled:
            break
    assert best is not None
    return best


def _encode_reaching(names: list[str], picture: Picture, metric: str, target: float, device: str, effort: int) -> bytes:
    """The smallest file found that reaches the target, of the first model that does at its last step."""
    from .encoder.choose import Encoder, encoder_of

    rect = Rect(0, picture.height, 0, picture.width)
    reached = 0.0
    for name in names:
        encoding = encoder_of(picture, name, device, effort)

        @cache
        def measured(encoding: Encoder, rate: float, keep: int) -> float:
            shown = _render(encoding.tokens(rate, keep), encoding.model, rect)
            return METRICS[metric].measure(picture.pixels, shown.pixels)

        found = encoding.reaching(measured, target)
        if found is not None:
            return found
        reached = measured(encoding, encoding.ladder[-1].rate, encoding.ladder[-1].keep)
    raise TargetError(f"{metric} {target:g}: the best file of model '{name}' reaches {reached:.4g}; ask for less")


def _render(tokens: Tokens, model: registry.Model, region: Rect) -> Picture:
    from .compute import planes_to_pixels

    pixels = planes_to_pixels(model, list(tokens.planes), region, size=(tokens.width, tokens.height), step=tokens.step)
    if tokens.grey:
        # Three estimates of one value.
        mean = (pixels.sum(-1, dtype=np.uint16) + 1) // 3
        pixels = np.repeat(mean.astype(np.uint8)[..., None], 3, -1)
    alpha = None if tokens.alpha is None else tokens.alpha[region.slices]
    return Picture(pixels, alpha, tokens.grey, tokens.icc, tokens.exif, tokens.xmp)


def _check_region(region: tuple[int, int, int, int] | None, width: int, height: int) -> Rect:
    if region is None:
        return Rect(0, height, 0, width)
    x, y, w, h = region
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise UsageError(f"region {x},{y},{w},{h}: not within the picture of {width}x{height} pixels")
    return Rect(y, y + h, x, x + w)
