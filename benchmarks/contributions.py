"""What the context model saves, and what each way to choose under it: BD-rates of one model's files, way against way.

    python benchmarks/contributions.py PICTURES... --tables TRAIN... [-m photo] [--every 1]

Every way has the same networks and codebooks. Rates are those of whole files; needs the extra `eval`. The adaptive
tables start from those fitted to the indices of other pictures, `--tables`, as they would in a model that has them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from vqcodec import container
from vqcodec.config.model import ModelConfig
from vqcodec.decoder import render
from vqcodec.encoder.build import encoder_for
from vqcodec.encoder.index_encoder import IndexEncoder
from vqcodec.encoder.selectors import IndividualSelector
from vqcodec.entropy.adaptive_tables import AdaptiveTables
from vqcodec.evaluation.bd_rate import Curve
from vqcodec.evaluation.bd_rate import bd_rate as bd_rate_of
from vqcodec.evaluation.pictures import PictureReader, find
from vqcodec.geometry.rectangles import Rect
from vqcodec.image.files import as_picture
from vqcodec.metrics import METRICS
from vqcodec.models.loading import load_model
from vqcodec.tokens.tokens import read_tokens, write_tokens
from vqcodec.train.data.pictures import scan
from vqcodec.train.export import prepared_tables, rates_of

WAYS = {
    "each index alone, adaptive tables": 5,
    "each index alone, context model": 5,
    "choice in context": 5,
    "corrected by the decoder (effort 6)": 6,
    "layers left out (effort 7)": 7,
    "effort 9": 9,
}
"""Efforts. Each way has what the one before it has; the first is what the others are compared with."""
ALONE = tuple(WAYS)[:2]
"""What no effort does: a context model is made for indices that were chosen under it."""
ANCHOR = next(iter(WAYS))
TABLE_PICTURES = 48
"""Most that the tables are fitted to."""


@dataclass(frozen=True)
class OtherTables:
    """A model with adaptive tables in place of its context model."""

    config: ModelConfig
    entropy: AdaptiveTables


def fitted(name: str, train: Sequence[str]) -> OtherTables:
    """Tables counted over some of the pictures in `train`, evenly spaced, at the rates of the ladder in turn."""
    model = load_model(name)
    pictures = scan(tuple(train), model.stride)
    some = pictures.members[:: -(-len(pictures.members) // TABLE_PICTURES)]
    tables = prepared_tables(model.tokenizer, replace(pictures, members=some), rates_of(model.config))
    return OtherTables(model.config, AdaptiveTables(model.entropy.sizes, tables))


def points(
    pixels: np.ndarray, model: str, other: OtherTables, stride: int
) -> dict[str, list[tuple[float, float, float]]]:
    """Way -> (bits per pixel, PSNR, MS-SSIM in dB) at every `stride`-th rate of the ladder."""
    picture = as_picture(pixels)
    whole = Rect(0, picture.height, 0, picture.width)
    encoders = {way: encoder_for(picture, model, effort=effort) for way, effort in WAYS.items()}
    for way in ALONE:
        encoder = encoders[way]
        assert isinstance(encoder, IndexEncoder)
        encoder.final = IndividualSelector(encoder.model)
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for step in encoders[ANCHOR].ladder[::stride]:
        for way, encoder in encoders.items():
            data = encoder.file(step.rate, step.keep)
            tokens = read_tokens(container.read(data), encoder.model)
            if way == ANCHOR:
                data = write_tokens(tokens, other)
            shown = render(tokens, encoder.model, whole).pixels
            similar = -10 * np.log10(1 - METRICS["ms-ssim"].measure(pixels, shown))
            rate = 8 * len(data) / (picture.width * picture.height)
            found[way].append((rate, METRICS["psnr"].measure(pixels, shown), similar))
    return found


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-m", default="photo")
    parser.add_argument("--tables", nargs="+", required=True, help="other pictures: folders or tar shards")
    parser.add_argument("--steps", type=int, default=1, help="take every n-th step of the ladder")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture")
    parser.add_argument("--count", type=int, default=1000, help="pictures at most")
    arguments = parser.parse_args()
    other = fitted(arguments.m, arguments.tables)
    sources = find(arguments.pictures)[:: arguments.every][: arguments.count]
    reader = PictureReader(sources, max_pixels=None)
    curves = [points(pixels, arguments.m, other, arguments.steps) for _, pixels in reader]
    table = Table(title=f"{arguments.m}, {len(curves)} pictures: BD-rate against {ANCHOR}")
    for title in ("way", "PSNR", "MS-SSIM"):
        table.add_column(title)
    for way in list(WAYS)[1:]:
        saved = [np.mean([bd_rate(curve[ANCHOR], curve[way], column) for curve in curves]) for column in (1, 2)]
        table.add_row(way, *(f"{value:+.1f} %" for value in saved))
    Console(width=100).print(table)


def bd_rate(anchor: list[tuple[float, float, float]], tested: list[tuple[float, float, float]], column: int) -> float:
    """BD-rate in percent over the common qualities, nan if there are none; column 1 is PSNR, 2 MS-SSIM in dB."""
    found = bd_rate_of(*(Curve.of((point[0], point[column]) for point in curve) for curve in (anchor, tested)))
    return math.nan if found is None else found[0]


if __name__ == "__main__":
    main()
