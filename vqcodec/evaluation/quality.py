"""Table of all quality metrics of an evaluation, and those that need further packages or published weights.

SSIMULACRA 2: package `ssimulacra2`. LPIPS (Zhang et al. 2018): package `lpips`, with the trunk AlexNet or VGG16. DISTS
(Ding et al. 2020): package `DISTS-pytorch`, with VGG16. The trunks are weights of `pretrained`.
"""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import UsageError
from ..metrics import METRICS, Metric, Pixels, ssim
from ..runtime.torchvision_import import import_torchvision
from . import extra, pretrained
from .smooth_areas import patch_error, step_error

LEAST_SIDE = 16
"""Smallest shorter side, px, that the networks of LPIPS and DISTS accept."""


def ssimulacra2(a: Pixels, b: Pixels) -> float:
    """SSIMULACRA 2: 100 for equal pictures, 70 for high quality, below 0 for very low; nan under 8 px."""
    if min(a.shape[:2]) < 8:
        return math.nan
    library = extra.need("ssimulacra2", "the metric ssimulacra2")
    return float(library.compute_ssimulacra2(_png(a), _png(b)))


def _png(pixels: Pixels) -> io.BytesIO:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=0)  # the package reads files only
    out.seek(0)
    return out


def lpips(a: Pixels, b: Pixels, *, trunk: str, files: tuple[Path, ...] = (), zero_to_one: bool = False) -> float:
    """LPIPS, 0 for equal pictures; nan under 16 px.

    Args:
        a: original, uint8 [H, W, 3].
        b: decoded picture of the same shape.
        trunk: `alex` or `vgg`.
        files: weights given by the caller, see `pretrained.state_dict`.
        zero_to_one: pass pixels as 0..1 where the network expects -1..1, as MGVQ's script does.
    """
    if min(a.shape[:2]) < LEAST_SIDE:
        return math.nan
    import torch

    network = _lpips_network(trunk, files)
    with torch.inference_mode():
        x, y = (_tensor(p) if zero_to_one else _tensor(p) * 2 - 1 for p in (a, b))
        return float(network(x, y))


def dists(a: Pixels, b: Pixels, *, files: tuple[Path, ...] = ()) -> float:
    """DISTS, 0 for equal pictures; nan under 16 px. Pictures are not resized."""
    if min(a.shape[:2]) < LEAST_SIDE:
        return math.nan
    import torch

    with torch.inference_mode():
        return max(float(_dists_network(files)(_tensor(a), _tensor(b))), 0.0)


def _tensor(pixels: Pixels) -> Any:
    import torch

    return torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]


TRUNKS = {"alex": "alexnet", "vgg": "vgg16"}
"""Name of a trunk in the package lpips -> key of `pretrained.NETWORKS`."""


@functools.lru_cache(maxsize=2)
def _lpips_network(trunk: str, files: tuple[Path, ...]) -> Any:
    package = torchvision_package("lpips", f"the metric lpips ({trunk})")
    weights = pretrained.state_dict(TRUNKS[trunk], files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision the way it was called in 2020
        network = package.LPIPS(net=trunk, pnet_rand=True, verbose=False)
    state = network.net.state_dict()  # "slice2.3.weight" is "features.3.weight" of the trunk
    network.net.load_state_dict({name: weights["features." + name.split(".", 1)[1]] for name in state})
    return network.eval()


@functools.lru_cache(maxsize=1)
def _dists_network(files: tuple[Path, ...]) -> Any:
    import torch

    package = torchvision_package("DISTS_pytorch.DISTS_pt", "the metric dists")
    weights = pretrained.state_dict("vgg16", files)
    from torchvision import models

    build = models.vgg16
    try:
        models.vgg16 = lambda **_: build()  # its constructor would download the trunk
        network = package.DISTS(load_weights=False)  # it looks for its own weights in another folder
    finally:
        models.vgg16 = build
    own = torch.load(Path(package.__file__).parent / "weights.pt", map_location="cpu", weights_only=True)
    state = network.state_dict()
    for name in state:
        if name.startswith("stage") and not name.endswith(".filter"):
            state[name] = weights["features." + name.split(".", 1)[1]]
    network.load_state_dict(state | own)
    return network.eval()


def torchvision_package(module: str, feature: str) -> Any:
    """A module of `extra.PACKAGES` that needs torchvision. Raises UsageError if either is not installed."""
    try:
        import_torchvision()
    except ImportError as error:
        raise UsageError(f"{feature} needs torchvision: pip install 'vqcodec[eval]' ({error})") from error
    return extra.need(module, feature)


Measure = Callable[[Pixels, Pixels], float]
FIXED: dict[str, Metric] = {
    **METRICS,
    "ssim": Metric("ssim", "SSIM", 4, ssim),
    "ssimulacra2": Metric("ssimulacra2", "SSIMULACRA 2", 2, ssimulacra2),
    "patch": Metric("patch", "patch levels", 1, patch_error, lower_is_better=True, bd_rate=False),
    "step": Metric("step", "step levels", 1, step_error, lower_is_better=True, bd_rate=False),
}
"""Metrics without weights."""
NAMES = (*FIXED, "lpips", "lpips-vgg", "dists")


def metric_of(name: str, files: Sequence[Path] = ()) -> Metric:
    """The metric called `name`, whose networks take weights from `files` first.

    Raises UsageError if the name is unknown or a package is missing, InputError if weights cannot be had.
    """
    weights = tuple(files)
    if name not in NAMES:
        raise UsageError(f"no metric {name!r}; the metrics are {', '.join(NAMES)}")
    if name == "ssimulacra2":
        extra.need("ssimulacra2", "the metric ssimulacra2")
    if name in FIXED:
        return FIXED[name]
    measure: Measure
    if name == "dists":
        _dists_network(weights)
        return Metric(name, "DISTS", 4, functools.partial(dists, files=weights), lower_is_better=True)
    trunk = "vgg" if name == "lpips-vgg" else "alex"
    _lpips_network(trunk, weights)
    measure = functools.partial(lpips, trunk=trunk, files=weights)
    return Metric(name, "LPIPS" if trunk == "alex" else "LPIPS (VGG)", 4, measure, lower_is_better=True)
