"""What the context model and the choice of indices under it save: BD-rates of one model's files, way against way.

    python benchmarks/contributions.py PICTURES... [-m photo] [--every 1]

Every way has the same networks and codebooks. Rates are those of whole files; needs the extra `eval`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import bjontegaard
import numpy as np
from rich.console import Console
from rich.table import Table

from vqcodec import api
from vqcodec.cli.eval_pictures import Reader, find
from vqcodec.encoding import Encoding
from vqcodec.entropy.tables import AdaptiveTables
from vqcodec.image import as_picture
from vqcodec.metrics import METRICS
from vqcodec.tiling import Rect
from vqcodec.tokens import write_tokens

WAYS = ("each index alone, adaptive tables", "context model", "choice in context", "effort 7", "effort 9")


class OtherTables:
    """A model with adaptive tables in place of its context model."""

    def __init__(self, model: object, sizes: tuple[int, ...]) -> None:
        self.config = model.config  # type: ignore[attr-defined]
        self.entropy = AdaptiveTables(sizes)


def points(pixels: np.ndarray, model: str) -> dict[str, list[tuple[float, float, float]]]:
    """Way -> (bits per pixel, PSNR, MS-SSIM in dB) at every rate of the ladder."""
    picture = as_picture(pixels)
    whole = Rect(0, picture.height, 0, picture.width)
    efforts = {1: Encoding(picture, model, effort=1), 5: Encoding(picture, model), 7: None, 9: None}
    for effort in (7, 9):
        efforts[effort] = Encoding(picture, model, effort=effort)
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for step in efforts[5].ladder:
        for way, effort in zip(WAYS, (1, 1, 5, 7, 9), strict=True):
            encoding = efforts[effort]
            tokens = encoding.tokens(step.rate)
            shown = api._render(tokens, encoding.model, whole).pixels
            if way == WAYS[0]:
                data = write_tokens(replace(tokens), OtherTables(encoding.model, encoding.model.entropy.sizes))
            else:
                data = encoding.file(step.rate)
            similar = -10 * np.log10(1 - METRICS["ms-ssim"].measure(pixels, shown))
            rate = 8 * len(data) / (picture.width * picture.height)
            found[way].append((rate, METRICS["psnr"].measure(pixels, shown), similar))
    return found


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-m", default="photo")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture of each subset")
    arguments = parser.parse_args()
    reader = Reader(find(arguments.pictures), None, None, True)
    pictures = [pixels for i, (_, pixels) in enumerate(reader) if i % arguments.every == 0]
    curves = [points(pixels, arguments.m) for pixels in pictures]
    table = Table(title=f"{arguments.m}, {len(pictures)} pictures: BD-rate against {WAYS[0]}")
    for title in ("way", "PSNR", "MS-SSIM"):
        table.add_column(title)
    for way in WAYS[1:]:
        cells = []
        for column in (1, 2):
            rates = []
            for curve in curves:
                anchor, tested = sorted(curve[WAYS[0]]), sorted(curve[way])
                ends = [[p[0] for p in anchor], [p[column] for p in anchor], [p[0] for p in tested]]
                rates.append(
                    bjontegaard.bd_rate(
                        *ends, [p[column] for p in tested], method="pchip", require_matching_points=False
                    )
                )
            cells.append(f"{np.mean(rates):+.1f} %")
        table.add_row(way, *cells)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
