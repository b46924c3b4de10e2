"""Bits of a position of the first plane, the luma means of blocks, picture by picture and by entropy model.

python -m benchmarks.means PICTURES... -m MODEL [-q 50]

learned     the model's context model, tile by tile as in a file
adaptive    adaptive tables without prepared ones, tile by tile
zero-order  entropy of the picture's own histogram; the cost of the histogram is not counted
MED         median edge detector of JPEG-LS (Weinberger, Seroussi and Sapiro 2000) over the values of the codewords in
            order; entropy of its residuals in seven classes of activity, the cost of their histograms not counted
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import vqcodec
from vqcodec.entropy.adaptive_tables import AdaptiveTables
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.index_order import scan
from vqcodec.geometry.rectangles import Rect, split
from vqcodec.models.identity import CODEBOOKS
from vqcodec.models.loading import load_model
from vqcodec.train.prior.report import integer_bits

TILE_PX = 512
CLASSES = 7


def entropy(counts: np.ndarray) -> float:
    """Bits of all symbols with `counts` under their own histogram."""
    seen = counts[counts > 0].astype(np.float64)
    return float((seen * np.log2(seen.sum() / seen)).sum())


def med_bits(values: np.ndarray) -> float:
    """Bits of integers [h, w] by the residuals of the median edge detector, in classes of activity."""
    wide = np.pad(values.astype(np.int64), ((1, 0), (1, 1)), mode="edge")
    left, above, corner, right = wide[1:, :-2], wide[:-1, 1:-1], wide[:-1, :-2], wide[:-1, 2:]
    low, high = np.minimum(left, above), np.maximum(left, above)
    guess = np.where(corner >= high, low, np.where(corner <= low, high, left + above - corner))
    activity = abs(left - corner) + abs(above - corner) + abs(right - above)
    ends = np.quantile(activity, np.arange(1, CLASSES) / CLASSES)
    classes, residual = np.searchsorted(ends, activity), values - guess
    return sum(entropy(np.unique(residual[classes == k], return_counts=True)[1]) for k in range(CLASSES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-m", "--model", required=True, help="a model with a product vector quantizer")
    parser.add_argument("-q", "--quality", type=int, default=50, help="default: %(default)s")
    given = parser.parse_args()
    model = load_model(given.model)
    if not isinstance(model.entropy, ContextModel):
        parser.error(f"{given.model}: has no context model")
    size = model.entropy.sizes[0]
    tables = AdaptiveTables((size,))
    ranks = np.argsort(np.argsort(model.tensors[CODEBOOKS][0][:, 0]))
    print("| picture | file, bytes | learned | adaptive | zero-order | MED |\n|---|---|---|---|---|---|")
    for path in given.pictures:
        data = vqcodec.encode(path, given.model, quality=given.quality)
        plane = vqcodec.decode_tokens(data).planes[0].astype(np.int32)
        tiles = [
            np.ascontiguousarray(plane[rect.slices])
            for rect in split(Rect(0, plane.shape[0], 0, plane.shape[1]), TILE_PX // model.stride)
        ]
        learned = integer_bits(model.entropy, [[tile] for tile in tiles])[0]
        adaptive = sum(tables.least_bits(0, tile.reshape(-1)[scan(tile.shape)]) for tile in tiles)
        each = (learned, adaptive, entropy(np.bincount(plane.ravel(), minlength=size)), med_bits(ranks[plane]))
        numbers = " | ".join(f"{bits / plane.size:.2f}" for bits in each)
        print(f"| {path.name} | {len(data):,} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
