"""A small model with a quantization step, for tests: random networks around the wavelet, under 200 kB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from msgspec import to_builtins

LEVELS = 2
WIDTHS = [3, 3, 6, 12, 24]


def tree(**changes: Any) -> dict[str, Any]:
    """Tables of a recipe of the small model."""
    found: dict[str, Any] = {
        "name": "stepped",
        "tokenizer": {
            "stride": 4,
            "backbone": {"kind": "wavelet", "width": 8, "depth": 1},
            "quantizer": {"kind": "uniform", "levels": LEVELS},
        },
        "data": {"train": ["pictures"], "val": ["pictures"], "crop": 64, "batch": 2},
        "optimizer": {"steps": 4, "decay": 2},
        "loss": {"ms_ssim": 0.0},
        "run": {"val_images": 1, "val_crop": 64, "log_every": 2, "val_every": 4, "save_every": 1, "precision": "fp32"},
        "export": {"steps": [40, 20, 0], "rungs": 7},
    }
    return {**found, **changes}


def write_stepped_model(folder: Path, seed: int = 0) -> None:
    """Write the model folder."""
    import json

    from vqcodec.train.stepped.export import export_stepped
    from vqcodec.train.stepped.recipe import stepped_recipe
    from vqcodec.train.stepped.run import Codec

    recipe = stepped_recipe(tree())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        codec = Codec(recipe)
        for value in (*codec.context.parts.parameters(), *codec.tokenizer.decoder.tail.parameters()):
            with torch.no_grad():  # all weights matter, also those that training starts at 0
                value.add_(0.01 * torch.randn_like(value))
    state = {"recipe": json.dumps(to_builtins(recipe)), "average": codec.state_dict(), "step": 0, "pixels": 0}
    export_stepped(state, folder, "stepped", lambda _: None)
