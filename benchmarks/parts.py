"""BD-rates of a model with a quantization step without one of its parts, against the whole.

    python -m benchmarks.parts PICTURES... [-m photo] [--steps 4]

The weights are the same everywhere and were trained with all parts: a model trained without one would lose less.
PICTURES are of at most one access tile. Needs the extra `eval`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.contributions import bd_rate
from vqcodec import container
from vqcodec.config.effort import EFFORT, ONE_PASS
from vqcodec.config.quantizers import LARGEST, STEPS
from vqcodec.encoder.build import encoder_for
from vqcodec.encoder.scalar_encoder import ScalarEncoder
from vqcodec.entropy.scalar_context import ScalarContext
from vqcodec.entropy.tile_segments import encode_tile
from vqcodec.image.files import as_picture
from vqcodec.metrics import METRICS
from vqcodec.models.loading import Model, load_model
from vqcodec.models.registry import DEFAULT_MODEL
from vqcodec.tokenizer import to_pixels
from vqcodec.tokens.reading import read_tokens
from vqcodec.tokens.tokens import Tokens, write_tokens
from vqcodec.transforms.steps import coordinate

Point = tuple[float, float, float]
"""Bits per pixel, PSNR, MS-SSIM in dB."""
WHOLE = "whole"
MIDDLE = STEPS // 2 - 8
"""Step number of the middle of the ladder of `photo`."""


def adaptive_bytes(context: ScalarContext, tokens: Tokens) -> int:
    """Bytes of the values by adaptive tables, band by band."""
    bits = 0.0
    for k, layer in enumerate(context.layers):
        values = np.stack(tokens.planes[context.planes(k)])
        bits += sum(
            context.adaptive.least_bits(0, band.reshape(-1)) for band in layer.split(values).values() if band.size
        )
    return int(bits / 8)


def decoded(model: Model, tokens: Tokens, told: int, network: bool = True) -> np.ndarray:
    """Pixels uint8 [H, W, 3] of a decoder that is told the step number `told`, or of the transform alone."""
    with torch.inference_mode():
        planes = [torch.from_numpy(plane.astype(np.int64))[None] for plane in tokens.planes]
        z_q, kept = model.tokenizer.quantizer.dequantize(planes, tokens.step)  # type: ignore[call-arg]
        kept[:, -1] = coordinate(told)
        decoder = model.tokenizer.decoder
        y = decoder(z_q, kept) if network else decoder.picture(z_q)  # type: ignore[operator]
        found: np.ndarray = to_pixels(y)[0, :, : tokens.height, : tokens.width].permute(1, 2, 0).numpy()
    return found


def points(pixels: np.ndarray, model: Model, every: int) -> dict[str, list[Point]]:
    """Points of each variant at every `every`-th step of the ladder."""
    picture = as_picture(pixels)
    context = model.entropy
    whole, plain = (encoder_for(picture, model.config.name, effort=effort) for effort in (EFFORT, ONE_PASS))
    assert isinstance(plain, ScalarEncoder)
    assert isinstance(context, ScalarContext)
    found: dict[str, list[Point]] = {}

    def add(variant: str, n_bytes: int, shown: np.ndarray) -> None:
        similar = -10 * np.log10(1 - METRICS["ms-ssim"].measure(pixels, shown))
        rate = 8 * n_bytes / (picture.width * picture.height)
        found.setdefault(variant, []).append((rate, METRICS["psnr"].measure(pixels, shown), similar))

    for rung in model.config.ladder[::every]:
        data = whole.file(rung.lmbda, rung.keep)
        tokens = read_tokens(container.read(data), model)
        assert tokens.step is not None
        segments = encode_tile(context.at(tokens.step), list(tokens.planes), model.layers)
        others = len(data) - sum(map(len, segments))
        shown = decoded(model, tokens, tokens.step)
        add(WHOLE, len(data), shown)
        add("transform alone, without the decoder network", len(data), decoded(model, tokens, 0, network=False))
        add("decoder told the middle step in all files", len(data), decoded(model, tokens, MIDDLE))
        untold = encode_tile(context.at(MIDDLE), list(tokens.planes), model.layers)
        add("context network told the middle step in all files", others + sum(map(len, untold)), shown)
        add("adaptive tables in place of the context network", others + adaptive_bytes(context, tokens), shown)
        data = plain.file(rung.lmbda, rung.keep)
        tokens = read_tokens(container.read(data), model)
        add("without latent refinement", len(data), decoded(model, tokens, tokens.step or 0))
        tokens = replace(tokens, planes=tuple(rounded(plain, tokens)))
        add(
            "values rounded in place of selected, without refinement",
            len(write_tokens(tokens, model)),
            decoded(model, tokens, tokens.step or 0),
        )
    return found


def rounded(encoder: ScalarEncoder, tokens: Tokens) -> list[np.ndarray]:
    """Planes of values rounded to the nearest."""
    tokenizer = encoder.model.tokenizer
    with torch.inference_mode():
        z = torch.from_numpy(np.asarray(encoder.latent, np.float32))[None]
        planes = tokenizer.quantizer.quantize(z, tokens.step)  # type: ignore[operator]
    return [plane[0].numpy().astype(np.int32).clip(0, 2 * LARGEST) for plane in planes]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-m", "--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=4, help="take every n-th step of the ladder; default: %(default)s")
    given = parser.parse_args()
    model = load_model(given.model)
    curves = [points(as_picture(path).pixels, model, given.steps) for path in given.pictures]
    table = Table(title=f"{given.model}, {len(curves)} pictures: bytes at equal quality")
    for title in ("without", "PSNR", "MS-SSIM"):
        table.add_column(title)
    for variant in [name for name in curves[0] if name != WHOLE]:
        lost = [np.mean([bd_rate(curve[WHOLE], curve[variant], column) for curve in curves]) for column in (1, 2)]
        table.add_row(variant, *(f"{value:+.1f} %" for value in lost))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
