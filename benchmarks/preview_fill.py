"""Substitutes for the missing layers of a preview: the learned fill, or the expectation of the context model.

    python benchmarks/preview_fill.py PICTURES... -m MODEL [--rates 4,1] [--keeps 1,2,4,8] [--every 1]

The context model continues from the present layers. A missing plane is replaced by the mean codeword under its
frequencies and marked as kept for the decoder; later planes are conditioned on its most likely indices, or on nothing.
The next layer, the next four or all are replaced.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vqcodec.encoder.build import encoder_for
from vqcodec.encoder.codeword_distances import CodewordDistances
from vqcodec.encoder.index_encoder import IndexEncoder
from vqcodec.entropy.interface import EntropyModel
from vqcodec.evaluation.pictures import PictureReader, find
from vqcodec.image.files import as_picture
from vqcodec.inference.torch_networks import to_array
from vqcodec.metrics import METRICS
from vqcodec.models.loading import Model
from vqcodec.planes import MISSING, Planes


class Expectation:
    """A coder that keeps the first `known` planes and records the mean codeword of every later index.

    Later indices become the most likely one, or MISSING without `feeds`. Alphabets must not be split.
    """

    def __init__(
        self, model: EntropyModel, shape: tuple[int, ...], codebooks: Sequence[np.ndarray], known: int, feeds: bool
    ) -> None:
        if any(model.split(s).low for s in range(len(codebooks))):
            raise ValueError("planes coded as two symbols have no frequencies of whole indices")
        self.positions, self.codebooks, self.known, self.feeds = model.order(shape), codebooks, known, feeds
        self.means = [np.zeros((len(self.positions), book.shape[1])) for book in codebooks]
        self.s = self.done = 0

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        """Record and fill `symbols` int32 [n], all with one table of frequencies [K]."""
        self.code_rows(np.broadcast_to(table, (len(symbols), len(table))), symbols)

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        """Record and fill `symbols` int32 [n], each with its row of frequencies [n, K]."""
        if not len(symbols):
            return
        here = self.positions[self.done : self.done + len(symbols)]
        if self.s >= self.known:
            shares = rows / rows.sum(1, keepdims=True)
            self.means[self.s][here] = shares @ self.codebooks[self.s]
            symbols[:] = rows.argmax(1) if self.feeds else MISSING
        self.done += len(symbols)
        if self.done == len(self.positions):
            self.s, self.done = self.s + 1, 0

    def code_choice(self, options: int, decide: Callable[[], int]) -> int:
        """The number that `decide` returns."""
        return decide()

    def end_layer(self) -> None:
        """Layers have no effect."""


def expected(
    model: EntropyModel, planes: Planes, codebooks: Sequence[np.ndarray], known: int, feeds: bool
) -> list[np.ndarray]:
    """Mean codewords [d, h, w] of each plane of one tile after the first `known`, whose entries are zero."""
    coder = Expectation(model, planes[0].shape, codebooks, known, feeds)
    copies = [np.array(plane, np.int32, order="C") for plane in planes]
    model.code_tiles([coder], [copies], [[s] for s in range(len(planes))])
    return [mean.T.reshape(-1, *planes[0].shape) for mean in coder.means]


@torch.inference_mode()
def decode_with_means(
    model: Model, planes: Planes, known: int, means: Sequence[np.ndarray], wanted: int, size: tuple[int, int]
) -> np.ndarray:
    """Pixels uint8 [H, W, 3] of `size` (H, W): `known` planes, `wanted` more from `means`, the rest from the fill."""
    quantizer = model.tokenizer.quantizer
    given = [torch.from_numpy(p.astype(np.int64))[None] for p in planes]
    given = [p if s < known else torch.full_like(p, MISSING) for s, p in enumerate(given)]
    z_q, kept = (part.clone() for part in quantizer.dequantize(given))
    spans, groups = CodewordDistances(quantizer.arrays()).spans, quantizer.groups
    for s in range(known, min(known + wanted, len(planes))):
        mean = torch.from_numpy(means[s].astype(np.float32))
        z_q[0, spans[s]] = mean if s < groups else z_q[0, spans[s]] + mean
        if s < groups:
            kept[0, s] = 1
    return to_array(model.tokenizer.decoder(z_q, kept))[0, : size[0], : size[1]]


VARIANTS: dict[str, tuple[bool, int]] = {
    "learned fill": (True, 0),
    "next": (True, 1),
    "next four": (True, 4),
    "all": (True, 99),
    "next four, unconditioned": (False, 4),
    "all, unconditioned": (False, 99),
}
"""Variant -> (condition later planes on the most likely indices, number of layers replaced by their mean)."""


def measure(pixels: np.ndarray, model: str, rates: Sequence[float], keeps: Sequence[int]) -> np.ndarray:
    """PSNR and MS-SSIM [rates, keeps, ways, 2]."""
    encoder = encoder_for(as_picture(pixels), model)
    assert isinstance(encoder, IndexEncoder)
    codebooks = CodewordDistances(encoder.model.product).codebooks
    found = np.empty((len(rates), len(keeps), len(VARIANTS), 2))
    for i, rate in enumerate(rates):
        planes = list(encoder.tokens(rate).planes)
        for j, known in enumerate(keeps):
            means = {feeds: _over_tiles(encoder, planes, codebooks, known, feeds) for feeds in (True, False)}
            for w, (feeds, wanted) in enumerate(VARIANTS.values()):
                decoded = decode_with_means(encoder.model, planes, known, means[feeds], wanted, pixels.shape[:2])
                found[i, j, w] = [METRICS[name].measure(pixels, decoded) for name in ("psnr", "ms-ssim")]
    return found


def _over_tiles(
    encoder: IndexEncoder, planes: Planes, codebooks: Sequence[np.ndarray], known: int, feeds: bool
) -> list[np.ndarray]:
    means = [np.empty((book.shape[1], *planes[0].shape)) for book in codebooks]
    for tile in encoder.tiles:
        parts = expected(encoder.model.entropy, [p[tile.slices] for p in planes], codebooks, known, feeds)
        for mean, part in zip(means, parts, strict=True):
            mean[:, *tile.slices] = part
    return means


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-m", required=True, help="a model with a product vector quantizer")
    parser.add_argument("--rates", default="4,1")
    parser.add_argument("--keeps", default="1,2,4,8", help="numbers of present layers")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture")
    parser.add_argument("--count", type=int, default=6, help="pictures at most")
    arguments = parser.parse_args()
    rates, keeps = [float(v) for v in arguments.rates.split(",")], [int(v) for v in arguments.keeps.split(",")]
    sources = find(arguments.pictures)[:: arguments.every][: arguments.count]
    found = [measure(pixels, arguments.m, rates, keeps) for _, pixels in PictureReader(sources, max_pixels=None)]
    means = np.mean(found, axis=0)
    table = Table(title=f"{arguments.m}, {len(found)} pictures: PSNR dB / MS-SSIM by substitute for missing layers")
    for title in ("rate", "layers", *VARIANTS):
        table.add_column(title)
    for i, rate in enumerate(rates):
        for j, keep in enumerate(keeps):
            table.add_row(f"{rate:g}", str(keep), *(f"{p:.2f} / {m:.4f}" for p, m in means[i, j]))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
