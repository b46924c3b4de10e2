"""BD-rates of the parts of index selection: context model, selection under it, latent refinement, adaptive layers.

    python benchmarks/contributions.py PICTURES... --tables TRAIN... -m MODEL [--every 1]

All variants use the same networks and codebooks. Rates are those of whole files. Adaptive tables start from tables
fitted to the indices of other images (`--tables`), as in an exported model. Needs the extra `eval`.
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
from vqcodec.tokens.reading import read_tokens
from vqcodec.tokens.tokens import write_tokens
from vqcodec.train.data.pictures import scan
from vqcodec.train.export import prepared_tables, rates_of

VARIANTS = {
    "independent selection, adaptive tables": 5,
    "independent selection, context model": 5,
    "selection in context (effort 5)": 5,
    "latent refinement (effort 6)": 6,
    "adaptive layers (effort 7)": 7,
    "effort 9": 9,
}
"""Variant -> effort. Each variant adds a part to the one before it; the first is the anchor."""
ALONE = tuple(VARIANTS)[:2]
"""Variants without selection in context; no effort of the encoder does this."""
ANCHOR = next(iter(VARIANTS))
TABLE_PICTURES = 48
"""Most images that the tables are fitted to."""


@dataclass(frozen=True)
class OtherTables:
    """A model whose context model is replaced by adaptive tables."""

    config: ModelConfig
    entropy: AdaptiveTables


def fitted(name: str, train: Sequence[str]) -> OtherTables:
    """The model with tables counted over evenly spaced images of `train`, at the rates of the ladder in turn."""
    model = load_model(name)
    pictures = scan(tuple(train), model.stride)
    some = pictures.members[:: -(-len(pictures.members) // TABLE_PICTURES)]
    tables = prepared_tables(model.tokenizer, replace(pictures, members=some), rates_of(model.config))
    return OtherTables(model.config, AdaptiveTables(model.entropy.sizes, tables))


def points(
    pixels: np.ndarray, model: str, other: OtherTables, stride: int
) -> dict[str, list[tuple[float, float, float]]]:
    """Variant -> (bits per pixel, PSNR, MS-SSIM in dB) at every `stride`-th rate of the ladder."""
    picture = as_picture(pixels)
    whole = Rect(0, picture.height, 0, picture.width)
    encoders = {variant: encoder_for(picture, model, effort=effort) for variant, effort in VARIANTS.items()}
    for variant in ALONE:
        encoder = encoders[variant]
        assert isinstance(encoder, IndexEncoder)
        encoder.final_selector = IndividualSelector(encoder.model)
    found: dict[str, list[tuple[float, float, float]]] = {variant: [] for variant in VARIANTS}
    for step in encoders[ANCHOR].ladder[::stride]:
        for variant, encoder in encoders.items():
            data = encoder.file(step.lmbda, step.keep)
            tokens = read_tokens(container.read(data), encoder.model)
            if variant == ANCHOR:
                data = write_tokens(tokens, other)
            decoded = render(tokens, encoder.model, whole).pixels
            similar = -10 * np.log10(1 - METRICS["ms-ssim"].measure(pixels, decoded))
            rate = 8 * len(data) / (picture.width * picture.height)
            found[variant].append((rate, METRICS["psnr"].measure(pixels, decoded), similar))
    return found


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-m", required=True, help="a model with a product vector quantizer")
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
    for title in ("variant", "PSNR", "MS-SSIM"):
        table.add_column(title)
    for variant in list(VARIANTS)[1:]:
        saved = [np.mean([bd_rate(curve[ANCHOR], curve[variant], column) for curve in curves]) for column in (1, 2)]
        table.add_row(variant, *(f"{value:+.1f} %" for value in saved))
    Console(width=100).print(table)


def bd_rate(anchor: list[tuple[float, float, float]], tested: list[tuple[float, float, float]], column: int) -> float:
    """BD-rate in percent over the common qualities, nan if there are none; column 1 is PSNR, 2 MS-SSIM in dB."""
    found = bd_rate_of(*(Curve.of((point[0], point[column]) for point in curve) for curve in (anchor, tested)))
    return math.nan if found is None else found[0]


if __name__ == "__main__":
    main()
