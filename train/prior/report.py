"""Bits per index of a context model against uniform, zero-order and adaptive tables, plane by plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from vqcodec.encoder.index_selection import PlaneDistances, select_indices
from vqcodec.entropy.adaptive_tables import STEPS, option_bits
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.index_order import scan
from vqcodec.entropy.tile_segments import encode_tiles
from vqcodec.planes import MISSING

from ..export import TABLES, cluster_tables
from .data import Tile
from .network import Prior


def compare(prior: Prior, train: Sequence[Tile], val: Sequence[Tile]) -> str:
    """Text table of bits per index on `val`: of frequency tables fitted to `train`, and of the context model."""
    rows = measure(prior, train, val)
    heads = ["plane", *rows]
    lines = ["bits per index on val", "  ".join(f"{head:>10}" for head in heads)]
    for s in range(len(prior.sizes)):
        lines.append("  ".join([f"{s:>10}", *(f"{bits[s]:>10.3f}" for bits in rows.values())]))
    counts = _counted(val, len(prior.sizes))
    means = {name: float((bits * counts).sum() / counts.sum()) for name, bits in rows.items()}
    lines.append("  ".join([f"{'mean':>10}", *(f"{mean:>10.3f}" for mean in means.values())]))
    saved = 1 - means["integer"] / means["zero-order"]
    lines.append(f"the integer context model saves {saved:.1%} of zero-order, {means['stream']:.3f} with stream ends")
    lost = means["integer"] / means["float"] - 1
    lines.append(f"rounding to integers changes its bits by {lost:+.2%}")
    return "\n".join(lines)


def measure(prior: Prior, train: Sequence[Tile], val: Sequence[Tile]) -> dict[str, np.ndarray]:
    """Bits per index [S] on `val`, without missing indices, by method.

    uniform; zero-order; adaptive tables; float: the network before rounding; rounded: as in the last steps of training;
    integer: ideal length under the integers of a file; stream: all bytes of the streams, one mean for all planes.
    """
    sizes = prior.sizes
    model = ContextModel(sizes, prior.tensors())
    zero, adaptive = np.zeros(len(sizes)), np.zeros(len(sizes))
    counts = _counted(val, len(sizes))
    for s, size in enumerate(sizes):
        seen, wanted = ([_in_order(tile[s]) for tile in tiles if s < len(tile)] for tiles in (train, val))
        nothing = np.empty(0, np.int64)
        use = np.bincount(np.concatenate([nothing, *seen]), minlength=size) + 0.5
        zero[s] = -np.log2(use / use.sum())[np.concatenate([nothing, *wanted])].sum()
        tables = cluster_tables(seen, size, TABLES)
        bits = [option_bits(tables, symbols).min() + np.log2(len(tables) * len(STEPS)) for symbols in wanted]
        adaptive[s] = np.sum(bits)
    planes = [[np.array(plane, np.int32, order="C") for plane in tile] for tile in val]
    stream = 8 * sum(
        len(segment)
        for tiles, layers in _alike(planes, sizes)
        for segments in encode_tiles(model, tiles, layers)
        for segment in segments
    )
    return {
        "uniform": np.log2(np.array(sizes, np.float64)),
        "zero-order": zero / counts,
        "adaptive": adaptive / counts,
        "float": bits_per_index(prior, val, quantized=False),
        "rounded": bits_per_index(prior, val, quantized=True),
        "integer": integer_bits(model, planes) / counts,
        "stream": np.full(len(sizes), stream / counts.sum()),
    }


def integer_bits(model: ContextModel, tiles: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Ideal bits [S] of planes under the frequencies of a file, without the ends of streams."""
    total = np.zeros(len(model.sizes))
    for alike, layers in _alike(tiles, model.sizes):

        def all_but_this(
            tile: int, s: int, _: Sequence[np.ndarray], alike: list[list[np.ndarray]] = alike
        ) -> PlaneDistances:
            codes = alike[tile][s].reshape(-1)
            return lambda positions: (np.arange(model.sizes[s]) != codes[positions, None]).astype(np.float32)

        shapes = [tuple(plane.shape for plane in tile) for tile in alike]
        found = select_indices(model, all_but_this, np.zeros(len(model.sizes)), shapes, layers)
        total += np.sum([tile.plane_bits for tile in found], axis=0)
    return total


def _alike(
    tiles: Sequence[Sequence[np.ndarray]], sizes: Sequence[int]
) -> Iterator[tuple[list[list[np.ndarray]], tuple[tuple[int, ...], ...]]]:
    """Tiles grouped by their number of planes, filled up with MISSING, and one layer for each plane present."""
    for n in sorted({len(tile) for tile in tiles}):
        alike = [
            [*tile, *(np.full(tile[0].shape, MISSING, np.int32) for _ in sizes[n:])] for tile in tiles if len(tile) == n
        ]
        yield alike, tuple((s,) for s in range(n))


def _counted(tiles: Sequence[Tile], planes: int) -> np.ndarray:
    """Indices [S] of each plane in all tiles, at least 1."""
    found = [sum(np.size(tile[s]) for tile in tiles if s < len(tile)) for s in range(planes)]
    return np.maximum(found, 1).astype(np.float64)


@torch.no_grad()
def bits_per_index(prior: Prior, tiles: Sequence[Tile], quantized: bool | None = None) -> np.ndarray:
    """Mean bits [S] of each plane over tiles, with the network rounded or not by `quantized` (None: unchanged)."""
    before = [net.quantized for net in prior.nets()]
    for net in prior.nets():
        net.quantized = net.quantized if quantized is None else quantized
    coded, count = np.zeros(len(prior.coded_sizes)), _counted(tiles, len(prior.sizes))
    for tile in tiles:
        coded += [float(b.sum()) for b in prior([torch.from_numpy(plane)[None] for plane in prior.padded(tile)])]
    for net, was in zip(prior.nets(), before, strict=True):
        net.quantized = was
    starts = np.cumsum([0, *(len(split.sizes) for split in prior.splits[:-1])])
    return np.add.reduceat(coded, starts) / count


def _in_order(plane: np.ndarray) -> np.ndarray:
    """Symbols of a plane in coding order, without gaps."""
    codes = np.asarray(plane).reshape(-1)[scan(np.shape(plane))].astype(np.int64)
    return codes[codes >= 0]
