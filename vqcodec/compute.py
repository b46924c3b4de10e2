"""The network over a whole picture, window by window: pixels -> index planes -> pixels, in flat memory.

Differs from tokenizer.py: any size of picture, numpy in and out, halo and borders handled here. A network without a
halo sees the picture as one window, in memory that grows with it; one whose model declares windows of its own is run
in windows.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from .errors import LimitError
from .registry import Model
from .tiling import Rect, Window, grid_size, read_padded, windows
from .windows import pixels_to_window_planes, to_levels, to_tensor, window_planes_to_pixels

WINDOW_PX = 2048
"""Largest side of the inner part of a compute window, pixels; memory goes with its square."""
FULL_PRECISION = 2**26
"""Most values of a latent that are kept in float32."""
MAX_WHOLE_PX = 2**22
"""Most pixels of a picture that a network has to see at once."""


def pixels_to_planes(
    model: Model, pixels: np.ndarray, window_px: int = WINDOW_PX, rate: float = 1.0
) -> list[np.ndarray]:
    """uint8 [H, W, 3] -> planes int32, coarse to fine; a picture beyond whole steps is continued by its edge.

    `rate` says how much bits count when codewords are chosen, each for itself.
    """
    tokenizer = model.tokenizer
    if model.config.tokenizer.side:
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
    for window in _windows(model, Rect(0, grid[0], 0, grid[1]), grid, window_px, tokenizer.encoder.halo):
        x = to_tensor([read_padded(pixels, window.outer.times(stride))], model.device)
        with torch.inference_mode():
            z = tokenizer.encoder(x).float()
            rows, columns = window.inner.inside(window.outer).slices
            yield window.inner, z[:, :, rows, columns]


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
    if model.config.tokenizer.side:
        return window_planes_to_pixels(model, planes, region, size or (region.x1, region.y1))
    tokenizer, stride = model.tokenizer, model.stride
    grid = planes[0].shape
    pixels = np.empty((*region.shape, 3), np.uint8)
    for window in _windows(model, _steps(region, stride), (grid[0], grid[1]), window_px, tokenizer.decoder.halo):
        part = [torch.from_numpy(p[window.outer.slices].astype(np.int64))[None].to(model.device) for p in planes]
        with torch.inference_mode():
            levels = to_levels(tokenizer.decode(part, step=step))[0]
        inner = window.inner.times(stride)
        wanted = Rect(
            max(inner.y0, region.y0), min(inner.y1, region.y1), max(inner.x0, region.x0), min(inner.x1, region.x1)
        )
        pixels[wanted.inside(region).slices] = levels[wanted.inside(window.outer.times(stride)).slices]
    return pixels


def pixels_needed(model: Model, region: Rect, size: tuple[int, int]) -> Rect:
    """Where tokens stand for something that the pixels of `region` depend on, for a picture of `size`; in pixels."""
    if model.config.tokenizer.side:
        return region
    grid = grid_size(*size, model.stride)
    halo = model.tokenizer.decoder.halo
    area = _steps(region, model.stride)
    steps = Rect(0, grid[0], 0, grid[1]) if halo is None else area.grow(halo // model.stride, grid)
    return steps.times(model.stride)


def decoder_windows(model: Model, grid: tuple[int, int], window_px: int, share: float) -> list[Window]:
    """What the decoder computes at once, of a whole grid (h, w), with a share of its halo."""
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
            "pixels of it; make the picture smaller, or take a model that works window by window, such as photo"
        )
    return [Window(area, Rect(0, grid[0], 0, grid[1]))]
