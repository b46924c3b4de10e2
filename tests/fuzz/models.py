"""Model folders for fuzzing: one of each kind of entropy model and of each layout of tokens, random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from msgspec import structs

from vqcodec.config.quantizers import MultiScaleConfig, VQConfig
from vqcodec.models.loading import write_model
from vqcodec.models.registry import WEIGHTS, read_config
from vqcodec.tokenizer import Tokenizer, training_only

from ..conftest import write_tiny_model
from ..rated import rate_model
from ..stepped import write_stepped_model


def write_models(base: Path) -> None:
    """`adaptive` with adaptive tables, `context` with a context model, `stepped` with a step, `windowed` by windows."""
    write_tiny_model(base / "adaptive", "adaptive", seed=3)  # other codewords than `context`
    rate_model(base / "context", "context")
    write_stepped_model(base / "stepped")
    write_windowed_model(base / "windowed")


def write_windowed_model(folder: Path) -> None:
    """Windows of 64 px that overlap by 16 px, each with planes of 1x1, 2x2 and 4x4 indices."""
    write_tiny_model(folder, "windowed", groups=1, ladder=[(1, 1)])
    config = read_config(folder)
    tokenizer = structs.replace(
        config.tokenizer, quantizer=MultiScaleConfig((1, 2, 4), VQConfig(16, 4)), window=64, overlap=16
    )
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(1)
        state = Tokenizer(tokenizer).eval().state_dict()
    tensors = {name: value.numpy() for name, value in state.items() if not training_only(name)}
    write_model(folder, structs.replace(config, tokenizer=tokenizer, layers=((0,), (1,), (2,)), ladder=()), tensors)
    assert (folder / WEIGHTS).stat().st_size < 200_000
