"""A small model with a quantization step, for tests: random networks on a real block transform, under 200 kB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import to_builtins

WIDTHS = [1, 2, 3, 10]
LIFTED = 3


def tree(**changes: Any) -> dict[str, Any]:
    """Tables of a recipe of the small model."""
    found: dict[str, Any] = {
        "name": "stepped",
        "tokenizer": {
            "stride": 16,
            "backbone": {
                "kind": "folded",
                "width": 8,
                "bottleneck": 6,
                "encoder_depth": 1,
                "decoder_depth": 1,
                "coarse_width": 8,
                "coarse_depth": 1,
            },
            "quantizer": {"kind": "uniform", "widths": WIDTHS, "lifted": LIFTED},
        },
        "data": {"train": ["pictures"], "val": ["pictures"], "crop": 64, "batch": 2},
        "optimizer": {"steps": 4, "decay": 2},
        "loss": {"ms_ssim": 0.0},
        "run": {"val_images": 1, "val_crop": 64, "log_every": 2, "val_every": 4, "save_every": 1, "precision": "fp32"},
        "export": {"steps": [40, 4], "rungs": 7},
    }
    return {**found, **changes}


def write_stepped_model(folder: Path, pixels: np.ndarray, seed: int = 0) -> None:
    """Write the model folder; its transform is that of `pixels` uint8 [H, W, 3]."""
    import json

    from vqcodec.train.stepped.export import export_stepped
    from vqcodec.train.stepped.recipe import stepped_recipe
    from vqcodec.train.stepped.run import Codec
    from vqcodec.train.stepped.start import start_from_pictures

    recipe = stepped_recipe(tree())
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        codec = Codec(recipe)
        for value in codec.context.parameters():
            with torch.no_grad():  # all weights matter, also those that training starts at 0
                value.add_(0.01 * torch.randn_like(value))
        crops = [pixels[y : y + 64, x : x + 64] for y in range(0, 80, 16) for x in range(0, 128, 16)]
        x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1
        start_from_pictures(codec.tokenizer, x)
    state = {"recipe": json.dumps(to_builtins(recipe)), "average": codec.state_dict(), "step": 0, "pixels": 0}
    export_stepped(state, folder, "stepped", lambda _: None)
