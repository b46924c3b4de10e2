"""Reference values and manifests of the authors, where present, and tokenizers with released tensors."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from vqcodec.config.model import TokenizerConfig
from vqcodec.tokenizer import NO_RATE, Tokenizer, training_only

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"
referenced = pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"needs the authors' numbers in {REFERENCE}")


def vector(name: str) -> dict[str, Tensor]:
    """Numeric arrays of an .npz file."""
    with np.load(REFERENCE / "vectors" / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind != "U"}


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of a released state dict."""
    found = json.loads((REFERENCE / "manifests" / f"{name}.json").read_text())["state_dict"]
    return {key: tuple(entry["shape"]) for key, entry in found.items()}


def fill() -> ModuleType:
    """Module that derives weights from their names."""
    spec = importlib.util.spec_from_file_location("fill", REFERENCE / "vectors" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def filled(name: str) -> dict[str, Tensor]:
    """A released state dict with weights made from their names; all other tensors are zero."""
    rules = fill()
    state = {}
    for key, shape in manifest(name).items():
        value = np.zeros(shape, np.float32) if key.endswith(rules.SKIP) else rules.value(key, shape, "")
        state[key] = torch.from_numpy(np.ascontiguousarray(value)).reshape(shape)
    return state


def empty(name: str) -> dict[str, Tensor]:
    """State dict in the released layout, without values."""
    return {key: torch.empty(shape, device="meta") for key, shape in manifest(name).items()}


Reader = Callable[[TokenizerConfig, Mapping[str, Tensor]], dict[str, Tensor]]


def loaded(config: TokenizerConfig, state: Mapping[str, Tensor], from_released: Reader) -> Tokenizer:
    """A tokenizer with released tensors, in evaluation mode."""
    with torch.device("meta"):
        tokenizer = Tokenizer(config).eval().requires_grad_(False)
    ours = tokenizer.state_dict()
    no_rate = {name: torch.full(ours[name].shape, value) for name, value in NO_RATE.items() if name in ours}
    found = tokenizer.load_state_dict(from_released(config, state) | no_rate, strict=False, assign=True)
    assert found.unexpected_keys == []
    assert all(training_only(name) for name in found.missing_keys)
    return tokenizer


def close(found: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=atol)
