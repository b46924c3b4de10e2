"""Bits of a position of the luma means of blocks, picture by picture and by entropy model.

python -m benchmarks.means PICTURES... [-m photo] [-q 50]

Product VQ models: the means are the first plane. Models with a quantization step: those of blocks of a stride, coded as
wavelet coefficients in the first layer; the last two columns are of the means themselves, rounded to steps.

learned     the model's context model, tile by tile as in a file; with a step, over the whole picture
adaptive    adaptive tables, without prepared ones for product VQ
zero-order  entropy of the picture's own histogram; the cost of the histogram is not counted
MED         median edge detector of JPEG-LS (Weinberger, Seroussi and Sapiro 2000) over the means or the values of the
            codewords in order; entropy of its residuals in seven classes of activity, the cost of their histograms not
            counted
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import vqcodec
from vqcodec.config.quantizers import LARGEST
from vqcodec.entropy.adaptive_tables import AdaptiveTables
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.index_order import scan
from vqcodec.entropy.interface import EntropyModel
from vqcodec.entropy.scalar_context import ScalarContext, pass_bits
from vqcodec.entropy.scalar_known import KnownValues
from vqcodec.entropy.scalar_lowpass import in_steps
from vqcodec.geometry.rectangles import Rect, split
from vqcodec.models.identity import CODEBOOKS
from vqcodec.models.loading import Model, load_model
from vqcodec.models.registry import DEFAULT_MODEL
from vqcodec.tokens.tokens import Tokens, has_step
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


def plane_bits(model: Model, tokens: Tokens) -> tuple[float, float, float, float]:
    """Bits of the first plane of a product VQ model: learned, adaptive, zero-order, MED."""
    assert isinstance(model.entropy, ContextModel)
    size = model.entropy.sizes[0]
    tables = AdaptiveTables((size,))
    ranks = np.argsort(np.argsort(model.tensors[CODEBOOKS][0][:, 0]))
    plane = tokens.planes[0].astype(np.int32)
    tiles = [
        np.ascontiguousarray(plane[rect.slices])
        for rect in split(Rect(0, plane.shape[0], 0, plane.shape[1]), TILE_PX // model.stride)
    ]
    learned = integer_bits(model.entropy, [[tile] for tile in tiles])[0]
    adaptive = sum(tables.least_bits(0, tile.reshape(-1)[scan(tile.shape)]) for tile in tiles)
    return learned, adaptive, entropy(np.bincount(plane.ravel(), minlength=size)), med_bits(ranks[plane])


def layer_bits(model: Model, tokens: Tokens) -> tuple[float, float, float, float]:
    """Bits of luma in the first layer of a model with a quantization step: learned, adaptive, zero-order, MED."""
    context: EntropyModel | ScalarContext = model.entropy
    assert isinstance(context, ScalarContext)
    assert tokens.step is not None
    values = np.stack(tokens.planes[context.planes(0)]).astype(np.int32) - LARGEST
    bands = context.layers[0].split(values)
    known = KnownValues(context.layers, tokens.planes[0].shape)
    _, predicted = context.at(tokens.step).select(0, known, lambda part, *_: part.of(bands[part.band]))
    learned = sum(
        pass_bits(context.tables, found, found.part.of(bands[found.part.band]))
        for found in predicted
        if found.part.band.colour == 0
    )
    luma = [band for name, band in bands.items() if name.colour == 0 and band.size]
    adaptive = sum(context.adaptive.least_bits(0, band.reshape(-1) + LARGEST) for band in luma)
    means = in_steps(known.lowpass(0, context.layers[0].level_numbers[-1] - 1))
    zero_order = entropy(np.bincount((means - means.min()).ravel()))
    return learned, adaptive, zero_order, med_bits(means)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-m", "--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("-q", "--quality", type=int, default=50, help="default: %(default)s")
    given = parser.parse_args()
    model = load_model(given.model)
    if not has_step(model.config) and not isinstance(model.entropy, ContextModel):
        parser.error(f"{given.model}: has no context model")
    bits_of = layer_bits if has_step(model.config) else plane_bits
    print("| picture | file, bytes | learned | adaptive | zero-order | MED |\n|---|---|---|---|---|---|")
    for path in given.pictures:
        data = vqcodec.encode(path, given.model, quality=given.quality)
        tokens = vqcodec.decode_tokens(data)
        numbers = " | ".join(f"{bits / tokens.planes[0].size:.2f}" for bits in bits_of(model, tokens))
        print(f"| {path.name} | {len(data):,} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
