"""Export of a run with a quantization step to a model folder: averaged weights, integer context model, ladder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from vqcodec.config.model import LadderStep, ModelConfig
from vqcodec.config.quantizers import UniformConfig
from vqcodec.entropy.scalar_context import CHECK, ScalarContext
from vqcodec.models.loading import write_model
from vqcodec.models.weights_int8 import pack
from vqcodec.transforms.steps import step_size

from ..logs import Report
from .recipe import SteppedRecipe, stepped_recipe
from .run import Codec


def export_stepped(state: dict[str, Any], out: Path, name: str | None, report: Report) -> ModelConfig:
    """Write the model of a checkpoint's `state` to `out`, with a card.

    Raises ValueError if the context network cannot be rounded to exact integers.
    """
    recipe = stepped_recipe(json.loads(state["recipe"]))
    codec = Codec(recipe)
    codec.load_state_dict(state["average"])
    tensors = {
        key: np.ascontiguousarray(value.numpy().astype(np.float16))
        for key, value in codec.tokenizer.state_dict().items()
    }
    tensors = pack(tensors, recipe.export.packed)
    context = codec.context.tensors()
    quantizer = recipe.tokenizer.quantizer
    assert isinstance(quantizer, UniformConfig)
    exact = ScalarContext(quantizer.levels, context)  # raises ValueError for inexact sums
    context[CHECK] = np.frombuffer(exact.check(), np.uint8)
    config = ModelConfig(
        name=name or recipe.name,
        tokenizer=recipe.tokenizer,
        token_id="",
        entropy_id="",
        weights_sha256="",
        layers=quantizer.layers,
        ladder=ladder_of(recipe),
        license="see README.md",
        description=recipe.description,
        extra={"steps": int(state["step"]), "megapixels": round(int(state["pixels"]) / 1e6)},
    )
    config = write_model(out, config, tensors | context)
    (out / "README.md").write_text(_card(recipe, config), encoding="utf-8")
    size = (out / "model.safetensors").stat().st_size
    report(f"{out}: {config.name}, step {state['step']}, {config.extra['megapixels']:,} megapixels, {size:,} bytes")
    return config


def ladder_of(recipe: SteppedRecipe) -> tuple[LadderStep, ...]:
    """Quality ladder: evenly spaced qualities, step numbers on a parabola; a step's rate is the square of its size."""
    export, layers = recipe.export, len(recipe.tokenizer.quantizer.layers)
    qualities = np.linspace(export.quality[0], export.quality[1], export.rungs).round().astype(int)
    first, middle, last = export.steps
    t = np.linspace(0, 1, export.rungs)
    numbers = first * (1 - t) * (1 - 2 * t) + 4 * middle * t * (1 - t) + last * t * (2 * t - 1)
    return tuple(
        LadderStep(int(quality), layers, float(f"{step_size(number) ** 2:.6g}"))
        for quality, number in zip(qualities, numbers, strict=True)
    )


def _card(recipe: SteppedRecipe, config: ModelConfig) -> str:
    batch = f"{recipe.data.batch} crops of {recipe.data.crop} px"
    if recipe.encoded.model:
        batch = f"rows of {recipe.encoded.megapixels:g} megapixels that the encoder of `{recipe.encoded.model}` coded"
    return "\n".join(
        [
            f"# {config.name}",
            "",
            recipe.description,
            "",
            f"Trained on {config.extra['megapixels']:,} megapixels, the last run for {config.extra['steps']:,} steps "
            f"of {batch}, with the recipe `{recipe.name}`.",
            "",
        ]
    )
