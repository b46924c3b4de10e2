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

from ..config.model import MAX_COMPUTE_WINDOW
from ..config.quantizers import QuantizerConfig, UniformConfig
from ..errors import LimitError
from ..geometry.rectangles import Rect, Window, grid_size, read_padded, windows
from ..models.loading import Model
from ..quantizers.scalar_values import scalar_values
from ..runtime.ahead import run_ahead
from ..runtime.progress import Part, working
from ..transforms.lifting_arrays import unlift
from ..transforms.lifting_steps import REACH
from .backend import networks_of, runs_compiled
from .blending import Axis, axis_of, bands_to_pixels, blended, equal_spans, inner_spans

WINDOW_PX = 2448
"""Square root of the most pixels of the inner part of a compute window; memory grows with their number."""
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
    if isinstance(model.config.tokenizer.quantizer, UniformConfig):
        raise ValueError(
            "a uniform quantizer needs a whole picture and a quantization step; use encoder.build.encoder_for"
        )
    if model.config.tokenizer.window_px:
        from .fixed_windows import pixels_to_window_planes  # loads torch

        return pixels_to_window_planes(model, pixels, lmbda)
    networks = networks_of(model)
    grid = grid_size(pixels.shape[1], pixels.shape[0], model.stride)
    planes = [np.empty(grid, np.int32) for _ in model.entropy.sizes]
    for inner, z in _latents(model, pixels, window_px):
        for plane, part in zip(planes, networks.quantize(z, lmbda), strict=True):
            plane[inner.slices] = part
    return planes


def pixels_to_latent(model: Model, pixels: np.ndarray, window_px: int = WINDOW_PX) -> np.ndarray:
    """Encode pixels uint8 [H, W, 3] to the latent [D, h, w]: float32, or float16 beyond FULL_PRECISION values."""
    grid = grid_size(pixels.shape[1], pixels.shape[0], model.stride)
    shape = (model.config.tokenizer.quantizer.channels, *grid)
    latent = np.empty(shape, np.float32 if math.prod(shape) <= FULL_PRECISION else np.float16)
    for inner, z in _latents(model, pixels, window_px):
        latent[:, *inner.slices] = z
    return latent


def _latents(model: Model, pixels: np.ndarray, window_px: int) -> Iterator[tuple[Rect, np.ndarray]]:
    """Latent in parts: (rectangle in the token grid, float32 [D, h, w])."""
    networks, stride = networks_of(model), model.stride
    grid = grid_size(pixels.shape[1], pixels.shape[0], stride)
    if axes := _overlapping(model, grid):
        yield from _blended_latents(model, pixels, grid, *axes)
        return
    for window in _windows(model, Rect(0, grid[0], 0, grid[1]), grid, window_px, networks.encoder_halo):
        with working(Part.ENCODER, window.inner.times(stride).area):
            z = networks.encode(read_padded(pixels, window.outer.times(stride)))
        yield window.inner, z[:, *window.inner.inside(window.outer).slices]
    networks.release()


def _blended_latents(
    model: Model, pixels: np.ndarray, grid: tuple[int, int], rows: Axis, columns: Axis
) -> Iterator[tuple[Rect, np.ndarray]]:
    """`_latents` for blended compute windows: bands of whole rows."""
    networks = networks_of(model)

    def make(i: int, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for j in numbers:
            rect = Rect(*rows.spans[i], *columns.spans[j]).times(model.stride)
            with working(Part.ENCODER, rect.area):
                z = networks.encode(read_padded(pixels, rect))
            yield z

    yield from blended(Rect(0, grid[0], 0, grid[1]), rows, columns, make)


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
        window_px: square root of the most pixels of the inner part of a compute window.
        size: (width, height) of the picture; None: it ends where the region ends.
        step: number of the quantization step, for models with a uniform quantizer.
    """
    if model.config.tokenizer.window_px:
        from .fixed_windows import window_planes_to_pixels  # loads torch

        return window_planes_to_pixels(model, planes, region, size or (region.x1, region.y1))
    networks, stride = networks_of(model), model.stride
    grid = planes[0].shape
    if axes := _overlapping(model, (grid[0], grid[1])):
        return _blended_pixels(model, planes, region, *axes)
    pixels = np.empty((*region.shape, 3), np.uint8)
    lifted = lifted_channels(model, planes, step)
    for window in _windows(model, _steps(region, stride), (grid[0], grid[1]), window_px, networks.decoder_halo):
        here = None if lifted is None else lifted[:, *window.outer.slices]
        with working(Part.DECODER, window.inner.times(stride).area):
            levels = networks.decode([plane[window.outer.slices] for plane in planes], step, here)
        inner = window.inner.times(stride)
        wanted = Rect(
            max(inner.y0, region.y0), min(inner.y1, region.y1), max(inner.x0, region.x0), min(inner.x1, region.x1)
        )
        pixels[wanted.inside(region).slices] = levels[wanted.inside(window.outer.times(stride)).slices]
    networks.release()
    return pixels


def prepare_decoder(model: Model, region: Rect, size: tuple[int, int], window_px: int = WINDOW_PX) -> None:
    """Begin to compile the decoder for `planes_to_pixels` with the same arguments; to call before tokens are read."""
    if not runs_compiled(model):
        return
    networks, grid = networks_of(model), grid_size(*size, model.stride)
    if not _overlapping(model, grid):
        shape = _windows(model, _steps(region, model.stride), grid, window_px, networks.decoder_halo)[0].outer.shape
        run_ahead(lambda: networks.prepare_decoder(shape))


def lifted_channels(model: Model, planes: Sequence[np.ndarray], step: int | None) -> np.ndarray | None:
    """First channels float32 [lifted, h, w] of the latent of a whole picture, from which windows take their part.

    The low band without its wavelet; None for other quantizers.
    """
    quantizer = model.config.tokenizer.quantizer
    if step is None or not isinstance(quantizer, UniformConfig) or not quantizer.lifted:
        return None
    return unlift(scalar_values(planes[: quantizer.lifted], step))


def _blended_pixels(model: Model, planes: list[np.ndarray], region: Rect, rows: Axis, columns: Axis) -> np.ndarray:
    """`planes_to_pixels` for blended compute windows."""
    from .torch_networks import TorchNetworks  # loads torch

    networks = TorchNetworks(model)

    def make(i: int, numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for j in numbers:
            rect = Rect(*rows.spans[i], *columns.spans[j])
            with working(Part.DECODER, rect.area * model.stride**2):
                decoded = networks.decode_exactly([plane[rect.slices] for plane in planes])
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
    halo = networks_of(model).decoder_halo
    area = _steps(region, model.stride)
    if axes := _overlapping(model, grid):
        extents = ((area.y0, area.y1), (area.x0, area.x1))
        seen = [[axis.spans[i] for i in axis.touching(*extent)] for axis, extent in zip(axes, extents, strict=True)]
        return Rect(seen[0][0][0], seen[0][-1][1], seen[1][0][0], seen[1][-1][1]).times(model.stride)
    more = _lifting_reach(model.config.tokenizer.quantizer)
    steps = Rect(0, grid[0], 0, grid[1]) if halo is None else area.grow(halo // model.stride + more, grid)
    return steps.times(model.stride)


def _lifting_reach(quantizer: QuantizerConfig) -> int:
    """Positions to each side that lifted channels depend on; 0 without any."""
    if not isinstance(quantizer, UniformConfig) or not quantizer.lifted:
        return 0
    return REACH


def decoder_windows(model: Model, grid: tuple[int, int], window_px: int, share: float) -> list[Window]:
    """Compute windows of the decoder over a whole grid (h, w), with the fraction `share` 0..1 of its halo."""
    if axes := _overlapping(model, grid):
        rows, columns = ([*zip(axis.spans, inner_spans(axis.spans), strict=True)] for axis in axes)
        return [
            Window(Rect(*part, *along), Rect(*rows_read, *columns_read))
            for rows_read, part in rows
            for columns_read, along in columns
        ]
    halo = networks_of(model).decoder_halo
    halo = None if halo is None else math.ceil(share * halo)
    return _windows(model, Rect(0, grid[0], 0, grid[1]), grid, window_px, halo)


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
