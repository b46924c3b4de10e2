"""Frozen vision transformers (DINO, DINOv2, CLIP, EVA-02, SAM) for alignment, discriminators and starts.

Networks come from timm and open_clip (the extra `alignment`); weights are downloaded on first use.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor, nn
from typing_extensions import override

from vqcodec.errors import InputError, UsageError
from vqcodec.runtime.torchvision_import import import_torchvision

from ..adversarial.augment import view
from ..losses.perceptual import TIMEOUT_S

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DISCRIMINATOR = "take dino-small"
"""Advice for a discriminator's backbone that has no depths."""
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class Source:
    """Package, name and input size of a teacher."""

    package: str
    """timm or open_clip."""
    name: str
    px: int = 224
    patch: int = 0
    """Patch size that the weights are resampled to; 0 leaves it."""
    pretrained: str = ""
    """open_clip: the tag of the weights."""


TEACHERS: dict[str, Source] = {
    "dino-small": Source("timm", "vit_small_patch16_224.dino"),
    "dinov2-small": Source("timm", "vit_small_patch14_dinov2.lvd142m"),
    "dinov2-base": Source("timm", "vit_base_patch14_dinov2.lvd142m"),
    "dinov2-large": Source("timm", "vit_large_patch14_dinov2.lvd142m"),
    "dinov2-base-p16": Source("timm", "vit_base_patch14_dinov2.lvd142m", 256, 16),
    "dinov2-large-p16": Source("timm", "vit_large_patch14_dinov2.lvd142m", 256, 16),
    "sam-base": Source("timm", "samvit_base_patch16.sa1b", 1024),
    "eva02-base": Source("timm", "eva02_base_patch14_224.mim_in22k"),
    "eva02-large": Source("timm", "eva02_large_patch14_224.mim_in22k"),
    "clip-base": Source("timm", "vit_base_patch16_clip_224.openai"),
    "clip-large": Source("timm", "vit_large_patch14_clip_224.openai"),
}
"""Teachers by their names in recipes, which also take timm:NAME and open_clip:NAME/WEIGHTS."""


class Features(NamedTuple):
    """Features of a batch of pictures."""

    picture: Tensor
    """[B, C]: the class token after the last norm."""
    places: Tensor
    """[B, N, C]: the patches, in rows."""


class Teacher(nn.Module):
    """Frozen network of `width` C and `blocks` for pictures of `px` pixels a side; the pixels get a gradient."""

    width: int
    blocks: int
    px: int

    @abstractmethod
    def forward(self, x: Tensor) -> Features:
        """Pixels x [B, 3, H, W] in -1..1, scaled to px -> Features."""

    @abstractmethod
    def depths(self, x: Tensor, depths: tuple[int, ...]) -> list[Tensor]:
        """x as in forward -> for each depth the sum of positional and picture features [B, N, C].

        Depth 0 is the input of the first block, depth i the output of block i.
        """


class VitTeacher(Teacher):
    """A vision transformer of timm."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Any, px: int, scale: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        super().__init__()
        self.network: Any = network.eval().requires_grad_(False)
        self.width, self.blocks, self.px = self.network.embed_dim, len(self.network.blocks), px
        for name, values in zip(("mean", "std"), scale, strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> VitTeacher:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> Features:
        """Pixels x [B, 3, H, W] in -1..1 -> class token [B, C] and patches [B, N, C]."""
        tokens = self.network.forward_features(self._scaled(x))
        return Features(tokens[:, 0], tokens[:, self.network.num_prefix_tokens :])

    @override
    def depths(self, x: Tensor, depths: tuple[int, ...]) -> list[Tensor]:
        net = self.network
        # timm has no public call for the tokens before the first block.
        tokens = net.norm_pre(net._pos_embed(net.patch_embed(self._scaled(x))))  # noqa: SLF001
        found = {0: tokens}
        for i, block in enumerate(net.blocks, start=1):
            tokens = block(tokens)
            found[i] = tokens
        return [found[depth][:, net.num_prefix_tokens :] + found[depth][:, :1] for depth in depths]

    def _scaled(self, x: Tensor) -> Tensor:
        return (view((x.float() + 1) / 2, None, self.px) - self.mean) / self.std


class EvaTeacher(VitTeacher):
    """EVA-02 of timm, whose last norm follows the pooling."""

    def forward(self, x: Tensor) -> Features:
        """Pixels x [B, 3, H, W] in -1..1 -> class token [B, C] and patches [B, N, C]."""
        tokens = self.network.forward_features(self._scaled(x))
        if isinstance(self.network.norm, nn.Identity):
            tokens = self.network.fc_norm(tokens)
        return Features(tokens[:, 0], tokens[:, self.network.num_prefix_tokens :])

    def depths(self, x: Tensor, depths: tuple[int, ...]) -> list[Tensor]:
        """Raises UsageError: EVA-02 has no such features."""
        raise UsageError(f"a discriminator needs a plain vision transformer, not EVA-02; {DISCRIMINATOR}")


class SamTeacher(VitTeacher):
    """Picture encoder of SAM (Kirillov et al. 2023) in timm; C is the width of its neck.

    It has no class token, so its picture feature is the mean over positions.
    """

    def __init__(self, network: Any, px: int, scale: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        super().__init__(network, px, scale)
        self.width = self.network.neck[0].out_channels

    def forward(self, x: Tensor) -> Features:
        """Pixels x [B, 3, H, W] in -1..1 -> mean over positions [B, C] and positions [B, N, C]."""
        places = self.network.forward_features(self._scaled(x)).flatten(2).transpose(1, 2)
        return Features(places.mean(1), places)

    def depths(self, x: Tensor, depths: tuple[int, ...]) -> list[Tensor]:
        """Raises UsageError: SAM has no such features."""
        raise UsageError(f"a discriminator needs a plain vision transformer, not SAM; {DISCRIMINATOR}")


VIT_TEACHERS: dict[str, type[VitTeacher]] = {"Eva": EvaTeacher, "VisionTransformerSAM": SamTeacher}
"""Teachers by the class of timm's network, for those that are no plain vision transformer."""


class OpenClipTeacher(Teacher):
    """Picture tower of an open_clip model; its `picture` feature is in the space shared with text."""

    mean: Tensor
    std: Tensor

    def __init__(self, visual: Any, px: int) -> None:
        super().__init__()
        self.visual: Any = visual.eval().requires_grad_(False)
        self.visual.output_tokens = True
        self.px, self.blocks = px, len(self.visual.transformer.resblocks)
        self.width = self.visual.output_dim
        for name, values in zip(("mean", "std"), CLIP, strict=True):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> OpenClipTeacher:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> Features:
        """Pixels x [B, 3, H, W] in -1..1 -> picture feature [B, C] and patches [B, N, C]."""
        picture, places = self.visual((view((x.float() + 1) / 2, None, self.px) - self.mean) / self.std)
        return Features(picture, places @ self.visual.proj)

    def depths(self, x: Tensor, depths: tuple[int, ...]) -> list[Tensor]:
        """Raises UsageError: open_clip gives no such features."""
        raise UsageError(f"a discriminator needs a network of timm, not of open_clip; {DISCRIMINATOR}")


def source_of(name: str, where: str) -> Source:
    """Source of the teacher `name`. Raises UsageError naming the key `where`."""
    if name in TEACHERS:
        return TEACHERS[name]
    package, sign, model = name.partition(":")
    if sign and package == "timm" and model:
        return Source("timm", model)
    model, slash, tag = model.partition("/")
    if sign and package == "open_clip" and model and slash and tag:
        return Source("open_clip", model, pretrained=tag)
    raise UsageError(f"{where}: '{name}' is not one of {', '.join(TEACHERS)}, timm:NAME, open_clip:NAME/WEIGHTS")


def load_teacher(name: str, loss: str, key: str, weights: str = "", device: str | torch.device = "cpu") -> Teacher:
    """Teacher `name` on `device`, for `loss`; `weights` is a file with its weights, set by the key `key`.

    Raises InputError, in one line with a remedy, if the package or the weights are missing.
    """
    source = source_of(name, loss)
    way_out = f"or leave {loss} out: --set losses.{loss}=0"
    if weights and not Path(weights).is_file():
        raise InputError(f"{weights}: no such file; it should hold the weights of {name}, {way_out}")
    return fetch(source, loss, key, way_out, weights).to(device)


def fetch(source: Source, what: str, key: str, way_out: str, weights: str = "") -> Teacher:
    """Network of `source` for the setting `what`, with weights of the file `weights` or from the hub or its cache.

    Raises InputError, in one line that ends in `way_out`, if they are missing; the key `key` names a file.
    """
    package = _import(source.package, what, way_out)
    build = _build_timm if source.package == "timm" else _build_open_clip
    # Construction draws weights that are replaced at once; the run's random numbers must not depend on this term.
    with _quiet(), _hub_if_reachable(), torch.random.fork_rng(devices=[]):
        try:
            return build(package, source, weights)
        except Exception as error:  # the packages raise many kinds for a network that is not there or damaged files
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{what} needs the weights of {source.name}, which are not available ({reason}); download them on a "
                f"machine with network and name the file: --set {key}=FILE, {way_out}"
            ) from error


def _build_timm(timm: Any, source: Source, weights: str) -> Teacher:
    options: dict[str, Any] = {"pretrained": True, "num_classes": 0, "img_size": source.px}
    if source.patch:
        options["patch_size"] = source.patch
    if weights:
        options["pretrained_cfg_overlay"] = {"file": weights}
    network = timm.create_model(source.name, **options)
    scale = CLIP if "clip" in source.name or source.name.startswith("eva") else IMAGENET
    return VIT_TEACHERS.get(type(network).__name__, VitTeacher)(network, source.px, scale)


def _build_open_clip(open_clip: Any, source: Source, weights: str) -> Teacher:
    visual = open_clip.create_model(source.name, pretrained=weights or source.pretrained).visual
    side = visual.image_size
    return OpenClipTeacher(visual, side if isinstance(side, int) else side[0])


def _import(package: str, what: str, way_out: str) -> ModuleType:
    """The package timm or open_clip, after `import_torchvision`. Raises InputError if it is not installed."""
    try:
        with _quiet():
            import_torchvision()
            if package == "timm":
                import timm

                return timm
            import open_clip

            return open_clip
    except ImportError as error:
        raise InputError(
            f"{what} needs more packages: pip install 'vqcodec[alignment]' ({error}), {way_out}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


@contextlib.contextmanager
def _hub_if_reachable() -> Iterator[None]:
    """Use the hub's cache alone if the hub cannot be reached, which avoids a minute of retries."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable(url: str) -> bool:
    """True if a connection to `url` succeeds, or if a proxy is configured for it."""
    parts = urlsplit(url)
    if getproxies().get(parts.scheme) or not parts.hostname:
        return True
    try:
        socket.create_connection((parts.hostname, parts.port or 443), TIMEOUT_S).close()
    except OSError:
        return False
    return True
