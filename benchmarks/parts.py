"""BD-rates of a model with a quantization step when one of its parts is left out, relative to the complete model.

    python -m benchmarks.parts PICTURES... [-m photo] [--steps 4]

The weights are the same everywhere and were trained with all parts: a model trained without one would lose less.
PICTURES are of one access tile. Sizes under adaptive tables are estimates without modes. Needs the extra `eval`.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.contributions import bd_rate
from vqcodec import container
from vqcodec.backbones.wavelet import WaveletDecoder
from vqcodec.config.effort import EFFORT, ONE_PASS
from vqcodec.encoder.build import encoder_for
from vqcodec.encoder.scalar_encoder import ScalarEncoder
from vqcodec.entropy.scalar_context import ScalarContext
from vqcodec.entropy.tile_segments import encode_tile
from vqcodec.image.files import as_picture
from vqcodec.image.picture import Picture
from vqcodec.metrics import METRICS
from vqcodec.models.loading import load_model
from vqcodec.models.registry import DEFAULT_MODEL
from vqcodec.quantizers.uniform import Uniform
from vqcodec.tokenizer import to_pixels
from vqcodec.tokens.reading import read_tokens
from vqcodec.tokens.tokens import Tokens, write_tokens
from vqcodec.transforms.steps import coordinate, step_number

Point = tuple[float, float, float]
"""Bits per pixel, PSNR, MS-SSIM in dB."""
COMPLETE = "complete"


class Parts:
    """A model whose parts can be left out; `name` is that of the command line, a model or a folder."""

    def __init__(self, name: str) -> None:
        self.name, self.model = name, load_model(name)
        tokenizer, entropy = self.model.tokenizer, self.model.entropy
        assert isinstance(tokenizer.quantizer, Uniform)
        assert isinstance(tokenizer.decoder, WaveletDecoder)
        assert isinstance(entropy, ScalarContext)
        self.quantizer, self.decoder, self.context = tokenizer.quantizer, tokenizer.decoder, entropy
        ladder = self.model.config.ladder
        self.middle = step_number(math.sqrt(ladder[len(ladder) // 2].lmbda))
        """Step number of the middle of the ladder."""

    def points(self, picture: Picture, every: int) -> dict[str, list[Point]]:
        """Points of each variant at every `every`-th step of the ladder."""
        refined, unrefined = (encoder_for(picture, self.name, effort=effort) for effort in (EFFORT, ONE_PASS))
        assert isinstance(unrefined, ScalarEncoder)
        found: dict[str, list[Point]] = {}
        for rung in self.model.config.ladder[::every]:
            rows = self._refined(refined.file(rung.lmbda, rung.keep))
            rows |= self._unrefined(unrefined, unrefined.file(rung.lmbda, rung.keep))
            for variant, (n_bytes, pixels) in rows.items():
                similar = -10 * np.log10(1 - METRICS["ms-ssim"].measure(picture.pixels, pixels))
                rate = 8 * n_bytes / (picture.width * picture.height)
                point = rate, METRICS["psnr"].measure(picture.pixels, pixels), similar
                found.setdefault(variant, []).append(point)
        return found

    def _refined(self, data: bytes) -> dict[str, tuple[int, np.ndarray]]:
        """Bytes and pixels of the variants with the indices of a file of the default effort."""
        tokens = self._tokens(data)
        step, planes = tokens.step or 0, list(tokens.planes)
        coded, at_middle = (
            sum(map(len, encode_tile(self.context.at(number), planes, self.model.layers)))
            for number in (step, self.middle)
        )
        n, pixels = len(data), self.pixels(tokens, step)
        return {
            COMPLETE: (n, pixels),
            "no decoder network, the transform alone": (n, self.pixels(tokens, None)),
            "decoder network: the middle step as input": (n, self.pixels(tokens, self.middle)),
            "context network: the middle step as input": (n - coded + at_middle, pixels),
            "no context network, adaptive tables": (n - coded + self.adaptive_bytes(tokens), pixels),
        }

    def _unrefined(self, encoder: ScalarEncoder, data: bytes) -> dict[str, tuple[int, np.ndarray]]:
        """Bytes and pixels of the variants without latent refinement."""
        tokens = self._tokens(data)
        rounded = replace(tokens, planes=tuple(self.rounded(encoder.latent, tokens.step or 0)))
        return {
            "no latent refinement": (len(data), self.pixels(tokens, tokens.step)),
            "no refinement, no selection: rounded values": (
                len(write_tokens(rounded, self.model)),
                self.pixels(rounded, tokens.step),
            ),
        }

    def _tokens(self, data: bytes) -> Tokens:
        file = container.read(data)
        if file.header.n_tiles > 1:
            raise ValueError(f"{file.header.width}x{file.header.height} pixels: more than one access tile")
        return read_tokens(file, self.model)

    def pixels(self, tokens: Tokens, step: int | None) -> np.ndarray:
        """Decoded pixels uint8 [H, W, 3]; the decoder network has `step` as its input. None: the transform alone."""
        assert tokens.step is not None
        with torch.inference_mode():
            planes = [torch.from_numpy(plane.astype(np.int64))[None] for plane in tokens.planes]
            z_q, kept = self.quantizer.dequantize(planes, tokens.step)
            if step is None:
                y = self.decoder.picture(z_q)
            else:
                kept[:, -1] = coordinate(step)
                y = self.decoder(z_q, kept)
            found: np.ndarray = to_pixels(y)[0, :, : tokens.height, : tokens.width].permute(1, 2, 0).numpy()
        return found

    def adaptive_bytes(self, tokens: Tokens) -> int:
        """Bytes of the values by adaptive tables, band by band."""
        bits = 0.0
        for k, layer in enumerate(self.context.layers):
            bands = layer.split(np.stack(tokens.planes[self.context.planes(k)])).values()
            bits += sum(self.context.adaptive.least_bits(0, band.reshape(-1)) for band in bands if band.size)
        return int(bits / 8)

    def rounded(self, latent: np.ndarray, step: int) -> list[np.ndarray]:
        """Planes int32 [h, w] of a latent [D, h, w] rounded to the nearest values."""
        planes = self.quantizer.quantize(torch.from_numpy(np.asarray(latent, np.float32))[None], step)
        return [plane[0].numpy().astype(np.int32) for plane in planes]


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("-m", "--model", default=DEFAULT_MODEL, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=4, help="take every n-th step of the ladder; default: %(default)s")
    given = parser.parse_args()
    parts = Parts(given.model)
    curves = [parts.points(as_picture(path), given.steps) for path in given.pictures]
    table = Table(title=f"{given.model}, {len(curves)} pictures: bytes at equal quality")
    for title in ("variant", "PSNR", "MS-SSIM"):
        table.add_column(title)
    for variant in [name for name in curves[0] if name != COMPLETE]:
        lost = [np.mean([bd_rate(curve[COMPLETE], curve[variant], column) for curve in curves]) for column in (1, 2)]
        table.add_row(variant, *(f"{value:+.1f} %" for value in lost))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
