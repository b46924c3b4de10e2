"""Tables of a tokenizer's recipe: every setting of a training run, with its type, unit, range and default.

The type of a setting states its choices and its range; rules across settings are in `checks`, reading TOML in `load`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

from msgspec import Meta, field

from vqcodec.config.model import TokenizerConfig
from vqcodec.config.reading import Count, Positive, Settings, Share

Above0: TypeAlias = Annotated[float, Meta(gt=0)]
"""Number above 0."""
AtLeast0: TypeAlias = Annotated[float, Meta(ge=0)]
"""Number of at least 0."""
Below1: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
"""Number of at least 0, below 1."""
Quality: TypeAlias = Annotated[int, Meta(ge=1, le=100)]
"""Quality of a file."""
Part = Literal["encoder", "quantizer", "decoder"]
"""A part of the tokenizer."""
PARTS: tuple[Part, ...] = get_args(Part)


class DataRecipe(Settings, frozen=True):
    """Pictures that crops are cut from, and the crops."""

    train: tuple[str, ...]
    """Folders, tar shards, or patterns of these such as train-*.tar."""
    val: tuple[str, ...]
    """Validation pictures, in the same form."""
    crop: Positive = 128
    """Side of a crop, pixels; a multiple of the stride."""
    batch: Positive = 8
    """Crops per process and accumulated part of a step, at least 1."""
    min_scale: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Half of the crops are cut from the picture downscaled by a random factor between this and 1,
    limited so that a crop still fits; with `resident`, by one of four fixed factors."""
    short_side: tuple[float, ...] = ()
    """Range of the short side that a picture is resized to before a crop is cut, in units of `crop`, 1..64: (1, 1.25)
    is LlamaGen's 256..320 px for crops of 256. Small pictures are enlarged. Empty: `min_scale` applies, and pictures
    smaller than a crop are skipped."""
    shares: tuple[float, ...] = ()
    """Weight of each entry of `train`: its share of the crops. Empty: an epoch holds every picture."""
    index: bool = True
    """Store names and sizes of the pictures in an index next to each folder or shard, see data/picture_index.py."""
    cache_mb: Positive = 3000
    """Memory for decoded pictures, MiB."""
    size_weight: float = 0.5
    """Exponent: an epoch holds a picture in proportion to (its pixel count / that of the median picture) to this power,
    at least once."""
    workers: Positive = 1
    """Threads that cut crops, at least 1."""
    resident: bool = False
    """Hold all pictures decoded in the memory of the training device and cut crops there, see data/gpu_crops.py."""


class MaskingRecipe(Settings, frozen=True):
    """Nested masking: number of groups that a sample keeps (MGVQ, section 3), see quantization/nested_masking.py."""

    full: Share = 0.5
    """Share of samples with all groups, 0..1."""
    block: Share = 0.2
    """Share of samples whose number of groups is drawn per block of the token grid; the remaining samples draw one
    number each."""
    prefixes: tuple[float, ...] = ()
    """Weights of keeping 1, 2, ... G groups where the number is drawn. Empty: uniform."""
    draws: Annotated[int, Meta(ge=1, le=16)] = 1
    """Times that a batch is decoded in a step, each with masks of its own; of several, the first keeps all."""
    per: Literal["sample", "batch"] = "sample"
    """batch: one draw for all samples of a batch."""
    losses: Literal["all", "kept"] = "all"
    """kept: positions masked in every draw add nothing to vq/commitment, vq/codebook and the codebooks' moving
    averages (MGVQ's released code)."""

    @property
    def leaves_out(self) -> bool:
        """True if a sample may be trained without some of its groups."""
        return self.full < 1 and (self.block > 0 or not self.prefixes or any(self.prefixes[:-1]))


class CodebookRecipe(Settings, frozen=True):
    """Start, learning, revival and rate term of the codebooks."""

    learning: Literal["ema", "gradient"] = "ema"
    """ema: moving averages of the latents; gradient: the loss vq/codebook."""
    decay: Share = 0.95
    """Decay of the moving averages, per step."""
    start: Literal["random", "klt"] = "random"
    """klt: the backbone's linear path starts as the Karhunen-Loeve transform of the training pictures."""
    kmeans_at: Count = 600
    """Steps before this one train without quantization; then k-means on recent latents sets the codebooks. 0: random
    codewords, quantized from the first step."""
    revival: Literal["replace", "blend", "none"] = "replace"
    """replace: dead codewords become random latents; blend: CVQ-VAE, as in MGVQ."""
    revive_every: Positive = 50
    """Steps between revivals, at least 1; none take place while the learning rate decays."""
    rate: AtLeast0 = 0.0
    """Weight of one bit in the selection of codewords: squared error (pixels in -1..1, summed). 0: nearest codeword."""
    rate_range: tuple[Above0, Above0] = (0.5, 8.0)
    """Range of the factor on `rate` that is drawn for each sample, so that one model serves a range of rates."""
    rate_caps: tuple[AtLeast0, ...] = ()
    """Largest factor that applies to the first groups, in order; further groups have no cap."""
    refit: tuple[Literal["groups", "balance", "refinements"], ...] = ()
    """Parts of the codebooks that are refitted on the latents of the frozen encoder the run starts from: `groups` and
    `refinements` by k-means; `balance` measures the weight of a bit in each group and moves its codewords, see
    quantization/rate_balance.py."""
    choice: str = ""
    """Name or folder of a model whose context model prices the indices, in a run with a frozen quantizer."""
    rate_ramp: Count = 1000
    """Steps from the start of the codebooks over which `rate` rises from 0."""


class OptimizerRecipe(Settings, frozen=True):
    """AdamW: steps, learning rate, gradient estimator and frozen parts."""

    steps: Positive
    """Length of the run."""
    lr: Above0 = 4e-4
    """Largest learning rate, above 0."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up, see schedule.py."""
    warmup: Count = 500
    """Steps over which the learning rate rises from 0."""
    decay: Count = 0
    """Last steps of a constant schedule that fall along a cosine, 0..steps."""
    floor: Share = 0.001
    """End of the cosine, as a share of `lr`, 0..1."""
    betas: tuple[Share, Share] = (0.9, 0.99)
    """AdamW's two betas."""
    weight_decay: AtLeast0 = 0.0
    """AdamW's weight decay; codewords have none."""
    accumulate: Positive = 1
    """Batches whose gradients make one step, at least 1."""
    clip: Above0 = 1.0
    """Largest norm of the gradient, above 0."""
    ema: Share = 0.999
    """Decay of the moving average of the weights, which is validated and exported."""
    estimator: Literal["noise", "straight-through", "half-and-half", "balanced", "codewords"] = "noise"
    """Gradient estimator of the quantizer, see vqcodec.quantizers.estimators. balanced: for codewords selected by a
    rate; codewords: for a frozen encoder."""
    frozen: tuple[Part, ...] = ()
    """Parts of the tokenizer that are not trained; `tuning.trained` names exceptions. With encoder and quantizer frozen
    the decoder trains on final tokens."""


class GanRecipe(Settings, frozen=True):
    """Adversarial training; without a weight of gan/generator it has no effect."""

    discriminator: Literal["patch", "patch-plain", "style", "dino", "dino-batch"] = "patch"
    """patch-plain: without normalization; dino-batch: batch normalization in the heads."""
    channels: Positive = 64
    """Channels of patch and style at full resolution, at least 1."""
    layers: Annotated[int, Meta(ge=1, le=8)] = 3
    """Layers of patch, 1..8."""
    backbone: str = "dino-small"
    """Frozen network of dino, see alignment/teachers.py."""
    backbone_weights: str = ""
    """File with the backbone's weights. Empty: downloaded."""
    loss: Literal["hinge", "vanilla", "non-saturating"] = "hinge"
    """Loss of the discriminator."""
    generator: Literal["hinge", "vanilla", "non-saturating"] = "hinge"
    """The loss gan/generator; vanilla equals hinge."""
    start: Count = 20000
    """Step from which both sides train."""
    lr: Above0 = 1e-4
    """Learning rate of the discriminator; it follows the tokenizer's schedule."""
    betas: tuple[Below1, Below1] = (0.9, 0.95)
    """AdamW's two betas, 0..1."""
    weight_decay: AtLeast0 = 0.0
    """AdamW's weight decay."""
    clip: Above0 = 1.0
    """Largest norm of the discriminator's gradient, above 0."""
    adaptive: bool = False
    """Multiply the weight of gan/generator by the ratio of the gradients at the decoder's last layer (VQGAN)."""
    lecam: AtLeast0 = 0.0
    """Weight of the LeCAM regularization; 0: none."""
    augment: Share = 0.0
    """Probability of each operation of adversarial/augment.py on the discriminator's input, 0..1."""
    consistency: AtLeast0 = 0.0
    """Weight of the squared change of the logits under stronger augmentation; 0: none."""


class AlignmentRecipe(Settings, frozen=True):
    """One loss align/*."""

    teacher: str = "dinov2-base"
    """Frozen network, see alignment/teachers.py."""
    weights: str = ""
    """File with the teacher's weights. Empty: downloaded."""
    objective: Literal["contrastive", "prediction", "cosine"] = "contrastive"
    """contrastive (XQ-GAN), prediction (FQGAN) or cosine (SoftVQ-VAE), see alignment/measures.py."""
    level: Literal["picture", "pooled", "places"] = "picture"
    """Feature of the teacher: its class token (picture) or the mean of its patches (pooled), compared with the mean of
    the branch's tokens; or its patches, compared position by position (places). XQ-GAN, section 5."""
    branch: int = -1
    """Branch of the quantizer, from 0; -1 is the last."""
    width: Positive = 1024
    """Hidden width of the projector, or of the predictor (a multiple of 8)."""
    layers: Positive = 3
    """Transformer layers of the predictor."""
    scale: Above0 = 1.0
    """Factor on similarities (the inverse of a temperature), above 0."""
    scale_end: AtLeast0 = 0.0
    """Factor at the end of the run, reached linearly; 0: constant."""
    unit_length: bool = False
    """contrastive: cosine instead of the dot product."""
    shared: bool = False
    """contrastive: the encoder's own last layer maps the teacher's features to the latent's channels, as in XQ-GAN;
    needs a vit backbone as wide as the teacher. Otherwise a separate layer is trained."""


class AlignRecipe(Settings, frozen=True):
    """The three losses align/semantic, align/middle and align/detail; one without a weight has no effect."""

    semantic: AlignmentRecipe = field(default_factory=AlignmentRecipe)
    middle: AlignmentRecipe = field(default_factory=AlignmentRecipe)
    detail: AlignmentRecipe = field(default_factory=AlignmentRecipe)

    def of(self, loss: str) -> AlignmentRecipe:
        """Settings of the loss `align/NAME`."""
        part: AlignmentRecipe = getattr(self, loss.removeprefix("align/"))
        return part


class PerturbationRecipe(Settings, frozen=True):
    """Latent perturbation (RobustTok), see quantization/perturbation.py; with `samples` at 0 it has no effect."""

    samples: Share = 0.0
    """Share of the batch that is perturbed, its first samples, 0..1 (beta in RobustTok, 0.1)."""
    tokens: Share = 1.0
    """Share of the tokens of such a sample, 0..1 (alpha)."""
    nearest: Positive = 100
    """Number of nearest codewords a token is replaced from, uniformly, 1..K (delta)."""
    anneal: tuple[int, ...] = ()
    """Two steps between which `tokens` and `nearest` fall linearly. Empty: constant."""
    floor: Share = 0.5
    """Share of both that remains at the end, 0..1."""


class PretrainedRecipe(Settings, frozen=True):
    """Pretrained vision transformer that a vit backbone starts from, see start/from_vit.py."""

    model: str = ""
    """dinov2-small, -base, -large, clip-base, -large, eva02-base or -large (downloaded), or a .pth or safetensors file
    of one, named as in timm (DINOv2: also as in the authors' release). Its layout must be
    tokenizer.backbone.encoder_layers. Empty: random weights."""
    parts: tuple[Literal["encoder", "decoder"], ...] = ("encoder",)
    """Parts that start from it. Tensors that it lacks are trained even in frozen parts and parts on lora."""

    @property
    def started(self) -> tuple[Part, ...]:
        """The parts of the tokenizer that start from weights."""
        return self.parts if self.model else ()


class TuningRecipe(Settings, frozen=True):
    """Low-rank updates (LoRA) of parts that start from weights, see finetuning.py."""

    encoder: Literal["full", "lora"] = "full"
    """Training of the encoder."""
    decoder: Literal["full", "lora"] = "full"
    """Training of the decoder; on lora, its last layer is trained in full."""
    rank: Positive = 8
    """Rank of the updates, at least 1."""
    layers: tuple[str, ...] = ("*.expand", "*.narrow")
    """Patterns of the names of linear layers and convolutions that get an update; the default is the MLPs of a vit, as
    in XQ-GAN."""
    trained: tuple[str, ...] = ()
    """Patterns of parameter names trained in full in parts that are on lora or frozen, for example *.trunk.norm.*"""


class RunRecipe(Settings, frozen=True):
    """Seed, precision, intervals (steps) and validation."""

    seed: int = 0
    """Seed of all random numbers."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Precision of the networks' products."""
    compile: bool = False
    """torch.compile for encoder and decoder: a minute at the start, faster steps on a GPU."""
    tensorboard: bool = True
    """Write TensorBoard files next to log.jsonl, if it is installed."""
    log_every: Positive = 100
    """Steps between rows of the log."""
    val_every: Positive = 2000
    """Steps between validations."""
    save_every: Positive = 500
    """Steps between checkpoints."""
    stop_at: Count = 0
    """Stop after this step, with a checkpoint, to continue with --resume and other settings. 0: at the end."""
    val_crop: Positive = 320
    """Largest side of a validation crop, pixels."""
    val_images: Positive = 24
    """Validation pictures for all measurements but the use of the codebooks."""
    best: Literal["", "psnr", "ssim", "lpips", "usage", "perplexity"] = ""
    """Metric of validation by which best.pt is kept next to the last checkpoint. Empty: none."""


class ExportRecipe(Settings, frozen=True):
    """Quality ladder, layers and packing of the exported model."""

    quality: tuple[Quality, Quality] = (1, 100)
    """First and last quality of the ladder, 1..100."""
    rates: tuple[AtLeast0, ...] = ()
    """Factors on `codebook.rate` along the ladder, falling. Empty: twelve steps over codebook.rate_range. Without a
    rate the ladder has one step per layer."""
    layers: tuple[Positive, ...] = ()
    """Planes in each layer of a file, at most 16 layers. Empty: those of the quantizer, or one layer for groups that
    training never leaves out, see train/file_layers.py."""
    refine_below: AtLeast0 = 0.0
    """Largest factor at which files of the ladder hold the layers of refinements; 0: all of them do."""
    packed: tuple[Literal["encoder", "decoder"], ...] = ()
    """Parts whose weights are written in 8 bits, see vqcodec.models.weights_int8."""


class Recipe(Settings, frozen=True):
    """A training run of a tokenizer."""

    name: str
    """Name of the run's folder and of the exported model."""
    tokenizer: TokenizerConfig
    """Architecture."""
    data: DataRecipe
    optimizer: OptimizerRecipe
    losses: dict[str, float]
    """Weights by `group/name`, see losses/names.py; 0 takes a loss out that a base recipe has."""
    warmup: dict[str, float] = field(default_factory=dict)
    """Steps over which the weight of a loss rises linearly from 0, by the name of the loss."""
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
    """Checkpoint or run folder whose weights and codebooks the run starts from; or the name or folder of a model: taken
    whole if the quantizer is frozen, otherwise its network only, into one that may have more channels and other
    groups."""
    description: str = ""
    """One line for the model card."""

    @property
    def quantizer_frozen(self) -> bool:
        """True if the codebooks are not trained."""
        return "quantizer" in self.optimizer.frozen
