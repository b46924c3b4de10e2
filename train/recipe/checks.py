"""What a recipe may not be: what would only fail hours later, refused before any work.

Differs from recipe.py, which says what there is, and what each key is for.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from vqcodec.config.backbones import VitConfig
from vqcodec.config.model import ConvConfig, ProductVQConfig, check_tokenizer
from vqcodec.config.quantizers import has_codes, mixtures_of
from vqcodec.errors import ModelError, UsageError
from vqcodec.models.weights_int8 import PARTS as PACKABLE
from vqcodec.quantizers.codebook import LEARNING
from vqcodec.quantizers.estimators import ESTIMATORS

from ..adversarial.adversary import check_gan
from ..alignment.losses import check_align
from ..finetuning import PARTS, check_tuning
from ..losses.rate import RATE_TERMS
from ..losses.reconstruction import LOSSES, active
from ..quantization.layers import file_layers
from ..quantization.perturbation import check_perturbation
from ..shapes import fixed_side
from ..start.pretrained import check_pretrained
from ..validate_metrics import METRICS

if TYPE_CHECKING:  # recipe.py uses this file
    from .schema import DataRecipe, Recipe

SCHEDULES = ("constant", "cosine")
REFITS = ("groups", "balance", "refinements")
COUNTS = ("log_every", "val_every", "save_every", "val_images", "val_crop")


def check(recipe: Recipe) -> None:
    """Refuse what would only fail hours later. Raises UsageError."""
    tokenizer, codebook, optimizer, run = recipe.tokenizer, recipe.codebook, recipe.optimizer, recipe.run
    try:
        check_tokenizer(tokenizer, "recipe.tokenizer")
    except ModelError as error:
        raise UsageError(str(error)) from error
    for table in ("losses", "warmup"):
        _check_losses(table, getattr(recipe, table))
    names = active(recipe.losses)
    if "gan/generator" in names:
        check_gan(recipe.gan, recipe.data.crop)
    width = tokenizer.backbone.encoder_width if isinstance(tokenizer.backbone, VitConfig) else None
    check_align(recipe.align, names, tokenizer.quantizer.groups, width)
    nested = isinstance(tokenizer.quantizer, ProductVQConfig)
    refined = bool(getattr(tokenizer.quantizer, "refinements", ()))
    check_perturbation(recipe.perturbation, (tokenizer.quantizer.codebook_size,) if nested else ())
    check_pretrained(recipe.pretrained, tokenizer.backbone, recipe.start_from)
    started = PARTS if recipe.start_from else recipe.pretrained.started
    # The last layer is none of DINOv2's, and is trained in any case where the decoder starts from that.
    adaptive = "gan/generator" in names and recipe.gan.adaptive and "decoder" not in recipe.pretrained.started
    check_tuning(recipe.tuning, optimizer.frozen, started, adaptive)
    choices: tuple[tuple[str, str, Collection[str]], ...] = (
        ("codebook.learning", codebook.learning, LEARNING),
        ("codebook.start", codebook.start, ("random", "klt")),
        ("codebook.revival", codebook.revival, ("replace", "blend", "none")),
        ("masking.per", recipe.masking.per, ("sample", "batch")),
        ("masking.losses", recipe.masking.losses, ("all", "kept")),
        ("run.best", run.best, ("", *METRICS)),
        ("optimizer.schedule", optimizer.schedule, SCHEDULES),
        ("optimizer.estimator", optimizer.estimator, ESTIMATORS),
        ("optimizer.rate_term", optimizer.rate_term, RATE_TERMS),
        ("run.precision", run.precision, ("bf16", "fp32")),
    )
    for key, value, known in choices:
        if value not in known:
            raise UsageError(f"recipe.{key}: '{value}' is not one of {', '.join(known)}")
    groups, prefixes, side = tokenizer.quantizer.groups, recipe.masking.prefixes, fixed_side(tokenizer)
    linear = isinstance(tokenizer.backbone, ConvConfig) and tokenizer.backbone.linear_path
    for wrong, problem in (
        (not 1 <= groups <= 64, "tokenizer.quantizer.groups: 1..64"),
        (not any(name.startswith("rec/") for name in names), "losses: at least one rec/* is needed"),
        (
            "vq/disentanglement" in names and groups < 2,
            "losses: vq/disentanglement needs a quantizer of several branches",
        ),
        (
            recipe.data.crop % tokenizer.stride or recipe.data.crop < 1,
            f"data.crop: {recipe.data.crop} is not a multiple of the stride {tokenizer.stride}",
        ),
        (side not in (0, recipe.data.crop), f"data.crop: the network sees pictures of {side} px only"),
        (tokenizer.window not in (0, side), f"tokenizer.window: the network sees pictures of {side} px only"),
        (
            recipe.masking.losses == "kept" and not nested,
            "masking.losses: kept is for the quantizer product-vq; others leave out stages by their own dropout",
        ),
        (not nested and "rate/bits" in names, "losses: rate/bits needs the quantizer product-vq"),
        (
            not nested and codebook.rate != 0,
            "codebook: rate = 0 for quantizers other than product-vq",
        ),
        (
            not nested and not has_codes(tokenizer.quantizer) and (codebook.kmeans_at or codebook.revival != "none"),
            "codebook: kmeans_at = 0 and revival = none for quantizers without codebooks, and for soft ones",
        ),
        (
            not nested and recipe.masking.full < 1,
            "masking.full: 1 for quantizers other than product-vq; they leave out stages by their own dropout",
        ),
        (
            min(recipe.data.batch, recipe.data.workers, optimizer.accumulate) < 1,
            "data.batch, data.workers and optimizer.accumulate: at least 1",
        ),
        (not 1 <= recipe.masking.draws <= 16, "masking.draws: 1..16"),
        (not 0 < recipe.data.min_scale <= 1, "data.min_scale: above 0, at most 1"),
        *_data_problems(recipe.data),
        (
            len(prefixes) not in (0, groups) or any(p < 0 for p in prefixes) or (prefixes and not sum(prefixes)),
            f"masking.prefixes: one weight for each of 1..{groups} groups, none below 0, or an empty list",
        ),
        (codebook.start == "klt" and not linear, "codebook.start: klt needs tokenizer.backbone.linear_path"),
        (
            codebook.learning == "gradient"
            and "vq/codebook" not in names
            and optimizer.estimator != "noise"
            and mixtures_of(tokenizer.quantizer) is None,
            "losses: codebooks learned by gradient need vq/codebook",
        ),
        (not optimizer.lr > 0 or not optimizer.clip > 0, "optimizer.lr and optimizer.clip: above 0"),
        (
            not 0 <= optimizer.decay <= optimizer.steps,
            f"optimizer.decay: {optimizer.decay} is beyond 0..{optimizer.steps} (optimizer.steps); set both",
        ),
        (not 0 <= optimizer.floor <= 1, "optimizer.floor: a share, 0..1"),
        (len(optimizer.betas) != 2, "optimizer.betas: two numbers"),
        (
            optimizer.estimator == "codewords" and set(optimizer.frozen) != {"encoder", "quantizer"},
            "optimizer.estimator: codewords gives the encoder no gradient; freeze encoder and quantizer",
        ),
        (
            len(codebook.rate_range) != 2 or not 0 < codebook.rate_range[0] <= codebook.rate_range[1],
            "codebook.rate_range: two numbers above 0, the smaller one first",
        ),
        (codebook.rate < 0, "codebook.rate: at least 0"),
        (
            len(codebook.rate_caps) > groups or any(cap < 0 for cap in codebook.rate_caps),
            f"codebook.rate_caps: at most {groups}, none below 0",
        ),
        (
            len(recipe.export.quality) != 2 or not 1 <= recipe.export.quality[0] < recipe.export.quality[1] <= 100,
            "export.quality: two numbers in 1..100, the smaller one first",
        ),
        (
            bool(unknown := set(recipe.export.packed) - set(PACKABLE)),
            f"export.packed: {', '.join(sorted(unknown))} is not one of {', '.join(PACKABLE)}",
        ),
        (
            "decoder" in recipe.export.packed and not isinstance(tokenizer.backbone, ConvConfig),
            "export.packed: decoder only where tokenizer.backbone.kind is conv",
        ),
        (
            list(recipe.export.rates) != sorted(set(recipe.export.rates), reverse=True),
            "export.rates: falling, since files grow from step to step",
        ),
        (
            bool(codebook.choice) and "quantizer" not in optimizer.frozen,
            "codebook.choice: needs optimizer.frozen to hold quantizer, since the context model knows its codewords",
        ),
        (
            bool(codebook.refit) and (set(optimizer.frozen) != {"encoder", "quantizer"} or not recipe.start_from),
            "codebook.refit: needs start_from, and optimizer.frozen to hold encoder and quantizer",
        ),
        (bool(set(codebook.refit) - set(REFITS)), f"codebook.refit: some of {', '.join(REFITS)}"),
        (
            "balance" in codebook.refit and not codebook.rate,
            "codebook.refit: a balance needs codebook.rate, the worth of a bit",
        ),
        (
            "balance" in codebook.refit and refined and "refinements" not in codebook.refit,
            "codebook.refit: after a balance refinements have to be fitted anew; add refinements",
        ),
        (
            "balance" in codebook.refit and getattr(tokenizer.quantizer, "normalised", False),
            "codebook.refit: a balance is for codewords of any length; tokenizer.quantizer.normalised fixes it",
        ),
        (bool(codebook.refit) and not nested, "codebook.refit: only for the quantizer product-vq"),
        ("refinements" in codebook.refit and not refined, "codebook.refit: tokenizer.quantizer has no refinements"),
        (refined and recipe.perturbation.samples > 0, "perturbation.samples: not with refinements"),
        (
            refined and "quantizer" not in optimizer.frozen,
            "tokenizer.quantizer.refinements: need optimizer.frozen to hold quantizer: they don't move in training",
        ),
        (
            bool(codebook.refit) and not {"encoder", "quantizer"} <= set(optimizer.frozen),
            "codebook.refit: needs optimizer.frozen to hold encoder and quantizer: codebooks are fitted to a finished "
            "encoder",
        ),
        *_export_problems(recipe),
        (codebook.revive_every < 1, "codebook.revive_every: at least 1"),
        (not 0 <= codebook.revive_below < 1, "codebook.revive_below: at least 0, below 1"),
        *((getattr(run, name) < 1, f"run.{name}: at least 1") for name in COUNTS),
    ):
        if wrong:
            raise UsageError(f"recipe.{problem}")


def _data_problems(data: DataRecipe) -> Iterator[tuple[bool, str]]:
    """(whether it is so, the problem) of where crops come from."""
    short, shares = data.short_side, data.shares
    yield (
        bool(short) and (len(short) != 2 or not 1 <= short[0] <= short[1] <= 64),
        "data.short_side: two numbers in 1..64, in crops, the smaller one first, or an empty list",
    )
    yield (
        bool(shares) and (len(shares) != len(data.train) or min(shares) < 0 or not 0 < sum(shares) < math.inf),
        f"data.shares: one weight for each of the {len(data.train)} entries of data.train, none below 0, or none",
    )


def _export_problems(recipe: Recipe) -> Iterator[tuple[bool, str]]:
    """(whether it is so, the problem) of what the exported model would offer."""
    export, quantizer = recipe.export, recipe.tokenizer.quantizer
    planes = len(quantizer.sizes)
    yield (
        bool(export.layers) and (sum(export.layers) != planes or min(export.layers) < 1 or len(export.layers) > 16),
        f"export.layers: at most 16, at least 1 plane each, {planes} in all, or an empty list",
    )
    refined = bool(getattr(quantizer, "refinements", ()))
    whole = quantizer.groups in accumulate(map(len, file_layers(recipe)))
    yield (
        bool(export.refine_below) and not (refined and whole and recipe.codebook.rate),
        "export.refine_below: needs codebook.rate, and refinements whose layers hold none of the groups",
    )
    yield (export.refine_below < 0, "export.refine_below: at least 0")


def _check_losses(table: str, values: dict[str, float]) -> None:
    for key, value in values.items():
        if key not in LOSSES:
            near = difflib.get_close_matches(key, LOSSES, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(LOSSES)}"
            raise UsageError(f"recipe.{table}: unknown loss '{key}'; {hint}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise UsageError(f"recipe.{table}.{key}: a number of at least 0 needed, found {value!r}")
