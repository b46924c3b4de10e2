"""Sampling from the factorized autoregressive model: temperature, top-k, top-p and classifier-free guidance.

Legend: S planes, T positions, K codewords.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UsageError
from .factorized_ar import Far
from .factorized_ar_blocks import Cache


@dataclass(frozen=True)
class Drawing:
    """Settings of sampling."""

    temperature: float = 1.0
    """Divisor of the logits, above 0; below 1 favours likely tokens."""
    top_k: int = 0
    """Number of most likely sub-tokens that can be sampled; 0: all."""
    top_p: float = 1.0
    """Probability, 0..1, of the sub-tokens to sample from (nucleus, Holtzman 2020)."""
    label: int | None = None
    """Class 0, 1, ...; None: no class."""
    guidance: float = 1.0
    """Scale s of classifier-free guidance (Ho and Salimans 2022); 1: no guidance. Logits are u + s * (c - u), c with
    and u without the class. FQGAN samples with 2.0, and 1.75 for three codebooks."""


def check_drawing(drawing: Drawing, classes: int) -> None:
    """Raise UsageError for settings out of range for a model of `classes` classes."""
    label = drawing.label
    for wrong, problem in (
        (not drawing.temperature > 0, f"temperature {drawing.temperature:g}: more than 0"),
        (drawing.top_k < 0, f"top-k {drawing.top_k}: at least 1, or 0 for all"),
        (not 0 < drawing.top_p <= 1, f"top-p {drawing.top_p:g}: above 0, at most 1"),
        (label is not None and not classes, f"label {label}: the float model was trained without classes"),
        (label is not None and not 0 <= label < classes, f"label {label}: the float model has 0..{classes - 1}"),
        (drawing.guidance != 1 and label is None, f"guidance {drawing.guidance:g}: needs a label"),
        (not 0 <= drawing.guidance < 1e3, f"guidance {drawing.guidance:g}: at least 0, below 1000"),
    ):
        if wrong:
            raise UsageError(problem)


@torch.no_grad()
def draw(model: Far, shape: tuple[int, int], generator: torch.Generator, drawing: Drawing = Drawing()) -> Tensor:
    """Sample planes int64 [S, h, w] on the CPU; `generator` is a generator of the CPU. Raises UsageError."""
    check_drawing(drawing, model.config.classes)
    h, w = shape
    device = model.start.weight.device
    guided = drawing.guidance != 1
    labels = [drawing.label] if drawing.label is not None else [model.config.classes]
    if guided:
        labels.append(model.config.classes)  # the same tokens without the class
    planes = torch.zeros(len(model.config.sizes), h, w, dtype=torch.long)
    caches = [Cache() for _ in model.backbone]
    codes = torch.empty(len(labels), 0, dtype=torch.long, device=device)
    angles = model.angles(h, w).to(device)
    entered = model.start(torch.tensor(labels, device=device))
    for i in range(h * w):
        feature = model.continued(entered[:, None], angles[i : i + 1], caches)[:, 0]
        codes = codes[:, :0]
        for s in range(len(planes)):
            logits = model.logits(feature, codes)[s]
            if guided:
                logits = logits[1:] + drawing.guidance * (logits[:1] - logits[1:])
            code = torch.multinomial(chances(logits, drawing).cpu(), 1, generator=generator)
            codes = torch.cat([codes, code.to(device).expand(len(labels), 1)], 1)
        planes[:, i // w, i % w] = codes[0].cpu()
        entered = model.entered(codes[:, :, None])[:, 0]
    return planes


def chances(logits: Tensor, drawing: Drawing) -> Tensor:
    """logits [B, K] -> unnormalised probabilities, 0 outside top-k and top-p; the most likely one always remains."""
    logits = logits.float() / drawing.temperature
    order = logits.argsort(dim=-1, descending=True, stable=True)
    sorted_p = logits.gather(-1, order).softmax(-1)
    kept = sorted_p.cumsum(-1) - sorted_p < drawing.top_p
    if drawing.top_k:
        kept &= torch.arange(logits.shape[-1], device=logits.device) < drawing.top_k
    kept[..., 0] = True
    return torch.zeros_like(sorted_p).scatter_(-1, order, sorted_p * kept)
