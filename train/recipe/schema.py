"""A training run as data: one TOML file, changed by `--set key=value`.

A recipe may name a `base` beside it and list only what it changes.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqcodec.config.model import TokenizerConfig, from_dict
from vqcodec.errors import InputError, ModelError, UsageError

from ..adversarial.adversary import GanRecipe
from ..alignment.losses import AlignRecipe
from ..finetuning import TuningRecipe
from ..quantization.perturbation import PerturbationRecipe
from ..start.pretrained import PretrainedRecipe
from .checks import check

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class DataRecipe:
    train: tuple[str, ...]
    """Folders or tar shards; a pattern such as train-*.tar is expanded."""
    val: tuple[str, ...]
    crop: int = 128
    """Pixels a side."""
    batch: int = 8
    """Crops a step, of each process and each accumulated part."""
    min_scale: float = 0.5
    """Half of the crops are taken from the picture shrunk by a factor between this and 1, as far as it holds a crop
    then; where pictures are resident, by one of four such factors."""
    short_side: tuple[float, ...] = ()
    """Shortest and longest short side that a picture is resized to before a crop is cut, in crops: (1, 1.25) is
    LlamaGen's 256..320 px for crops of 256; small pictures are enlarged. Empty: as `min_scale` says, and pictures
    smaller than a crop are left out."""
    shares: tuple[float, ...] = ()
    """Weight of each entry of `train`: the share of crops cut from it. Empty: an epoch holds every picture."""
    index: bool = True
    """Keep names and sizes of the pictures in an index beside each folder or shard, see train.picture_index."""
    cache_mb: int = 3000
    """Decoded pictures held in memory."""
    size_weight: float = 0.5
    """An epoch holds a picture in proportion to its pixel count to this power, but at least once."""
    workers: int = 1
    """Threads that make crops."""
    resident: bool = False
    """Keep all pictures decoded in the memory of the device that trains and cut crops there, see train.resident."""


@dataclass(frozen=True)
class MaskingRecipe:
    """How many groups a sample keeps (nested masking, MGVQ section 3)."""

    full: float = 0.5
    """Share of samples with all groups."""
    block: float = 0.2
    """Share of samples whose keep is drawn per block of the token grid; the rest draws one keep per sample."""
    prefixes: tuple[float, ...] = ()
    """Weights of keeping 1, 2, ... G groups where a keep is drawn; empty is uniform."""
    draws: int = 1
    """How often a batch is decoded in a step, each time with keeps of its own; of several, the first keeps all."""
    per: str = "sample"
    """sample, or batch: one draw for all samples of a batch."""
    block_sizes: tuple[int, ...] = (1, 2, 4)
    """Sides of these blocks, tokens."""
    empty: float = 0.05
    """Share of blocks that keep nothing, so that the decoder can close gaps."""
    losses: str = "all"
    """all, or kept: what is masked in every draw adds nothing to vq/commitment, vq/codebook and the codebooks' moving
    averages, as in MGVQ's release."""

    @property
    def leaves_out(self) -> bool:
        """True if a sample may be trained without some of its groups."""
        return self.full < 1 and (self.block > 0 or not self.prefixes or any(self.prefixes[:-1]))


@dataclass(frozen=True)
class CodebookRecipe:
    """How the codebooks start, learn and stay in use."""

    learning: str = "ema"
    """ema: moving averages; gradient: by the loss vq/codebook."""
    decay: float = 0.95
    """Of the moving averages, per step."""
    start: str = "random"
    """random, or klt: the linear path starts as the Karhunen-Loeve transform of the training pictures."""
    kmeans_at: int = 600
    """Steps before this one train without quantization; then the codebooks start by k-means. 0: they start random."""
    revival: str = "replace"
    """replace: dead codewords become random latents; blend: CVQ-VAE, as MGVQ does it; none."""
    revive_every: int = 50
    """Steps between revivals, until the learning rate decays."""
    revive_below: float = 0.03
    """On replace, a codeword is dead that is used less than this share of the mean use."""
    rate: float = 0.0
    """Squared error (pixels in -1..1, summed) that a bit is worth when a codeword is chosen; 0 chooses the nearest."""
    rate_range: tuple[float, ...] = (0.5, 8.0)
    """Each sample multiplies `rate` by a factor in this range, so that a file can ask for any of them."""
    rate_caps: tuple[float, ...] = ()
    """Largest rate that counts for the first groups, one after the other; the others have none."""
    refit: tuple[str, ...] = ()
    """Start codebooks anew on the latents of the frozen encoder that the run starts from: `groups` and `refinements` by
    k-means; `balance` sets what a bit is worth in each group and moves its codewords accordingly, see train.balance."""
    choice: str = ""
    """Name or folder of a model whose context model tells what indices cost, in a run that has quantizer frozen."""
    rate_ramp: int = 1000
    """Steps from the start of the codebooks until `rate` counts in full."""


@dataclass(frozen=True)
class OptimizerRecipe:
    steps: int
    lr: float = 4e-4
    linear_lr: float = 0.1
    """Learning rate of a backbone's linear path, as a share of `lr`."""
    schedule: str = "constant"
    """constant, or cosine: see train.schedule."""
    warmup: int = 500
    decay: int = 0
    """The last so many steps of a constant schedule go down along a cosine."""
    floor: float = 0.001
    """Where the cosine ends, as a share of `lr`."""
    betas: tuple[float, ...] = (0.9, 0.99)
    weight_decay: float = 0.0
    accumulate: int = 1
    """Batches whose gradients make one step."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is what is validated and exported."""
    estimator: str = "noise"
    """How the gradient passes the quantizer: noise, straight-through, half-and-half, balanced (where codewords are
    chosen by a rate), or codewords (which is for a frozen encoder), see vqcodec.quantizers.estimators."""
    frozen: tuple[str, ...] = ()
    """Parts of the tokenizer that stay as they are: encoder, quantizer, decoder. Without the first two the decoder is
    trained on tokens as they will be; `tuning.trained` names what is trained of a part all the same."""
    rate_term: str = "usage"
    """What the loss rate/bits is, see train.rate_terms."""


@dataclass(frozen=True)
class RunRecipe:
    seed: int = 0
    precision: str = "bf16"
    """bf16 or fp32."""
    compile: bool = False
    """torch.compile for encoder and decoder: a minute at the start, faster steps on a GPU."""
    tensorboard: bool = True
    """Write TensorBoard's files beside log.jsonl, if it is installed."""
    log_every: int = 100
    val_every: int = 2000
    save_every: int = 500
    stop_at: int = 0
    """Stop after this step, with a checkpoint, to go on with --resume and other settings; 0 is the end."""
    val_crop: int = 320
    """Validation crops have at most this side, pixels."""
    val_images: int = 24
    best: str = ""
    """Keep the checkpoint with the best value of this metric beside the last one, as best.pt: psnr, ssim, lpips,
    usage or perplexity, see train.validate_metrics. Empty: none."""


@dataclass(frozen=True)
class ExportRecipe:
    """What the exported model offers."""

    quality: tuple[int, ...] = (1, 100)
    """First and last quality of its ladder, on the scale of 1..100 that models share which stand in for each other."""
    rates: tuple[float, ...] = ()
    """Where codewords are chosen by a rate: how much it counts at each step of the ladder, falling. Empty: twelve steps
    over codebook.rate_range. Without a rate the ladder has a step for each layer."""
    layers: tuple[int, ...] = ()
    """Planes in each layer of a file, 16 layers at most. Empty: those of the quantizer, or one layer for
    groups that training never leaves out, see train.layers."""
    refine_below: float = 0.0
    """Largest rate at which the ladder's files hold the layers of refinements; 0: all of them do."""
    packed: tuple[str, ...] = ()
    """Parts whose weights are written in 8 bits, of encoder and decoder, see vqcodec.models.weights_int8."""


@dataclass(frozen=True)
class Recipe:
    name: str
    tokenizer: TokenizerConfig
    data: DataRecipe
    optimizer: OptimizerRecipe
    losses: dict[str, float]
    """Weights by `group/name`."""
    warmup: dict[str, float] = field(default_factory=dict)
    """Steps over which the weight of a loss rises linearly from 0, by its name; 0 where none are given."""
    codebook: CodebookRecipe = field(default_factory=CodebookRecipe)
    masking: MaskingRecipe = field(default_factory=MaskingRecipe)
    gan: GanRecipe = field(default_factory=GanRecipe)
    align: AlignRecipe = field(default_factory=AlignRecipe)
    perturbation: PerturbationRecipe = field(default_factory=PerturbationRecipe)
    pretrained: PretrainedRecipe = field(default_factory=PretrainedRecipe)
    tuning: TuningRecipe = field(default_factory=TuningRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)
    export: ExportRecipe = field(default_factory=ExportRecipe)
    start_from: str = ""
    """A checkpoint or run folder whose weights and codebooks this run starts from; or the name or folder of a model,
    which is taken as it is where the quantizer is frozen, or else its network alone, into one that may have more
    channels and other groups."""
    description: str = ""


def load_recipe(source: str, changes: list[str] | None = None) -> Recipe:
    """Read the recipe at path `source` (or the bundled one of that name) and apply `key=value` changes.

    Raises InputError if the file is missing or not TOML, UsageError for a bad key, type or value.
    """
    return from_tree(read_tree(source, changes))


def read_tree(source: str, changes: list[str] | None = None) -> dict[str, Any]:
    """A recipe file as plain tables, with its base and `key=value` changes applied."""
    tree = _read(_find(source))
    for change in changes or []:
        _set(tree, change)
    return tree


def from_tree(tree: dict[str, Any]) -> Recipe:
    """A checked recipe from parsed TOML or JSON. Raises UsageError."""
    # Runs from before there were refinements, or decoders in 8 bits.
    for table, key, meant in (("codebook", "refit", "groups"), ("export", "packed", "encoder")):
        settings = tree.get(table)
        if isinstance(settings, dict) and isinstance(settings.get(key), bool):
            tree = {**tree, table: {**settings, key: [meant] if settings[key] else []}}
    try:
        recipe = from_dict(Recipe, tree, "recipe")
    except ModelError as error:
        raise UsageError(str(error)) from error
    check(recipe)
    return recipe


def _find(source: str) -> Path:
    for path in (Path(source), RECIPES / source, RECIPES / f"{source}.toml"):
        if path.is_file():
            return path
    names = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
    raise InputError(f"{source}: no such recipe; give a .toml file or one of: {names}")


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from error
    base = tree.pop("base", None)
    return tree if base is None else _merge(_read(_find(str(path.parent / base))), tree)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        # Settings of another kind of network or quantizer are no base to change.
        other = both and "kind" in value and value["kind"] != merged[key].get("kind")
        merged[key] = _merge(merged[key], value) if both and not other else value
    return merged


def _set(tree: dict[str, Any], change: str) -> None:
    key, sign, text = change.partition("=")
    if not sign:
        raise UsageError(f"--set {change}: write key=value, for example optimizer.steps=1000")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    # Only the first dots separate tables: loss names hold a slash, never a dot.
    *tables, last = key.strip().split(".")
    for name in tables:
        tree = tree.setdefault(name, {})
        if not isinstance(tree, dict):
            raise UsageError(f"--set {change}: '{name}' is a value, not a table")
    tree[last] = value
