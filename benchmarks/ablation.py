"""Gain of sub-codebooks and nested masking, as in MGVQ's tables 5 and 6: small models with equal training.

    python benchmarks/ablation.py TRAIN... --val VAL [--steps 2000] [-o runs/ablation] [--only MODEL...]

All models share network, data, order of crops, number of steps and total number of codewords. A run whose checkpoint
exists is not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from vqcodec.metrics import METRICS
from vqcodec.tokenizer import Tokenizer, to_pixels, to_unit
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.run import CHECKPOINT, TokenizerRun
from vqcodec.train.train_tokenizer import train_tokenizer
from vqcodec.train.validate import Validation

GROUPS = 8
CODEBOOK = 256
"""Codewords of each group; the single codebook has as many as all groups together. 56 validation images cannot use all
2,048: any 56 training images use 83 to 87 % of them, and 224 use 96 %, because strong textures rarely occur in two
images. A codebook of a quarter of the size is therefore measured too. With 32 codewords per group all are in use, but
nested masking then costs more than 1 dB."""
COMMON = [
    "tokenizer.backbone.widths=[32,48]",
    "data.batch=16",
    f"tokenizer.quantizer.groups={GROUPS}",
    f"tokenizer.quantizer.codebook_size={CODEBOOK}",
    "tokenizer.quantizer.dims=[]",
    "codebook.kmeans_at=100",
    "codebook.revive_every=10",
    "run.val_every=1000000",
    "run.tensorboard=false",
]


def only(keep: int) -> list[str]:
    """Changes for a model of one prefix: training draws no other."""
    weights = [float(k == keep) for k in range(1, GROUPS + 1)]
    return [f"masking.prefixes={json.dumps(weights)}", "masking.full=0.0", "masking.block=0.0"]


def single(codewords: int) -> list[str]:
    """Changes for a model with one codebook for all channels."""
    return [
        *only(GROUPS)[1:],
        "masking.full=1.0",
        # Codewords of a large codebook are selected rarely.
        "codebook.decay=0.99",
        "tokenizer.quantizer.groups=1",
        f"tokenizer.quantizer.codebook_size={codewords}",
        f"tokenizer.quantizer.dim={4 * GROUPS}",
    ]


VARIANTS: dict[str, list[str]] = {
    "single codebook": single(CODEBOOK * GROUPS),
    "single codebook, a quarter as many codewords": single(CODEBOOK * GROUPS // 4),
    "sub-codebooks": only(GROUPS),
    "sub-codebooks + nested masking": ["masking.draws=4", "masking.full=0.0", "masking.block=0.0"],
    **{f"for k = {keep} alone": only(keep) for keep in (GROUPS // 4, GROUPS // 2)},
}


def main() -> None:
    """Train the missing models, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", nargs="+", help="folders or tar shards")
    parser.add_argument("--val", required=True, help="folder or tar shard")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("-o", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), metavar="MODEL")
    arguments = parser.parse_args()
    found = {}
    for name in arguments.only:
        recipe = load_recipe(
            "tiny",
            [
                *COMMON,
                f"data.train={json.dumps(arguments.train)}",
                f"data.val={json.dumps([arguments.val])}",
                f"optimizer.steps={arguments.steps}",
                f"optimizer.decay={arguments.steps // 3}",
                *VARIANTS[name],
            ],
        )
        folder = arguments.o / name.replace(" ", "-").replace("+", "and").replace(",", "")
        run = train_tokenizer(recipe, folder, resume=(folder / CHECKPOINT).exists(), report=lambda _: None)
        found[name] = measure(run, Validation.load(recipe))
        print(name, json.dumps(found[name]), flush=True)
    print_tables(found, arguments.steps)


@torch.no_grad()
def measure(run: TokenizerRun, validation: Validation) -> dict[str, list[float]]:
    """PSNR (dB) and MS-SSIM for each keep over the validation crops; usage of each codebook over the whole set."""
    with run.averaged() as model:
        scores = [[score(model, crop, keep) for crop in validation.crops] for keep in range(1, len(model.sizes) + 1)]
        means = np.nanmean(np.array(scores), axis=1)
        return {
            "psnr": means[:, 0].tolist(),
            "ms-ssim": means[:, 1].tolist(),
            "usage": validation.usage(model)["val/usage"],
        }


def score(model: Tokenizer, crop: torch.Tensor, keep: int) -> list[float]:
    """PSNR and MS-SSIM of one crop, uint8 [3, H, W]."""
    y = model.decode(model.encode(to_unit(crop[None])), keep)[0].clamp(-1, 1)
    decoded = to_pixels(y)
    pair = [np.ascontiguousarray(picture.permute(1, 2, 0).numpy()) for picture in (crop, decoded)]
    return [METRICS[name].measure(*pair) for name in ("psnr", "ms-ssim")]


def print_tables(found: dict[str, dict[str, list[float]]], steps: int) -> None:
    """Print the models with all sub-tokens, then each prefix next to the model trained for it alone."""
    table = Table(title=f"{steps:,} steps, all sub-tokens")
    for title in ("model", "PSNR dB", "MS-SSIM", "least usage of a codebook"):
        table.add_column(title)
    for name in [name for name in list(VARIANTS)[:4] if name in found]:
        row = found[name]
        table.add_row(name, f"{row['psnr'][-1]:.2f}", f"{row['ms-ssim'][-1]:.4f}", f"{min(row['usage']):.1%}")
    Console(width=120).print(table)
    if "sub-codebooks + nested masking" not in found:
        return
    prefixes = Table(title="each prefix of the model with nested masking, and a model for that prefix alone")
    for title in ("keep", "PSNR dB", "MS-SSIM", "alone: PSNR dB", "alone: MS-SSIM", "difference"):
        prefixes.add_column(title)
    nested = found["sub-codebooks + nested masking"]
    for keep in range(1, GROUPS + 1):
        name = "sub-codebooks" if keep == GROUPS else f"for k = {keep} alone"
        alone = found[name] if name in found else {"psnr": [math.nan] * GROUPS, "ms-ssim": [math.nan] * GROUPS}
        p, q = nested["psnr"][keep - 1], alone["psnr"][keep - 1]
        cells = [f"{p:.2f}", f"{nested['ms-ssim'][keep - 1]:.4f}"]
        if name in found:
            cells += [f"{q:.2f}", f"{alone['ms-ssim'][keep - 1]:.4f}", f"{p - q:+.2f}"]
        prefixes.add_row(str(keep), *cells)
    Console(width=120).print(prefixes)


if __name__ == "__main__":
    main()
