"""Bits per index of a model's context model, and of uniform, zero-order and adaptive tables, plane by plane.

    python benchmarks/bits.py MODEL --tables TRAIN... --val VAL... [--tile-px 512]

Indices are selected under the model at all rates of its ladder. Zero-order and adaptive tables are fitted to
the indices of the images in TRAIN. A finished model holds integer weights only; the column `float` evaluates them
without intermediate rounding.
"""

from __future__ import annotations

import argparse

from vqcodec.encoder.build import UNREFINED
from vqcodec.entropy.context_model import ContextModel
from vqcodec.models.loading import load_model
from vqcodec.train.data.pictures import scan
from vqcodec.train.prior.data import Collection
from vqcodec.train.prior.network import Prior
from vqcodec.train.prior.report import compare
from vqcodec.train.prior.train_prior import collect_tiles


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tables", nargs="+", required=True, help="folders or tar shards")
    parser.add_argument("--val", nargs="+", required=True, help="folders or tar shards")
    parser.add_argument("--tile-px", type=int, default=512, help="side of an access tile")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    if not isinstance(model.entropy, ContextModel):
        parser.error(f"{arguments.model}: has no context model")
    prior = Prior.of(model.entropy)
    side = arguments.tile_px // model.stride
    train, val = (
        collect_tiles(model, scan(tuple(paths), model.stride), side, Collection(effort=UNREFINED))
        for paths in (arguments.tables, arguments.val)
    )
    print(compare(prior, train, val))


if __name__ == "__main__":
    main()
