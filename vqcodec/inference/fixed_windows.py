"""Networks of fixed input size over whole pictures: one set of tokens for each window, pixels blended at overlaps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..geometry.rectangles import Rect, read_padded
from ..geometry.token_layout import plane_shapes, window_rects
from ..models.loading import Model
from ..runtime.progress import Part, working
from .blending import axis_of, bands_to_pixels, blended
from .torch_networks import to_tensor

BATCH = 8
"""Windows in one batch of the network."""


def pixels_to_window_planes(model: Model, pixels: np.ndarray, lmbda: float = 1.0) -> list[np.ndarray]:
    """Encode pixels uint8 [H, W, 3] to index planes int32 [windows, *]; `lmbda` is the Lagrangian multiplier."""
    tokenizer, config = model.tokenizer, model.config.tokenizer
    height, width = pixels.shape[:2]
    rects = window_rects(config, width, height)
    planes = [np.empty(shape, np.int32) for shape in plane_shapes(config, width, height)]
    for start in range(0, len(rects), BATCH):
        part = slice(start, min(start + BATCH, len(rects)))
        x = to_tensor([read_padded(pixels, rect) for rect in rects[part]], model.device)
        with torch.inference_mode(), working(Part.ENCODER, sum(rect.area for rect in rects[part])):
            for plane, found in zip(planes, tokenizer.encode(x, lmbda), strict=True):
                plane[part] = found.cpu().numpy()
    return planes


def window_planes_to_pixels(model: Model, planes: list[np.ndarray], region: Rect, size: tuple[int, int]) -> np.ndarray:
    """Decode planes int32 [windows, *] of a picture of `size` (width, height) to the pixels uint8 of `region` (px)."""
    config = model.config.tokenizer
    rects = window_rects(config, *size)
    rows = axis_of(sorted({(rect.y0, rect.y1) for rect in rects}), config.overlap)
    columns = axis_of(sorted({(rect.x0, rect.x1) for rect in rects}), config.overlap)

    def make(row: int, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for start in range(0, len(numbers), BATCH):
            places = [row * len(columns.spans) + column for column in numbers[start : start + BATCH]]
            part = [torch.from_numpy(plane[places].astype(np.int64)).to(model.device) for plane in planes]
            with torch.inference_mode(), working(Part.DECODER, len(places) * rects[0].area):
                decoded = model.tokenizer.decode(part).float().clamp(-1, 1).cpu().numpy()
            yield from decoded

    return bands_to_pixels(blended(region, rows, columns, make), region)
