"""Networks over whole pictures, window by window: pixels -> index planes -> pixels, in bounded memory.

Pictures have any size; inputs and outputs are numpy arrays. The receptive field of the network decides the method:

    halo       bounded receptive field: windows with a halo that covers it; the result equals that of the whole picture
    blending   unbounded receptive field (attention, group normalisation) and a model with compute windows: windows
               overlap, latents are blended before quantization and pixels after decoding (blending.py)
    whole      unbounded receptive field without compute windows, or a picture within one window: a single window
Models with separate tokens for each window run in fixed_windows.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..config.model import MAX_COMPUTE_WINDOW
from ..config.quantizers import UniformConfig
from ..errors import LimitError
from ..geometry.rectangles import Rect, Window, grid_size, read_padded, windows
from ..models.loading import Model
from ..quantizers.lifting import REACH
from ..runtime.progress import Part, working
from .blending import Axis, axis_of, blended, equal_spans, inner_spans
from .fixed_windows import bands_to_pixels, pixels_to_window_planes, to_array, to_tensor, window_planes_to_pixels

WINDOW_PX = 2048
"""Largest side of the inner part of a compute window, pixels; memory grows with its square."""
FULL_PRECISION = 2**26
"""Most values of a latent that is stored in float32; larger latents are stored in float16."""
MAX_WHOLE_PX = MAX_COMPUTE_WINDOW**2
"""Most pixels of a picture that is computed in a single window."""


def pixels_to_planes(
    model: Model, pixels: np.ndarray, window_px: int = WINDOW_PX, lmbda: float = 1.0
) -> list[np.ndarray]:
    """Encode pixels uint8 [H, W, 3] to index planes int32, coarse to fine.

    Edge pixels are repeated up to a multiple of the stride. `lmbda` is the Lagrangian multiplier of the bits in the
    nearest-codeword search, which treats positions independently.
    """
    tokenizer = model.tokenizer
    if isinstance(model.config.tokenizer.quantizer, UniformConfig):
        raise ValueError(
            "a uniform quantizer needs a whole picture and a quantization step; use encoder.build.encoder_for"
        )
    if model.config.tokenizer.window_px:
        return pixels_to_window_planes(model, pixels, lmbda)
    grid = grid_size(pixels.shape[1], pixels.shape[0], model.stride)
    planes = [np.empty(grid, np.int32) for _ in tokenizer.sizes]
    for inner, z in _latents(model, pixels, window_px):
        for plane, part in zip(planes, tokenizer.quantizer.quantize(z, lmbda), strict=True):
            plane[inner.slices] = part[0].cpu().numpy()
    return planes


def pixels_to_latent(model: Model, pixels: np.ndarray, window_px: int = WINDOW_PX) -> np.ndarray:
    """Encode pixels uint8 [H, W, 3] to the latent [D, h, w]: float32, or float16 beyond FULL_PRECISION values."""
    grid = grid_size(pixels.shape[1], pixels.shape[0], model.stride)
    shape = (model.tokenizer.channels, *grid)
    latent = np.empty(shape, np.float32 if math.prod(shape) <= FULL_PRECISION else np.float16)
    for inner, z in _latents(model, pixels, window_px):
        latent[:, *inner.slices] = z[0].cpu().numpy()
    return latent


def _latents(model: Model, pixels: np.ndarray, window_px: int) -> Iterator[tuple[Rect, Tensor]]:
    """Latent in parts: (rectangle in the token grid, float32 [1, D, h, w])."""
    tokenizer, stride = model.tokenizer, model.stride
    grid = grid_size(pixels.shape[1], pixels.shape[0], stride)
    if axes := _overlapping(model, grid):
        yield from _blended_latents(model, pixels, grid, *axes)
        return
    for window in _windows(model, Rect(0, grid[0], 0, grid[1]), grid, window_px, tokenizer.encoder.halo):
        x = to_tensor([read_padded(pixels, window.outer.times(stride))], model.device)
        with torch.inference_mode():
            with working(Part.ENCODER, window.inner.times(stride).area):
                z = tokenizer.encoder(x).float()
            rows, columns = window.inner.inside(window.outer).slices
            yield window.inner, z[:, :, rows, columns]


def _blended_latents(
    model: Model, pixels: np.ndarray, grid: tuple[int, int], rows: Axis, columns: Axis
) -> Iterator[tuple[Rect, Tensor]]:
    """`_latents` for blended compute windows: bands of whole rows."""

    def make(i: int, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for j in numbers:
            rect = Rect(*rows.spans[i], *columns.spans[j]).times(model.stride)
            x = to_tensor([read_padded(pixels, rect)], model.device)
            with torch.inference_mode(), working(Part.ENCODER, rect.area):
                z = model.tokenizer.encoder(x)[0].float().cpu().numpy()
            yield z

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
    """Decode index planes to pixels uint8 [H, W, 3] of `region`.

    Args:
        model: the model.
        planes: indices int32, MISSING where unknown.
        region: rectangle within the picture, pixels.
        window_px: largest side of the inner part of a compute window, pixels.
        size: (width, height) of the picture; None: it ends where the region ends.
        step: number of the quantization step, for models with a uniform quantizer.
    """
    if model.config.tokenizer.window_px:
        return window_planes_to_pixels(model, planes, region, size or (region.x1, region.y1))
    tokenizer, stride = model.tokenizer, model.stride
    grid = planes[0].shape
    if axes := _overlapping(model, (grid[0], grid[1])):
        return _blended_pixels(model, planes, region, *axes)
    pixels = np.empty((*region.shape, 3), np.uint8)
    lifted = lifted_channels(model, planes, step)
    for window in _windows(model, _steps(region, stride), (grid[0], grid[1]), window_px, tokenizer.decoder.halo):
        part = [torch.from_numpy(p[window.outer.slices].astype(np.int64))[None].to(model.device) for p in planes]
        with torch.inference_mode(), working(Part.DECODER, window.inner.times(stride).area):
            here = None if lifted is None else lifted[:, :, *window.outer.slices]
            levels = to_array(tokenizer.decode(part, step=step, lifted_channels=here))[0]
        inner = window.inner.times(stride)
        wanted = Rect(
            max(inner.y0, region.y0), min(inner.y1, region.y1), max(inner.x0, region.x0), min(inner.x1, region.x1)
        )
        pixels[wanted.inside(region).slices] = levels[wanted.inside(window.outer.times(stride)).slices]
    return pixels


def lifted_channels(model: Model, planes: Sequence[np.ndarray], step: int | None) -> Tensor | None:
    """`Uniform.lifted_channels` of the whole picture, from which windows take their part; None for other quantizers."""
    if step is None:
        return None
    quantizer = model.tokenizer.uniform
    first = [torch.from_numpy(p.astype(np.int64))[None].to(model.device) for p in planes[: quantizer.lifted]]
    with torch.inference_mode():
        found = quantizer.lifted_channels(first, step)
    return found if quantizer.lifted else None


def _blended_pixels(model: Model, planes: list[np.ndarray], region: Rect, rows: Axis, columns: Axis) -> np.ndarray:
    """`planes_to_pixels` for blended compute windows."""

    def make(i: int, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for j in numbers:
            rect = Rect(*rows.spans[i], *columns.spans[j])
            part = [torch.from_numpy(plane[rect.slices].astype(np.int64))[None].to(model.device) for plane in planes]
            with torch.inference_mode(), working(Part.DECODER, rect.area * model.stride**2):
                decoded = model.tokenizer.decode(part)[0].float().clamp(-1, 1).cpu().numpy()
            yield decoded

    overlap = model.config.tokenizer.compute_overlap
    across = [
        axis_of([(a * model.stride, b * model.stride) for a, b in axis.spans], overlap) for axis in (rows, columns)
    ]
    return bands_to_pixels(blended(region, across[0], across[1], make), region)


def pixels_needed(model: Model, region: Rect, size: tuple[int, int]) -> Rect:
    """Rectangle of the tokens that the pixels of `region` depend on, in pixels; `size` is (width, height)."""
    if model.config.tokenizer.window_px:
        return region
    grid = grid_size(*size, model.stride)
    halo = model.tokenizer.decoder.halo
    area = _steps(region, model.stride)
    if axes := _overlapping(model, grid):
        extents = ((area.y0, area.y1), (area.x0, area.x1))
        seen = [[axis.spans[i] for i in axis.touching(*extent)] for axis, extent in zip(axes, extents, strict=True)]
        return Rect(seen[0][0][0], seen[0][-1][1], seen[1][0][0], seen[1][-1][1]).times(model.stride)
    more = REACH if isinstance(q := model.config.tokenizer.quantizer, UniformConfig) and q.lifted else 0
    steps = Rect(0, grid[0], 0, grid[1]) if halo is None else area.grow(halo // model.stride + more, grid)
    return steps.times(model.stride)


def decoder_windows(model: Model, grid: tuple[int, int], window_px: int, share: float) -> list[Window]:
    """Compute windows of the decoder over a whole grid (h, w), with the fraction `share` 0..1 of its halo."""
    if axes := _overlapping(model, grid):
        rows, columns = ([*zip(axis.spans, inner_spans(axis.spans), strict=True)] for axis in axes)
        return [
            Window(Rect(*part, *along), Rect(*rows_read, *columns_read))
            for rows_read, part in rows
            for columns_read, along in columns
        ]
    halo = model.tokenizer.decoder.halo
    halo = None if halo is None else math.ceil(share * halo)
    return _windows(model, Rect(0, grid[0], 0, grid[1]), grid, window_px, halo)


def in_bfloat16(device: str) -> torch.autocast:
    """Autocast to bfloat16 where the processor has fast bfloat16 products; only where rounding may differ."""
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        fast = device == "cpu" and any(hasattr(torch.cpu, test) and getattr(torch.cpu, test)() for test in tests)
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=fast)


def _overlapping(model: Model, grid: tuple[int, int]) -> tuple[Axis, Axis] | None:
    """Row and column axes of blended compute windows over a grid (h, w), in token steps.

    None if the model has no compute windows, or if the area of the picture is at most that of one window.
    """
    config = model.config.tokenizer
    longest, overlap = config.compute_window // config.stride, config.compute_overlap // config.stride
    if not longest or grid[0] * grid[1] <= longest**2:
        return None
    rows, columns = (axis_of(equal_spans(length, longest, overlap), overlap) for length in grid)
    return rows, columns


def _steps(region: Rect, stride: int) -> Rect:
    """The token steps that intersect a region given in pixels."""
    return Rect(region.y0 // stride, -(-region.y1 // stride), region.x0 // stride, -(-region.x1 // stride))


def _windows(model: Model, area: Rect, grid: tuple[int, int], window_px: int, halo: int | None) -> list[Window]:
    """Compute windows for the steps of `area`; `halo` in pixels, None: a single window of the whole grid."""
    stride = model.stride
    if halo is not None:
        return list(windows(area, grid, max(window_px // stride, 1), -(-halo // stride)))
    h, w = grid[0] * stride, grid[1] * stride
    if h * w > MAX_WHOLE_PX:
        raise LimitError(
            f"{w}x{h} pixels: model '{model.config.name}' computes a picture in one piece, at most {MAX_WHOLE_PX:,} "
            "pixels; import the checkpoint again to get compute windows, or set tokenizer.compute_window in its "
            "config.json, for example to 1024"
        )
    return [Window(area, Rect(0, grid[0], 0, grid[1]))]
