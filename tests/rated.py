"""Model with a rate term and a context model, for tests of encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from msgspec import structs

from vqcodec.config.model import LadderStep
from vqcodec.models.loading import write_model
from vqcodec.models.registry import WEIGHTS, read_config
from vqcodec.train.prior.network import Prior

from .conftest import write_tiny_model

RATES = (40.0, 10.0, 2.0, 0.5, 0.1)


def rate_model(folder: Path, name: str) -> None:
    """A tiny model with prices and a context model, both of random weights, and a ladder of rates."""
    from safetensors.numpy import load_file

    write_tiny_model(folder, name, groups=4)
    tensors = load_file(folder / WEIGHTS)
    tensors = {key: value for key, value in tensors.items() if not key.startswith("entropy.")}
    spread = tensors["quantizer.bank.codebooks"].astype(np.float32).var(1).sum(1)
    tensors["quantizer.prices"] = (0.05 * spread).astype(np.float16)
    tensors["quantizer.costs"] = np.tile(tensors["quantizer.prices"][:, None] * 4, (1, 16)).astype(np.float16)
    tensors["quantizer.caps"] = np.full(4, 1e4, np.float16)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        prior = Prior((16,) * 4, units=8)
        for net in prior.planes:
            net.out.mul_(60)
            net.bias3.normal_()
        tensors |= prior.tensors()
    ladder = tuple(LadderStep(1 + 20 * i, 4, rate) for i, rate in enumerate(RATES))
    write_model(folder, structs.replace(read_config(folder), ladder=ladder), tensors)
