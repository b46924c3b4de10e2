"""Tensors on their way from the CPU to the device that trains."""

from __future__ import annotations

import torch
from torch import Tensor


def send(x: Tensor, device: torch.device) -> Tensor:
    """x on the device, in its turn: Python does not wait for what is queued on a GPU."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)
