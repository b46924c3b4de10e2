"""Whether dropping trailing layers block by block would beat a higher rate: an estimate that leans towards dropping.

    python benchmarks/adaptive_keep.py PICTURES... [-m photo] [--rates 16,8,4,2,1] [--blocks 4,8] [--every 1]

Each block of the token grid keeps as many layers as minimise distortion + slope * bits; those of the best of several
slopes are shown by the decoder with its fill. First, what the other tokens cost is taken to stay as it is though they
lose context, and the map of kept layers costs its entropy and no tables; then both are what they would be in a file of
today's context model, which has not been trained with gaps, and of adaptive counts. Distortion is
either that of the latent, in the units that indices are chosen by, or that of the pixels when every block keeps as
much. Printed: what is gained at equal bytes over a line through the model's own ladder.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vqcodec import container
from vqcodec.cli.eval_pictures import Reader, find
from vqcodec.compute import planes_to_pixels
from vqcodec.config import MISSING
from vqcodec.encoding import Encoding
from vqcodec.entropy import EntropyModel, Planes
from vqcodec.image import as_picture
from vqcodec.metrics import METRICS
from vqcodec.tiling import Rect
from vqcodec.tokens import read_tokens

SLOPES = (0.35, 0.7, 1.0, 1.4)
"""Worth of a bit for dropping, as a share of what it is worth to the ladder there."""
ROUNDS = 8
"""Of choosing and counting again what each entry of the map costs."""


class BitCounter:
    """A coder that codes nothing and notes what each index [S][positions] costs."""

    def __init__(self, model: EntropyModel, shapes: Sequence[tuple[int, ...]]) -> None:
        self.positions = [model.order(tuple(shape)) for shape in shapes]
        self.bits = [np.zeros(len(order)) for order in self.positions]
        parts = [(s, len(model.split(s).sizes)) for s in range(len(shapes))]
        self.order = [s for s, n in parts for _ in range(n)]
        self.done = 0

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        self.code_rows(np.broadcast_to(table, (len(symbols), len(table))), symbols)

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        if not len(symbols):
            return
        s = self.order[0]
        here = self.positions[s][self.done : self.done + len(symbols)]
        of_symbols = rows[np.arange(len(symbols)), symbols].astype(np.float64)
        bits = np.log2(rows.sum(1, dtype=np.float64)) - np.log2(of_symbols)
        self.bits[s][here] += np.where(symbols == MISSING, 0, bits)
        self.done += len(symbols)
        if self.done == len(self.positions[s]):
            self.order, self.done = self.order[1:], 0

    def choose(self, options: int, decide: Callable[[], int]) -> int:
        return decide()

    def end_layer(self) -> None:
        """Layers make no difference here."""


def bits_of(model: EntropyModel, planes: Planes) -> np.ndarray:
    """Bits [S, h, w] of the indices of one tile, none for MISSING; all planes are grids of one shape."""
    coder = BitCounter(model, [plane.shape for plane in planes])
    copies = [np.array(plane, np.int32, order="C") for plane in planes]
    model.code_tiles([coder], [copies], [[s] for s in range(len(planes))])
    return np.stack(coder.bits).reshape(len(planes), *planes[0].shape)


def by_block(values: np.ndarray, side: int) -> np.ndarray:
    """[..., h, w] -> sums over blocks [..., rows, columns]."""
    rows, columns = (np.arange(0, length, side) for length in values.shape[-2:])
    return np.add.reduceat(np.add.reduceat(values, rows, -2), columns, -1)


def entropy(symbols: np.ndarray) -> float:
    """Bits of all symbols under their own frequencies."""
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def map_bits(kept: np.ndarray, n_layers: int) -> float:
    """Bits of the map of kept layers when each entry is coded by the counts of those before it.

    Not by `AdaptiveTables`: these learn after every 32 symbols, when a small map is all but over.
    """
    prior, counts = 0.3, np.bincount(kept, minlength=n_layers + 1)
    everything = math.lgamma(len(kept) + prior * len(counts)) - math.lgamma(prior * len(counts))
    return (everything - sum(math.lgamma(n + prior) - math.lgamma(prior) for n in counts)) / math.log(2)


def kept_layers(distortion: np.ndarray, bits: np.ndarray, slope: float) -> np.ndarray:
    """How many layers each block keeps, 0..S.

    `distortion` [S + 1, blocks] when so many are kept, `bits` [S, blocks] of each layer.
    """
    spent = np.concatenate([np.zeros((1, bits.shape[1])), np.cumsum(bits, 0)])
    cost = distortion + slope * spent
    found = cost.argmin(0)
    for _ in range(ROUNDS):
        counts = np.bincount(found, minlength=len(cost)) + 1e-3
        found = (cost - slope * np.log2(counts / counts.sum())[:, None]).argmin(0)
    return found


def at_rate(points: Sequence[tuple[float, float]], n_bytes: float) -> float:
    """Quality at `n_bytes` on straight lines through points (bytes, quality) over the logarithm of bytes."""
    known = sorted(points)
    return float(np.interp(np.log(n_bytes), np.log([p[0] for p in known]), [p[1] for p in known]))


@dataclass
class Shown:
    """A picture as the decoder shows it."""

    n_bytes: float
    psnr: float
    similar: float
    """MS-SSIM in dB."""
    squares: float
    """Sum of squared errors over pixels and colours."""


class Subject:
    """One picture under one model."""

    def __init__(self, pixels: np.ndarray, model: str, rates: Sequence[float]) -> None:
        self.pixels = pixels
        self.encoding = Encoding(as_picture(pixels), model, effort=5)
        self.model = self.encoding.model
        steps = {step.rate for step in self.encoding.ladder}
        # Beyond the last step, so that there is a line to compare with below the smallest file.
        steps |= {2**0.5 * max(steps), 2 * max(steps), *rates}
        self.ladder = {rate: self.show(self.planes(rate), len(self.encoding.file(rate))) for rate in sorted(steps)}

    def planes(self, rate: float) -> tuple[np.ndarray, ...]:
        """What the file of `rate` holds."""
        return read_tokens(container.read(self.encoding.file(rate)), self.model).planes

    def decoded(self, planes: Sequence[np.ndarray]) -> np.ndarray:
        """Pixels uint8 [H, W, 3]."""
        h, w = self.pixels.shape[:2]
        return planes_to_pixels(self.model, list(planes), Rect(0, h, 0, w))

    def squares(self, found: np.ndarray) -> np.ndarray:
        """Sum of squared errors over the colours, [H, W]."""
        sums: np.ndarray = np.square(found.astype(np.float64) - self.pixels).sum(-1)
        return sums

    def show(self, planes: Sequence[np.ndarray], n_bytes: float) -> Shown:
        """`planes`, MISSING where dropped, as the decoder shows them."""
        found = self.decoded(planes)
        similar = -10 * np.log10(1 - METRICS["ms-ssim"].measure(self.pixels, found))
        return Shown(n_bytes, METRICS["psnr"].measure(self.pixels, found), similar, self.squares(found).sum())

    def gains(
        self, rate: float, sides: Sequence[int]
    ) -> Iterator[tuple[int, str, float, float, float, float, float, float]]:
        """Ways to drop: (side, distortion, slope, dB of PSNR, dB of MS-SSIM, share of bytes saved, layers kept, dB of
        PSNR with all costs).
        """
        planes = self.planes(rate)
        bits = self._bits(planes)
        whole, n_layers = self.ladder[rate], len(planes)
        curves = {kind: [(p.n_bytes, getattr(p, kind)) for p in self.ladder.values()] for kind in ("psnr", "similar")}
        for name, distortion, step, worth in (
            ("latent", self._of_latent(planes), 1, rate),
            ("pixels", self._of_pixels(planes), self.model.stride, self._worth(rate)),
        ):
            for side, slope in itertools.product(sides, SLOPES):
                blocks, spent = by_block(distortion, side * step), by_block(bits, side)
                kept = kept_layers(blocks.reshape(n_layers + 1, -1), spent.reshape(n_layers, -1), worth * slope)
                grid = kept.reshape(spent.shape[1:]).repeat(side, 0).repeat(side, 1)
                gone = grid[None, : bits.shape[1], : bits.shape[2]] <= np.arange(n_layers)[:, None, None]
                n_bytes = whole.n_bytes + (entropy(kept) - bits[gone].sum()) / 8
                dropped = [np.where(mask, MISSING, p) for mask, p in zip(gone, planes, strict=True)]
                shown = self.show(dropped, n_bytes)
                psnr, similar = (getattr(shown, kind) - at_rate(curve, n_bytes) for kind, curve in curves.items())
                saved = bits.sum() - self._bits(dropped).sum() - map_bits(kept, n_layers)
                real = shown.psnr - at_rate(curves["psnr"], whole.n_bytes - saved / 8)
                yield side, name, slope, psnr, similar, 1 - n_bytes / whole.n_bytes, float(kept.mean()), real

    def _bits(self, planes: Sequence[np.ndarray]) -> np.ndarray:
        """[S, h, w] of all tiles."""
        bits = np.empty((len(planes), *self.encoding.grid))
        for tile in self.encoding.tiles():
            bits[:, *tile.slices] = bits_of(self.model.entropy, [plane[tile.slices] for plane in planes])
        return bits

    @torch.inference_mode()
    def _of_latent(self, planes: Sequence[np.ndarray]) -> np.ndarray:
        """[S + 1, h, w]: squared distance of the latent in bits at rate 1, so many layers kept."""
        quantizer, latent = self.model.tokenizer.quantizer, self.encoding._latent
        assert latent is not None
        groups = quantizer.groups
        price = np.repeat(np.maximum(latent.prices[:groups], 1e-12), quantizer.widths)[:, None, None]
        nothing = torch.zeros((1, groups, *self.encoding.grid))
        shown = quantizer.mask(torch.zeros((1, len(price), *self.encoding.grid)), nothing)[0].double().cpu().numpy()
        found = [(np.square(latent.values - shown) / price).sum(0)]
        for s, plane in enumerate(planes):
            span, code = latent.codewords.spans[s], np.moveaxis(latent.codewords.codebooks[s][plane], -1, 0)
            shown[span] = code if s < groups else shown[span] + code
            found.append((np.square(latent.values - shown) / price).sum(0))
        return np.stack(found)

    def _of_pixels(self, planes: Sequence[np.ndarray]) -> np.ndarray:
        """[S + 1, H, W]: squared errors of the pixels when all blocks keep so many layers."""
        found = []
        for k in range(len(planes) + 1):
            shown = [p if s < k else np.full_like(p, MISSING) for s, p in enumerate(planes)]
            found.append(self.squares(self.decoded(shown)))
        return np.stack(found)

    def _worth(self, rate: float) -> float:
        """Squared errors of pixels that the ladder gives for a bit about here."""
        rates = list(self.ladder)
        i = rates.index(rate)
        fine, coarse = (self.ladder[rates[j]] for j in (max(i - 1, 0), min(i + 1, len(rates) - 1)))
        bits = 8 * (fine.n_bytes - coarse.n_bytes)
        return (coarse.squares - fine.squares) / max(bits, 1)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-m", default="photo")
    parser.add_argument("--rates", default="16,8,4,2,1")
    parser.add_argument("--blocks", default="4,8", help="sides, tokens")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture")
    parser.add_argument("--count", type=int, default=6, help="pictures at most")
    arguments = parser.parse_args()
    rates = [float(v) for v in arguments.rates.split(",")]
    sides = [int(v) for v in arguments.blocks.split(",")]
    sources = find(arguments.pictures)[:: arguments.every][: arguments.count]
    subjects = [Subject(pixels, arguments.m, rates) for _, pixels in Reader(sources, None, None, True)]
    table = Table(
        title=f"{arguments.m}, {len(subjects)} pictures: best slope each; gain over the ladder at equal bytes"
    )
    for title in (
        "rate",
        "block",
        "distortion",
        "slope",
        "PSNR dB",
        "MS-SSIM dB",
        "bytes saved",
        "layers kept",
        "PSNR dB, all costs",
    ):
        table.add_column(title)
    for rate in rates:
        found = [list(subject.gains(rate, sides)) for subject in subjects]
        for side, name in itertools.product(sides, ("latent", "pixels")):
            means = np.mean([[row[2:] for row in rows if row[:2] == (side, name)] for rows in found], axis=0)
            slope, psnr, similar, saved, kept, _ = means[means[:, 1].argmax()]
            cells = [f"{rate:g}", str(side), name, f"{slope:g}", f"{psnr:+.3f}", f"{similar:+.3f}"]
            table.add_row(*cells, f"{saved:.1%}", f"{kept:.1f}", f"{means[:, 5].max():+.3f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
