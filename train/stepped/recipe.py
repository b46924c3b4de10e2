"""Recipe of a model with a quantization step: its tables and its rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, field

from vqcodec.config.model import TokenizerConfig, WaveletConfig, check_tokenizer
from vqcodec.config.quantizers import STEPS, UniformConfig
from vqcodec.config.reading import Count, Positive, Settings, Share, read
from vqcodec.errors import ModelError, UsageError

from ..recipe.schema import Above0, AtLeast0, Below1, DataRecipe, Quality

Effort: TypeAlias = Annotated[int, Meta(ge=1, le=9)]
"""Effort of an encoder, 1..9."""
StepNumber: TypeAlias = Annotated[int, Meta(ge=0, le=STEPS - 1)]
"""Number of a quantization step, 0..63."""
SMALLEST_MS_SSIM = 160
"""MS-SSIM with five scales needs larger crops, pixels."""


class OptimizerRecipe(Settings, frozen=True):
    """Steps and learning rates."""

    steps: Positive
    """Length of the run."""
    kind: Literal["adamw", "soap", "muon"] = "adamw"
    """adamw, or soap or muon of the package pytorch-optimizer."""
    lr: Above0 = 4e-4
    """Learning rate of the networks."""
    context_lr: Above0 = 1e-3
    """Learning rate of the context network."""
    warmup: Count = 200
    """Steps over which the learning rates rise from 0."""
    decay: Count = 0
    """Last steps, over which they fall to 0 along a cosine."""
    clip: Above0 = 1.0
    """Largest norm of the gradient."""
    ema: Share = 0.999
    """Decay of the moving average of the weights, which is validated and exported."""
    frozen: tuple[Literal["decoder", "context"], ...] = ()
    """Parts that are not trained."""


class RateRecipe(Settings, frozen=True):
    """Step numbers, weight of a bit and rounding in training."""

    steps: tuple[StepNumber, StepNumber] = (0, 52)
    """First and last step number; samples draw one uniformly."""
    weight: AtLeast0 = 1.0
    """Factor on the weight of a bit, ln(4) / 12 squared steps."""
    rounding: tuple[Share, Share] = (0.3, 0.5)
    """Range of the rounding offset t, 0..0.5: a value v becomes sign(v) floor(|v| + t). 0.5 rounds to the nearest,
    smaller offsets round towards 0, as the encoder's selection does."""
    select: bool = False
    """Select values by distortion and bits under the context network, as the encoder does, instead of thresholds; for
    the last stage, when the network predicts the bits well."""
    plain: Count = 0
    """Number of first layers whose values are rounded to the nearest."""


class ContextRecipe(Settings, frozen=True):
    """The context network."""

    hidden: tuple[Positive, ...] = ()
    """Hidden units of the networks of each layer; empty: 32 each."""


class EncodedRecipe(Settings, frozen=True):
    """Training of the context network alone, on values that the encoder of a finished model selects.

    Crops are encoded once; inputs of the network at their positions (rows) are kept in memory and serve all steps.
    """

    model: str = ""
    """Name or folder of the model; empty: crops and values of `data` and `rate`."""
    effort: Effort = 5
    """Effort of the encoder."""
    side: Positive = 1024
    """Longest side of the crops, pixels."""
    megapixels: Above0 = 180.0
    """Size of all crops. Rows take about 25 bytes of memory for each of their pixels, and as much in `rows.pt`;
    while they are shuffled, twice as much memory."""
    rows: Positive = 16384
    """Rows of a luma part in a step; chroma parts have a third."""


class LossRecipe(Settings, frozen=True):
    """Terms of the distortion."""

    ms_ssim: Below1 = 0.3
    """Share of 1 - MS-SSIM in the distortion, in units of the squared error; the rest is squared error."""
    ms_ssim_crops: Share = 0.34
    """Share of the crops that MS-SSIM is measured on."""
    masked: Share = 0.12
    """Share of samples that keep only the first layers, their number drawn evenly (nested masking, MGVQ section 3)."""


class RunRecipe(Settings, frozen=True):
    """Seeds, precision and intervals, in steps."""

    seed: int = 0
    """Seed of all random numbers."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bfloat16 where the device is fast at it."""
    compile: bool = False
    """torch.compile for encoder and decoder."""
    log_every: Positive = 100
    """Steps between rows of the log."""
    val_every: Positive = 1000
    """Steps between validations."""
    save_every: Positive = 200
    """Steps between checkpoints."""
    stop_at: Count = 0
    """Stop after this step, with a checkpoint; 0: at the end."""
    minutes: AtLeast0 = 0.0
    """Minutes after which the run stops, with a checkpoint; 0: no limit."""
    val_crop: Positive = 512
    """Largest side of validation crops, pixels."""
    val_images: Positive = 24
    """Validation pictures."""


class ExportRecipe(Settings, frozen=True):
    """Ladder and packing of the exported model."""

    quality: tuple[Quality, Quality] = (1, 100)
    """First and last quality of the ladder."""
    steps: tuple[StepNumber, StepNumber, StepNumber] = (44, 26, 2)
    """Step numbers of the first quality, of the middle of the range and of the last; a parabola between them."""
    rungs: Annotated[int, Meta(ge=2)] = 27
    """Steps of the ladder."""
    packed: tuple[Literal["encoder", "decoder"], ...] = ("encoder", "decoder")
    """Parts whose weights are written in 8 bits."""


class SteppedRecipe(Settings, frozen=True):
    """A run from start to export."""

    name: str
    tokenizer: TokenizerConfig
    data: DataRecipe
    optimizer: OptimizerRecipe
    context: ContextRecipe = field(default_factory=ContextRecipe)
    encoded: EncodedRecipe = field(default_factory=EncodedRecipe)
    rate: RateRecipe = field(default_factory=RateRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    export: ExportRecipe = field(default_factory=ExportRecipe)
    start_from: str = ""
    """Start of the run: the averaged weights of a run folder, or those of a model; empty: random ones."""
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
    for problem in _problems(recipe):
        raise UsageError(f"recipe.{problem}")
    return recipe


def _problems(recipe: SteppedRecipe) -> Iterator[str]:
    """Problems across settings, `key: what is needed`."""
    tokenizer, steps = recipe.tokenizer, recipe.rate.steps
    if not isinstance(tokenizer.quantizer, UniformConfig) or not isinstance(tokenizer.backbone, WaveletConfig):
        yield "tokenizer: a uniform quantizer needs the backbone of kind 'wavelet'"
    if steps[0] > steps[1]:
        yield "rate.steps: the smaller one first"
    hidden, layers = recipe.context.hidden, tokenizer.quantizer.layers
    if hidden and len(hidden) != len(layers):
        yield f"context.hidden: {len(layers)} values needed, one for each layer, not {len(hidden)}"
    if recipe.encoded.model and recipe.optimizer.frozen != ("decoder",):
        yield 'encoded.model: trains the context network alone; set optimizer.frozen to ["decoder"]'
    if recipe.data.crop % tokenizer.stride:
        yield f"data.crop: a multiple of {tokenizer.stride} needed"
    if recipe.loss.ms_ssim and recipe.data.crop <= SMALLEST_MS_SSIM:
        yield f"loss.ms_ssim: needs data.crop above {SMALLEST_MS_SSIM} px; set it to 0"
