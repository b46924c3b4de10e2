"""Weights of a finished model for the start of a run: floating-point values of its integers and 8-bit weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from vqcodec.config.quantizers import STEPS
from vqcodec.entropy.scalar_context import MODEL
from vqcodec.entropy.scalar_network import UNIT
from vqcodec.entropy.scalar_order import layers_of
from vqcodec.entropy.scalar_residuals import FRACTIONS

from .context import (
    BIASES_BY_KIND,
    CLASSES,
    HALF,
    LEAST,
    MIXTURE_UNIT,
    UNITS_BY_KIND,
    ContextNet,
    ContextPart,
    logistic_mass,
    mixture_shape,
    step_basis,
)

OUTGOING = ("scale", "shape_location", "shape_gate", "shape_scale")
"""Weights by which a unit acts on outputs or on another network; those of added units start at 0."""
GRID = torch.linspace(-4, 4, 41)
"""Values that the parameters of a mixture are chosen from, in units of 1 / MIXTURE_UNIT."""


def weights_of_model(tensors: Mapping[str, np.ndarray], context: ContextNet) -> dict[str, Tensor]:
    """State of `Codec` from the tensors of a model, 8-bit weights unpacked.

    `context` is a network of the model's architecture. Tables by step number and residual tables become the parameters
    that fit them best. Raises KeyError for a tensor that the model lacks.
    """
    networks = {name: value for name, value in tensors.items() if not name.startswith(MODEL)}
    state = {f"tokenizer.{name}": torch.from_numpy(value.astype(np.float32)) for name, value in networks.items()}
    return state | {f"context.{name}": value for name, value in context_weights(tensors, context).items()}


def hidden_widths(tensors: Mapping[str, np.ndarray], levels: int) -> list[int]:
    """Hidden units of the networks of each layer in the tensors `scalar.*`. Raises KeyError if they lack one."""
    return [len(tensors[f"{MODEL}{layer.number}.{layer.colours[0]}.hidden_bias"]) for layer in layers_of(levels)]


def context_weights(tensors: Mapping[str, np.ndarray], context: ContextNet) -> dict[str, Tensor]:
    """State of `context` from the tensors `scalar.*`.

    A part with more hidden units than there has the same outputs at first; one with fewer keeps its own weights where
    these depend on hidden units.
    """
    basis = step_basis(torch.arange(STEPS, dtype=torch.float32)).double().numpy()
    prefixes = {
        f"parts.{i}.": f"{MODEL}{part.layer.number}.{part.colour}."
        for i, part in enumerate(context.parts)
        if isinstance(part, ContextPart)
    }
    state = {"mixture": _mixture(tensors)}
    for name, present in context.state_dict().items():
        for prefix, stored in prefixes.items():
            if name.startswith(prefix):
                own = name.removeprefix(prefix)
                kind = own.split(".")[0]
                value = tensors[stored + own].astype(np.float64) / _unit(kind)
                if kind in ("hidden_bias", "shape_hidden_bias", *BIASES_BY_KIND):
                    value -= HALF
                if kind in ("step", "scale_step"):
                    value = np.linalg.lstsq(basis, value, rcond=None)[0]
                state[name] = _widened(torch.from_numpy(value).float(), present, kind)
    return state


def _widened(value: Tensor, present: Tensor, kind: str) -> Tensor:
    """`value` with the hidden units that `present` has beyond its own; `present` if it has fewer.

    Weights of further units are those of `present`, except that no output and no other unit depends on them.
    """
    if any(a > b for a, b in zip(value.shape, present.shape, strict=True)):
        return present
    found = torch.zeros_like(present) if kind in OUTGOING else present.clone()
    if kind in ("hidden", "shape_hidden"):
        found[len(value) :, : value.shape[1]] = 0
    found[tuple(slice(n) for n in value.shape)] = value
    return found


def _unit(kind: str) -> int:
    if kind in UNITS_BY_KIND:
        return UNITS_BY_KIND[kind]
    return UNIT if "bias" in kind or kind in ("level", "step", "scale_level", "scale_step") else 256


def _mixture(tensors: Mapping[str, np.ndarray]) -> Tensor:
    """Parameters of the mixtures whose masses are nearest to the residual tables, by cross-entropy."""
    lengths = tensors[MODEL + "table_lengths"].astype(np.int64)
    rows = np.split(tensors[MODEL + "tables"].astype(np.float64), np.cumsum(lengths)[:-1])
    widths, shares = (part.reshape(-1) for part in torch.meshgrid(GRID, GRID, indexing="ij"))
    choices = torch.stack([widths, shares], 1) / MIXTURE_UNIT
    found = torch.zeros(CLASSES, 2)
    for i in range(CLASSES):
        narrow, wide, share = mixture_shape(torch.tensor(float(i)), choices.double())
        bits = torch.zeros(len(choices), dtype=torch.float64)
        for fraction in range(FRACTIONS):
            row = torch.from_numpy(rows[i * FRACTIONS + fraction]) - 1  # each entry has 1 besides its share
            reach = len(row) // 2 - 1
            distance = (torch.arange(-reach, reach + 1, dtype=torch.float64) - fraction / 8).abs()[:, None]
            mass = (1 - share) * logistic_mass(distance, narrow) + share * logistic_mass(distance, wide)
            mass = torch.cat([mass, (1 - mass.sum(0, keepdim=True)).clamp_min(LEAST)])
            bits -= (row[:, None] * torch.log2(mass + 1e-9)).sum(0)
        found[i] = choices[bits.argmin()]
    return found
