"""Rules of a recipe: settings that would fail hours into a run are refused before any work.

Each rule yields problems `key: what is needed`; `check` raises the first one.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from itertools import accumulate

from vqcodec.config.backbones import VitConfig
from vqcodec.config.model import ConvConfig, check_tokenizer
from vqcodec.config.quantizers import ProductVQConfig, has_codes, mixtures_of
from vqcodec.errors import ModelError, UsageError

from ..adversarial.discriminators import DISCRIMINATORS, PatchGAN
from ..alignment.losses import ALIGNMENTS, HEADS
from ..alignment.teachers import source_of
from ..file_layers import file_layers
from ..losses.names import LOSSES, active
from ..start.from_vit import check_named
from .schema import PARTS, Recipe

SMALLEST_PX = 8
"""Side of the smallest crop that style and dino discriminate, pixels."""
MAX_LAYERS = 16
"""Layers that a file can hold."""
NEEDS_START = "needs weights to start from; name them by start_from, or those of a vit by pretrained"

Problems = Iterator[str]
"""`key: what is needed` of each problem, without the leading `recipe.`"""


def check(recipe: Recipe) -> None:
    """Apply all rules. Raises UsageError naming the first key that is wrong."""
    try:
        check_tokenizer(recipe.tokenizer, "recipe.tokenizer")
    except ModelError as error:
        raise UsageError(str(error)) from error
    for rule in RULES:
        for problem in rule(recipe):
            raise UsageError(f"recipe.{problem}")


def losses(recipe: Recipe) -> Problems:
    """Known names, weights of at least 0, and a reconstruction loss."""
    for table, values in (("losses", recipe.losses), ("warmup", recipe.warmup)):
        for key, value in values.items():
            if key not in LOSSES:
                near = difflib.get_close_matches(key, LOSSES, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(LOSSES)}"
                yield f"{table}: unknown loss '{key}'; {hint}"
            elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                yield f"{table}.{key}: a number of at least 0 needed, found {value!r}"
    names = active(recipe.losses)
    if not any(name.startswith("rec/") for name in names):
        yield "losses: at least one rec/* is needed"
    if "vq/disentanglement" in names and recipe.tokenizer.quantizer.groups < 2:
        yield "losses: vq/disentanglement needs a quantizer of several branches"
    if "rate/bits" in names and not _is_product(recipe):
        yield "losses: rate/bits needs the quantizer product-vq"
    learned = recipe.codebook.learning == "gradient" and mixtures_of(recipe.tokenizer.quantizer) is None
    if learned and "vq/codebook" not in names and recipe.optimizer.estimator != "noise":
        yield "losses: codebooks learned by gradient need vq/codebook"


def adversary(recipe: Recipe) -> Problems:
    """A discriminator that can see crops of the recipe's size."""
    gan, crop = recipe.gan, recipe.data.crop
    if "gan/generator" not in active(recipe.losses):
        return
    if gan.discriminator.startswith("dino"):
        source_of(gan.backbone, "recipe.gan.backbone")
    if gan.discriminator in DISCRIMINATORS and crop < (least := PatchGAN.least_px(gan.layers)):
        yield f"gan.layers: {gan.layers} of them need crops of {least} px, data.crop is {crop}"
    if crop < SMALLEST_PX:
        yield f"gan.discriminator: {gan.discriminator} needs crops of {SMALLEST_PX} px, data.crop is {crop}"


def alignment(recipe: Recipe) -> Problems:
    """Teacher, branch and head of every loss align/* that has a weight."""
    branches = recipe.tokenizer.quantizer.groups
    for loss in sorted(active(recipe.losses) & set(ALIGNMENTS)):
        part, where = recipe.align.of(loss), loss.replace("/", ".")
        source_of(part.teacher, f"recipe.{where}.teacher")
        predicts = part.objective == "prediction"
        if not -branches <= part.branch < branches:
            yield f"{where}.branch: the quantizer has {branches}, numbered from 0, or from -1 backwards"
        if predicts and part.width % HEADS:
            yield f"{where}.width: a multiple of {HEADS} for prediction"
        if predicts and part.level != "picture":
            yield f"{where}.level: prediction is for the level picture only"
        if part.shared and (part.objective != "contrastive" or not isinstance(recipe.tokenizer.backbone, VitConfig)):
            yield f"{where}.shared: only for the objective contrastive and a vit backbone"


def perturbation(recipe: Recipe) -> Problems:
    """Shares in 0..1, for one codebook per group."""
    settings, quantizer = recipe.perturbation, recipe.tokenizer.quantizer
    if settings.samples > 0 and not isinstance(quantizer, ProductVQConfig):
        yield "perturbation.samples: only for the quantizer product-vq"
    elif settings.samples > 0 and not 1 <= settings.nearest <= min(quantizer.sizes):
        yield f"perturbation.nearest: 1..{min(quantizer.sizes)}, the codewords"
    if settings.anneal and (len(settings.anneal) != 2 or not 0 <= settings.anneal[0] < settings.anneal[1]):
        yield "perturbation.anneal: two steps, the earlier one first, or an empty list"
    if settings.samples > 0 and _refinements(recipe):
        yield "perturbation.samples: not with refinements"


def pretrained(recipe: Recipe) -> Problems:
    """A vit backbone of the layout and size of the named network."""
    start, backbone = recipe.pretrained, recipe.tokenizer.backbone
    if not start.model:
        return
    if not isinstance(backbone, VitConfig):
        yield f"pretrained.model: the backbone {backbone.kind} has no such weights; vit alone has"
        return
    if recipe.start_from:
        yield "pretrained.model: start_from names weights already; leave one out, as by --set pretrained.model="
    if not start.parts:
        yield "pretrained.parts: encoder, decoder or both"
    layers = backbone.encoder_layers
    if "decoder" in start.parts and layers != "dinov2":
        yield f"pretrained.parts: the decoder's layers are DINOv2's, the encoder's {layers}; give [\"encoder\"]"
    check_named(start, backbone)


def tuning(recipe: Recipe) -> Problems:
    """Frozen parts and parts on lora start from weights, and something is trained."""
    frozen, settings = set(recipe.optimizer.frozen), recipe.tuning
    started = set(PARTS if recipe.start_from else recipe.pretrained.started)
    if bare := frozen - started:
        yield f"optimizer.frozen: {min(bare)} {NEEDS_START}"
    if frozen == set(PARTS) and not settings.trained:
        yield "optimizer.frozen: leaves nothing to train"
    # The last layer is not part of DINOv2 and is trained if the decoder starts from it.
    adaptive = "gan/generator" in active(recipe.losses) and recipe.gan.adaptive
    if adaptive and "decoder" in frozen and "decoder" not in recipe.pretrained.started:
        yield "optimizer.frozen: a frozen decoder has no gradient for gan.adaptive to measure"
    for part, mode in (("encoder", settings.encoder), ("decoder", settings.decoder)):
        if mode == "lora" and part in frozen:
            yield f"tuning.{part}: lora has no effect on a part that optimizer.frozen holds"
        if mode == "lora" and part not in started:
            yield f"tuning.{part}: lora {NEEDS_START}"


def data(recipe: Recipe) -> Problems:
    """Crops that the network can see, and sources with usable weights."""
    settings, tokenizer, side = recipe.data, recipe.tokenizer, recipe.tokenizer.window_px
    if settings.crop % tokenizer.stride:
        yield f"data.crop: {settings.crop} is not a multiple of the stride {tokenizer.stride}"
    if side not in (0, settings.crop):
        yield f"data.crop: the network sees pictures of {side} px only"
    if tokenizer.window not in (0, side):
        yield f"tokenizer.window: the network sees pictures of {side} px only"
    short, shares = settings.short_side, settings.shares
    if short and (len(short) != 2 or not 1 <= short[0] <= short[1] <= 64):
        yield "data.short_side: two numbers in 1..64, in crops, the smaller one first, or an empty list"
    if shares and (len(shares) != len(settings.train) or min(shares) < 0 or not 0 < sum(shares) < math.inf):
        entries = len(settings.train)
        yield f"data.shares: one weight for each of the {entries} entries of data.train, none below 0, or none"


def masking(recipe: Recipe) -> Problems:
    """Masks for the groups of product-vq; other quantizers have a dropout of stages."""
    settings, groups = recipe.masking, recipe.tokenizer.quantizer.groups
    own = "other quantizers leave out stages by their own dropout"
    if not 1 <= groups <= 64:
        yield "tokenizer.quantizer.groups: 1..64"
    if settings.losses == "kept" and not _is_product(recipe):
        yield f"masking.losses: kept is for the quantizer product-vq; {own}"
    if settings.full < 1 and not _is_product(recipe):
        yield f"masking.full: 1 for quantizers other than product-vq; {own}"
    weights = settings.prefixes
    if len(weights) not in (0, groups) or any(w < 0 for w in weights) or (weights and not sum(weights)):
        yield f"masking.prefixes: one weight for each of 1..{groups} groups, none below 0, or an empty list"


def optimizer(recipe: Recipe) -> Problems:
    """Learning rate, schedule and gradient estimator."""
    settings = recipe.optimizer
    if settings.decay > settings.steps:
        yield f"optimizer.decay: {settings.decay} is beyond 0..{settings.steps} (optimizer.steps); set both"
    if settings.estimator == "codewords" and set(settings.frozen) != {"encoder", "quantizer"}:
        yield "optimizer.estimator: codewords gives the encoder no gradient; freeze encoder and quantizer"


def codebooks(recipe: Recipe) -> Problems:
    """Start, revival and rate of the codebooks."""
    settings, quantizer = recipe.codebook, recipe.tokenizer.quantizer
    if not _is_product(recipe):
        if settings.rate:
            yield "codebook: rate = 0 for quantizers other than product-vq"
        if not has_codes(quantizer) and (settings.kmeans_at or settings.revival != "none"):
            yield "codebook: kmeans_at = 0 and revival = none for quantizers without codebooks, and for soft ones"
    backbone = recipe.tokenizer.backbone
    if settings.start == "klt" and not (isinstance(backbone, ConvConfig) and backbone.linear_path):
        yield "codebook.start: klt needs tokenizer.backbone.linear_path"
    if settings.rate_range[0] > settings.rate_range[1]:
        yield "codebook.rate_range: the smaller one first"
    if len(settings.rate_caps) > quantizer.groups:
        yield f"codebook.rate_caps: at most {quantizer.groups}, one for each group"
    if settings.choice and not recipe.quantizer_frozen:
        yield "codebook.choice: needs optimizer.frozen to hold quantizer, since the context model knows its codewords"


def refitting(recipe: Recipe) -> Problems:
    """Codebooks are refitted to a finished, frozen encoder."""
    refit, frozen, refined = recipe.codebook.refit, set(recipe.optimizer.frozen), _refinements(recipe)
    if refined and not recipe.quantizer_frozen:
        yield "tokenizer.quantizer.refinements: need optimizer.frozen to hold quantizer: they don't move in training"
    if not refit:
        return
    if frozen != {"encoder", "quantizer"} or not recipe.start_from:
        yield "codebook.refit: needs start_from, and optimizer.frozen to hold encoder and quantizer"
    if not _is_product(recipe):
        yield "codebook.refit: only for the quantizer product-vq"
    if "refinements" in refit and not refined:
        yield "codebook.refit: tokenizer.quantizer has no refinements"
    if "balance" not in refit:
        return
    if not recipe.codebook.rate:
        yield "codebook.refit: a balance needs codebook.rate, the weight of a bit"
    if refined and "refinements" not in refit:
        yield "codebook.refit: after a balance refinements have to be fitted anew; add refinements"
    quantizer = recipe.tokenizer.quantizer
    if isinstance(quantizer, ProductVQConfig) and quantizer.normalised:
        yield "codebook.refit: a balance is for codewords of any length; tokenizer.quantizer.normalised fixes it"


def export(recipe: Recipe) -> Problems:
    """Ladder and layers that a file can hold."""
    settings, quantizer = recipe.export, recipe.tokenizer.quantizer
    planes = len(quantizer.sizes)
    if settings.quality[0] >= settings.quality[1]:
        yield "export.quality: the smaller one first"
    if "decoder" in settings.packed and not isinstance(recipe.tokenizer.backbone, ConvConfig):
        yield "export.packed: decoder only where tokenizer.backbone.kind is conv"
    if list(settings.rates) != sorted(set(settings.rates), reverse=True):
        yield "export.rates: falling, since files grow from step to step"
    layers = settings.layers
    if layers and (sum(layers) != planes or len(layers) > MAX_LAYERS):
        yield f"export.layers: at most {MAX_LAYERS}, {planes} planes in all, or an empty list"
    whole = quantizer.groups in accumulate(map(len, file_layers(recipe)))
    if settings.refine_below and not (_refinements(recipe) and whole and recipe.codebook.rate):
        yield "export.refine_below: needs codebook.rate, and refinements whose layers hold none of the groups"


def _is_product(recipe: Recipe) -> bool:
    return isinstance(recipe.tokenizer.quantizer, ProductVQConfig)


def _refinements(recipe: Recipe) -> bool:
    quantizer = recipe.tokenizer.quantizer
    return isinstance(quantizer, ProductVQConfig) and bool(quantizer.refinements)


RULES: tuple[Callable[[Recipe], Problems], ...] = (
    losses,
    adversary,
    alignment,
    perturbation,
    pretrained,
    tuning,
    data,
    masking,
    optimizer,
    codebooks,
    refitting,
    export,
)
