"""The network over a whole picture, window by window: pixels -> index planes -> pixels, in flat memory.

Differs from tokenizer.py: any size of picture, numpy in and out, halo and borders handled here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .registry import Model
from .tiling import Rect, Window, grid_size, read_padded, windows

WINDOW_PX = 2048
"""Largest side of the inner part of a compute window, pixels; memory goes with its square."""


def pixels_to_planes(model: Model, pixels: np.ndarray, window_px: int = WINDOW_PX) -> list[np.ndarray]:
    """uint8 [H, W, 3] -> planes int32 [h, w], coarse to fine; a picture beyond whole steps is continued by its edge."""
    tokenizer, stride = model.tokenizer, model.stride
    grid = grid_size(pixels.shape[1], pixels.shape[0], stride)
    planes = [np.empty(grid, np.int32) for _ in tokenizer.sizes]
    for window in _windows(Rect(0, grid[0], 0, grid[1]), grid, window_px, tokenizer.encoder.halo, stride):
        x = _to_tensor(read_padded(pixels, window.outer.times(stride)), model.device)
        with torch.inference_mode():
            z = tokenizer.encoder(x).float()
            rows, columns = window.inner.inside(window.outer).slices
            found = tokenizer.quantizer.quantize(z[:, :, rows, columns])
        for plane, part in zip(planes, found, strict=True):
            plane[window.inner.slices] = part[0].cpu().numpy()
    return planes


def planes_to_pixels(model: Model, planes: list[np.ndarray], region: Rect, window_px: int = WINDOW_PX) -> np.ndarray:
    """Planes int32 [h, w], MISSING where unknown -> uint8 pixels of `region` (pixels, within the picture)."""
    tokenizer, stride = model.tokenizer, model.stride
    grid = planes[0].shape
    area = Rect(region.y0 // stride, -(-region.y1 // stride), region.x0 // stride, -(-region.x1 // stride))
    pixels = np.empty((*region.shape, 3), np.uint8)
    for window in _windows(area, (grid[0], grid[1]), window_px, tokenizer.decoder.halo, stride):
        part = [torch.from_numpy(p[window.outer.slices].astype(np.int64))[None].to(model.device) for p in planes]
        with torch.inference_mode():
            levels = _to_levels(tokenizer.decode(part))
        inner = window.inner.times(stride)
        wanted = Rect(
            max(inner.y0, region.y0), min(inner.y1, region.y1), max(inner.x0, region.x0), min(inner.x1, region.x1)
        )
        pixels[wanted.inside(region).slices] = levels[wanted.inside(window.outer.times(stride)).slices]
    return pixels


def _windows(area: Rect, grid: tuple[int, int], window_px: int, halo_px: int, stride: int) -> list[Window]:
    return list(windows(area, grid, max(window_px // stride, 1), -(-halo_px // stride)))


def _to_tensor(pixels: np.ndarray, device: str) -> Tensor:
    """uint8 [H, W, 3] -> float [1, 3, H, W] in -1..1."""
    x = torch.tensor(pixels, device=device).permute(2, 0, 1)[None]
    return x.to(torch.float32).div_(127.5).sub_(1)


def _to_levels(x: Tensor) -> np.ndarray:
    """float [1, 3, H, W], about -1..1 -> uint8 [H, W, 3]."""
    levels = x[0].add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().numpy()
