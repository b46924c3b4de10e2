"""Networks that see a window of fixed size: window after window, blended where they overlap.

Differs from compute.py, where windows are a matter of memory and never show: here each window has tokens of its own.

    weight  |    ____________    ____________        each window counts in full in its middle and fades towards its
            |   /            \\  /            \\       borders over `overlap` px; what counts is its share of the sum,
            |  /              \\/              \\      so that the border of the picture needs no rule of its own
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .layout import plane_shapes, window_rects
from .registry import Model
from .tiling import Rect, read_padded

BATCH = 8
"""Windows that a network sees at once."""


def pixels_to_window_planes(model: Model, pixels: np.ndarray, rate: float = 1.0) -> list[np.ndarray]:
    """uint8 [H, W, 3] -> planes int32 [windows, *]."""
    tokenizer, config = model.tokenizer, model.config.tokenizer
    height, width = pixels.shape[:2]
    rects = window_rects(config, width, height)
    planes = [np.empty(shape, np.int32) for shape in plane_shapes(config, width, height)]
    for start in range(0, len(rects), BATCH):
        part = slice(start, min(start + BATCH, len(rects)))
        x = to_tensor([read_padded(pixels, rect) for rect in rects[part]], model.device)
        with torch.inference_mode():
            for plane, found in zip(planes, tokenizer.encode(x, rate), strict=True):
                plane[part] = found.cpu().numpy()
    return planes


def window_planes_to_pixels(model: Model, planes: list[np.ndarray], region: Rect, size: tuple[int, int]) -> np.ndarray:
    """Planes int32 [windows, *] of a picture of `size` (width, height) -> uint8 pixels of `region` (pixels)."""
    config = model.config.tokenizer
    rects = window_rects(config, *size)
    touched = [i for i, rect in enumerate(rects) if _common(rect, region) is not None]
    total, weights = np.zeros((*region.shape, 3), np.float32), np.zeros((*region.shape, 1), np.float32)
    fade = _fade(config.side, config.overlap)
    for start in range(0, len(touched), BATCH):
        numbers = touched[start : start + BATCH]
        part = [torch.from_numpy(plane[numbers].astype(np.int64)).to(model.device) for plane in planes]
        with torch.inference_mode():
            found = model.tokenizer.decode(part).float().clamp(-1, 1).permute(0, 2, 3, 1).cpu().numpy()
        for number, window in zip(numbers, found, strict=True):
            wanted = _common(rects[number], region)
            assert wanted is not None
            inside, here = wanted.inside(rects[number]).slices, wanted.inside(region).slices
            total[here] += window[inside] * fade[inside]
            weights[here] += fade[inside]
    total /= weights
    levels: np.ndarray = np.rint((total + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return levels


def _fade(side: int, overlap: int) -> np.ndarray:
    """Weights [side, side, 1] of the pixels of a window."""
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    ramp = np.minimum(1, distance / overlap).astype(np.float32) if overlap else np.ones(side, np.float32)
    weights: np.ndarray = (ramp[:, None] * ramp[None, :])[..., None]
    return weights


def _common(a: Rect, b: Rect) -> Rect | None:
    """What two rectangles have in common."""
    both = Rect(max(a.y0, b.y0), min(a.y1, b.y1), max(a.x0, b.x0), min(a.x1, b.x1))
    return both if min(both.shape) > 0 else None


def to_tensor(pixels: Sequence[np.ndarray], device: str) -> Tensor:
    """uint8 [H, W, 3] of equal size -> float [B, 3, H, W] in -1..1."""
    x = torch.tensor(np.stack(pixels), device=device).permute(0, 3, 1, 2)
    return x.to(torch.float32).div_(127.5).sub_(1)


def to_levels(x: Tensor) -> np.ndarray:
    """float [B, 3, H, W], about -1..1 -> uint8 [B, H, W, 3]."""
    levels = x.add_(1).mul_(127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()
