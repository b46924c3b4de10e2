"""Networks over whole pictures, window by window: pixels -> index planes -> pixels, in bounded memory.

Pictures of any size, numpy in and out; halo and borders are handled here. Three ways:

    halo       a network that sees a bounded part: windows with all that they depend on, which never show
    blending   a network that sees all at once (attention, group normalisation) and whose model declares compute
               windows: these overlap; latents are blended before they are quantized, and so are pixels (blending.py)
    whole      such a network without them, or a small picture: one window
Models whose windows have tokens of their own run in fixed_windows.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..config.model import MAX_COMPUTE_WINDOW, UniformConfig
from ..errors import LimitError
from ..geometry.rectangles import Rect, Window, grid_size, read_padded, windows
from ..models.loading import Model
from ..quantizers.lifting import REACH
from .blending import Axis, axis_of, blended, equal_spans, inner_spans
from .fixed_windows import bands_to_pixels, pixels_to_window_planes, to_array, to_tensor, window_planes_to_pixels

WINDOW_PX = 2048
"""Largest side of the inner part of a compute window, pixels; memory goes with its square."""
FULL_PRECISION = 2**26
"""Most values of a latent that are kept in float32."""
MAX_WHOLE_PX = MAX_COMPUTE_WINDOW**2
"""Most pixels of a picture that a network has to see at once."""


def pixels_to_planes(
    model: Model, pixels: np.ndarray, window_px: int = WINDOW_PX, rate: float = 1.0
) -> list[np.ndarray]:
    """uint8 [H, W, 3] -> planes int32, coarse to fine; a picture beyond whole steps is continued by its edge.

    `rate` says how much bits count when codewords are chosen, each for itself.
    """
    tokenizer = model.tokenizer
    if isinstance(model.config.tokenizer.quantizer, UniformConfig):
        raise ValueError("a uniform quantizer works on whole pictures at a step; take encoder.build.encoder_for")
    if model.config.tokenizer.window_px:
        return pixels_to_window_planes(model, pixels, rate)
    grid = grid_size(pixels.shape[1], pixels.shape[0], model.stride)
    planes = [np.empty(grid, np.int32) for _ in tokenizer.sizes]
    for inner, z in _latents(model, pixels, window_px):
        for plane, part in zip(planes, tokenizer.quantizer.quantize(z, rate), strict=True):
            plane[inner.slices] = part[0].cpu().numpy()
    return planes


def pixels_to_latent(model: Model, pixels: np.ndarray, window_px: int = WINDOW_PX) -> np.ndarray:
    """uint8 [H, W, 3] -> latent [D, h, w]: float32, or float16 where that takes a quarter of a gigabyte."""
    grid = grid_size(pixels.shape[1], pixels.shape[0], model.stride)
    shape = (model.tokenizer.channels, *grid)
    latent = np.empty(shape, np.float32 if math.prod(shape) <= FULL_PRECISION else np.float16)
    for inner, z in _latents(model, pixels, window_px):
        latent[:, *inner.slices] = z[0].cpu().numpy()
    return latent


def _latents(model: Model, pixels: np.ndarray, window_px: int) -> Iterator[tuple[Rect, Tensor]]:
    """Parts of the token grid, and what the encoder network makes of each, float32 [1, D, h, w]."""
    tokenizer, stride = model.tokenizer, model.stride
    grid = grid_size(pixels.shape[1], pixels.shape[0], stride)
    if axes := _overlapping(model, grid):
        yield from _blended_latents(model, pixels, grid, *axes)
        return
    for window in _windows(model, Rect(0, grid[0], 0, grid[1]), grid, window_px, tokenizer.encoder.halo):
        x = to_tensor([read_padded(pixels, window.outer.times(stride))], model.device)
        with torch.inference_mode():
            z = tokenizer.encoder(x).float()
            rows, columns = window.inner.inside(window.outer).slices
            yield window.inner, z[:, :, rows, columns]


def _blended_latents(
    model: Model, pixels: np.ndarray, grid: tuple[int, int], rows: Axis, columns: Axis
) -> Iterator[tuple[Rect, Tensor]]:
    """`_latents` of a network that sees one compute window at a time: bands of whole rows."""

    def make(i: int, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for j in numbers:
            rect = Rect(*rows.spans[i], *columns.spans[j]).times(model.stride)
            x = to_tensor([read_padded(pixels, rect)], model.device)
            with torch.inference_mode():
                yield model.tokenizer.encoder(x)[0].float().cpu().numpy()

    for place, band in blended(Rect(0, grid[0], 0, grid[1]), rows, columns, make):
        yield place, torch.from_numpy(np.ascontiguousarray(band))[None].to(model.device)


def planes_to_pixels(
    model: Model,
    planes: list[np.ndarray],
    region: Rect,
    window_px: int = WINDOW_PX,
    size: tuple[int, int] | None = None,
    step: int | None = None,
) -> np.ndarray:
    """Planes int32, MISSING where unknown -> uint8 pixels of `region` (pixels, within the picture).

    `size` (width, height) is that of the picture, if it is more than the region; `step` the number of its quantization
    step, if the model has one.
    """
    if model.config.tokenizer.window_px:
        return window_planes_to_pixels(model, planes, region, size or (region.x1, region.y1))
    tokenizer, stride = model.tokenizer, model.stride
    grid = planes[0].shape
    if axes := _overlapping(model, (grid[0], grid[1])):
        return _blended_pixels(model, planes, region, *axes)
    pixels = np.empty((*region.shape, 3), np.uint8)
    strong = strong_channels(model, planes, step)
    for window in _windows(model, _steps(region, stride), (grid[0], grid[1]), window_px, tokenizer.decoder.halo):
        part = [torch.from_numpy(p[window.outer.slices].astype(np.int64))[None].to(model.device) for p in planes]
        with torch.inference_mode():
            here = None if strong is None else strong[:, :, *window.outer.slices]
            levels = to_array(tokenizer.decode(part, step=step, strong=here))[0]
        inner = window.inner.times(stride)
        wanted = Rect(
            max(inner.y0, region.y0), min(inner.y1, region.y1), max(inner.x0, region.x0), min(inner.x1, region.x1)
        )
        pixels[wanted.inside(region).slices] = levels[wanted.inside(window.outer.times(stride)).slices]
    return pixels


def strong_channels(model: Model, planes: Sequence[np.ndarray], step: int | None) -> Tensor | None:
    """`Uniform.strong` of the whole picture, which windows of it need; None for other quantizers."""
    if step is None:
        return None
    quantizer = model.tokenizer.uniform
    first = [torch.from_numpy(p.astype(np.int64))[None].to(model.device) for p in planes[: quantizer.lifted]]
    with torch.inference_mode():
        found = quantizer.strong(first, step)
    return found if quantizer.lifted else None


def _blended_pixels(model: Model, planes: list[np.ndarray], region: Rect, rows: Axis, columns: Axis) -> np.ndarray:
    """`planes_to_pixels` of a network that sees one compute window at a time."""

    def make(i: int, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for j in numbers:
            slices = Rect(*rows.spans[i], *columns.spans[j]).slices
            part = [torch.from_numpy(plane[slices].astype(np.int64))[None].to(model.device) for plane in planes]
            with torch.inference_mode():
                yield model.tokenizer.decode(part)[0].float().clamp(-1, 1).cpu().numpy()

    overlap = model.config.tokenizer.compute_overlap
    across = [
        axis_of([(a * model.stride, b * model.stride) for a, b in axis.spans], overlap) for axis in (rows, columns)
    ]
    return bands_to_pixels(blended(region, across[0], across[1], make), region)


def pixels_needed(model: Model, region: Rect, size: tuple[int, int]) -> Rect:
    """Where tokens stand for something that the pixels of `region` depend on, for a picture of `size`; in pixels."""
    if model.config.tokenizer.window_px:
        return region
    grid = grid_size(*size, model.stride)
    halo = model.tokenizer.decoder.halo
    area = _steps(region, model.stride)
    if axes := _overlapping(model, grid):
        sides = ((area.y0, area.y1), (area.x0, area.x1))
        seen = [[axis.spans[i] for i in axis.touching(*side)] for axis, side in zip(axes, sides, strict=True)]
        return Rect(seen[0][0][0], seen[0][-1][1], seen[1][0][0], seen[1][-1][1]).times(model.stride)
    more = REACH if isinstance(q := model.config.tokenizer.quantizer, UniformConfig) and q.lifted else 0
    steps = Rect(0, grid[0], 0, grid[1]) if halo is None else area.grow(halo // model.stride + more, grid)
    return steps.times(model.stride)


def decoder_windows(model: Model, grid: tuple[int, int], window_px: int, share: float) -> list[Window]:
    """What the decoder computes at once, of a whole grid (h, w), with a share of its halo."""
    if axes := _overlapping(model, grid):
        rows, columns = ([*zip(axis.spans, inner_spans(axis.spans), strict=True)] for axis in axes)
        return [Window(Rect(*part, *along), Rect(*span, *side)) for span, part in rows for side, along in columns]
    halo = model.tokenizer.decoder.halo
    halo = None if halo is None else math.ceil(share * halo)
    return _windows(model, Rect(0, grid[0], 0, grid[1]), grid, window_px, halo)


def in_bfloat16(device: str) -> torch.autocast:
    """Autocast for what may round as it likes, where the processor multiplies bfloat16 faster than float32."""
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        fast = device == "cpu" and any(hasattr(torch.cpu, test) and getattr(torch.cpu, test)() for test in tests)
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=fast)


def _overlapping(model: Model, grid: tuple[int, int]) -> tuple[Axis, Axis] | None:
    """Rows and columns of compute windows over a grid (h, w), in token steps.

    None if the model has no compute windows, or if the picture is no larger than one.
    """
    config = model.config.tokenizer
    side, overlap = config.compute_window // config.stride, config.compute_overlap // config.stride
    if not side or grid[0] * grid[1] <= side**2:
        return None
    rows, columns = (axis_of(equal_spans(length, side, overlap), overlap) for length in grid)
    return rows, columns


def _steps(region: Rect, stride: int) -> Rect:
    """The token steps under a region in pixels."""
    return Rect(region.y0 // stride, -(-region.y1 // stride), region.x0 // stride, -(-region.x1 // stride))


def _windows(model: Model, area: Rect, grid: tuple[int, int], window_px: int, halo: int | None) -> list[Window]:
    """What to compute for the steps of `area`; `halo` in pixels, or None for the whole grid at once."""
    stride = model.stride
    if halo is not None:
        return list(windows(area, grid, max(window_px // stride, 1), -(-halo // stride)))
    h, w = grid[0] * stride, grid[1] * stride
    if h * w > MAX_WHOLE_PX:
        raise LimitError(
            f"{w}x{h} pixels: model '{model.config.name}' has to see a picture at once, at most {MAX_WHOLE_PX:,} "
            "pixels of it; import it again, which gives it compute windows, or set tokenizer.compute_window in its "
            "config.json, for example to 1024"
        )
    return [Window(area, Rect(0, grid[0], 0, grid[1]))]
