"""Crops per second and shares of the time of a training step, by batch size.

    python benchmarks/training.py product-vq --train 'shards/*.tar' [--batch 4 8 16 32] [--steps 20] [--device cpu]

Measured after 5 warm-up steps. Shares are of wall time; on a GPU forward and backward are timed as
they are queued.
"""

from __future__ import annotations

import argparse
import json
import time

from accelerate import Accelerator
from rich.console import Console
from rich.table import Table

from vqcodec.train.data.crops import Crops
from vqcodec.train.data.loader import Loader
from vqcodec.train.data.pictures import scan
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.run import TokenizerRun

WARM_UP = 5


def measure(recipe_name: str, train: list[str], batch: int, steps: int, device: str) -> list[str]:
    """One row of the table."""
    changes = [f"data.train={json.dumps(train)}", f"data.batch={batch}", "codebook.kmeans_at=1", "optimizer.decay=0"]
    recipe = load_recipe(recipe_name, changes)
    pictures = scan(recipe.data.train, recipe.data.crop)
    crops = Crops(pictures, recipe.data, recipe.run.seed)
    run = TokenizerRun(recipe, Accelerator(cpu=device == "cpu"), crops.batch)
    loader = Loader(crops, 0, WARM_UP + steps, recipe.data.workers)
    start = waited = 0.0
    for i, part in enumerate(loader):
        if i == WARM_UP:
            run.clock.read()
            start, waited = time.perf_counter(), loader.waited_s
        run.train_step([part])
    elapsed = time.perf_counter() - start
    seconds = {"waiting for crops": loader.waited_s - waited, **run.clock.read()}
    shares = [f"{seconds.get(name, 0.0) / elapsed:.1%}" for name in PARTS]
    return [
        str(batch),
        f"{steps / elapsed:.2f}",
        f"{steps * batch / elapsed:.1f}",
        f"{loader.crops_per_s:.0f}",
        *shares,
    ]


PARTS = ("waiting for crops", "forward", "backward", "optimizer")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="recipe file or name")
    parser.add_argument("--train", nargs="+", required=True, help="folders or tar shards")
    parser.add_argument("--batch", nargs="+", type=int, default=[4, 8, 16, 32])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    table = Table(title=f"{arguments.recipe}, {arguments.device}")
    for title in ("batch", "steps/s", "crops/s", "loader alone, crops/s", *PARTS):
        table.add_column(title, justify="right")
    for batch in arguments.batch:
        table.add_row(*measure(arguments.recipe, arguments.train, batch, arguments.steps, arguments.device))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
