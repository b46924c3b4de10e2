"""Recipe of a model with a quantization step: its tables and its rules."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import field

from vqcodec.config.model import FoldedConfig, TokenizerConfig, UniformConfig, check_tokenizer
from vqcodec.config.quantizers import STEPS
from vqcodec.config.reading import Settings, read
from vqcodec.errors import ModelError, UsageError

from ..recipe.schema import DataRecipe


class OptimizerRecipe(Settings, frozen=True):
    """Steps and learning rates."""

    steps: int
    kind: Literal["adamw", "soap", "muon"] = "adamw"
    """adamw, or soap or muon of the package pytorch-optimizer."""
    lr: float = 4e-4
    """Learning rate of the networks."""
    context_lr: float = 1e-3
    """Learning rate of the context network."""
    linear_lr: float = 0.1
    """Learning rate of linear maps between pixels and latent, as a share of `lr`."""
    warmup: int = 200
    """Steps over which the learning rates rise from 0."""
    decay: int = 0
    """Last steps, over which they fall to 0 along a cosine."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is validated and exported."""
    frozen: tuple[Literal["encoder", "decoder", "context"], ...] = ()
    """Parts that are not trained."""


class RateRecipe(Settings, frozen=True):
    """Step numbers, weight of a bit and rounding in training."""

    steps: tuple[int, ...] = (0, 52)
    """First and last step number; samples draw one uniformly."""
    weight: float = 1.0
    """Factor on the weight of a bit, ln(4) / 12 squared steps."""
    rounding: tuple[float, ...] = (0.3, 0.5)
    """Range of the rounding offset t, 0..0.5: a value v becomes sign(v) floor(|v| + t). 0.5 rounds to the nearest,
    smaller offsets round towards 0, as the encoder's selection does."""
    select: bool = False
    """Select values by distortion and bits under the context network, as the encoder does, instead of thresholds; for
    the last stage, when the network predicts the bits well."""
    plain: int = 0
    """Number of first layers whose values are rounded to the nearest."""


class LossRecipe(Settings, frozen=True):
    """Terms of the distortion."""

    ms_ssim: float = 0.3
    """Share of 1 - MS-SSIM in the distortion, in units of the squared error; the rest is squared error."""
    ms_ssim_crops: float = 0.34
    """Share of the crops that MS-SSIM is measured on."""
    masked: float = 0.12
    """Share of samples that keep only the first layers, their number drawn evenly (nested masking, MGVQ section 3)."""


class RunRecipe(Settings, frozen=True):
    """Seeds, precision and intervals, in steps."""

    seed: int = 0
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bfloat16 where the device is fast at it."""
    compile: bool = False
    """torch.compile for encoder and decoder."""
    log_every: int = 100
    val_every: int = 1000
    save_every: int = 200
    stop_at: int = 0
    """Stop after this step, with a checkpoint; 0: at the end."""
    minutes: float = 0.0
    """Minutes after which the run stops, with a checkpoint; 0: no limit."""
    val_crop: int = 512
    """Largest side of validation crops, pixels."""
    val_images: int = 24


class ExportRecipe(Settings, frozen=True):
    """Ladder and packing of the exported model."""

    quality: tuple[int, ...] = (1, 100)
    """First and last quality of the ladder."""
    steps: tuple[int, ...] = (56, 4)
    """Step numbers of the first and the last quality."""
    rungs: int = 27
    """Steps of the ladder."""
    packed: tuple[str, ...] = ("encoder", "decoder")
    """Parts whose weights are written in 8 bits."""


class SteppedRecipe(Settings, frozen=True):
    """A run from start to export."""

    name: str
    tokenizer: TokenizerConfig
    data: DataRecipe
    optimizer: OptimizerRecipe
    rate: RateRecipe = field(default_factory=RateRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    export: ExportRecipe = field(default_factory=ExportRecipe)
    start_from: str = ""
    """Start of the run: the averaged weights of a run folder; the networks and transform of a model with a `conv`
    backbone at stride 8; empty: the Karhunen-Loeve transform of the training pictures."""
    description: str = ""


def is_stepped(tree: dict[str, Any]) -> bool:
    """True for the tables of a model with a quantization step."""
    quantizer = tree.get("tokenizer", {}).get("quantizer", {})
    return isinstance(quantizer, dict) and quantizer.get("kind") == "uniform"


def stepped_recipe(tree: dict[str, Any]) -> SteppedRecipe:
    """The recipe in `tree`. Raises UsageError naming the key that is wrong."""
    try:
        recipe = read(SteppedRecipe, tree, "recipe")
        check_tokenizer(recipe.tokenizer, "recipe.tokenizer")
    except ModelError as error:
        raise UsageError(str(error)) from error
    tokenizer, steps = recipe.tokenizer, recipe.rate.steps
    if not isinstance(tokenizer.quantizer, UniformConfig) or not isinstance(tokenizer.backbone, FoldedConfig):
        raise UsageError("recipe.tokenizer: a uniform quantizer needs the backbone of kind 'folded'")
    for wrong, problem in (
        (len(steps) != 2 or not 0 <= steps[0] <= steps[1] < STEPS, f"rate.steps: two numbers, 0..{STEPS - 1}, rising"),
        (len(recipe.rate.rounding) != 2, "rate.rounding: two numbers"),
        (recipe.data.crop % tokenizer.stride, f"data.crop: a multiple of {tokenizer.stride} needed"),
        (len(recipe.export.steps) != 2 or recipe.export.rungs < 2, "export: two steps and at least 2 rungs needed"),
        (not 0 <= recipe.loss.ms_ssim < 1, "loss.ms_ssim: at least 0, below 1"),
        (
            recipe.loss.ms_ssim > 0 and recipe.data.crop <= 160,
            "loss.ms_ssim: needs data.crop above 160 px; set it to 0",
        ),
    ):
        if wrong:
            raise UsageError(f"recipe.{problem}")
    return recipe
