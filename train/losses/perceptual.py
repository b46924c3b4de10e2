"""The loss rec/lpips: distance of two pictures in the features of a frozen VGG16 (LPIPS).

Zhang et al. 2018, section 3 and equation 1. With f_l the features [h, w, C] of depth l scaled to unit length at each
position, and w_l the weights of the `lpips` package,

    LPIPS(y, x) = sum_l mean over positions of sum_c w_lc (f_lc(y) - f_lc(x))^2

The weights of the trunk (528 MB) are in no package and downloaded on first use.
"""

from __future__ import annotations

import http.client
import socket
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vqcodec.errors import InputError
from vqcodec.runtime.torchvision_import import import_torchvision

TRUNK_SHA256 = "397923af"
"""First eight digits of the SHA-256 of the trunk weights."""
TIMEOUT_S = 5.0
"""Time-out of the network, seconds."""
WAY_OUT = "or leave rec/lpips out: --set losses.rec/lpips=0"


def make_perceptual(device: str | torch.device = "cpu") -> Perceptual:
    """LPIPS on `device`. Raises InputError, within seconds, if the package or the trunk weights are missing."""
    lpips = _import_lpips()
    path = _fetch_trunk()
    # Construction draws weights that are replaced at once; the run's random numbers must not depend on this term.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # lpips calls torchvision the way it was called in 2020
        try:
            network = lpips.LPIPS(net="vgg", verbose=False)
        except Exception as error:  # torch raises many kinds for damaged files
            reason = " ".join(str(error).split())[:100]
            raise InputError(f"{path}: not the weights of VGG16 ({reason}); delete it and {_advice(path)}") from error
    return Perceptual(network).to(device)


def installed_perceptual(device: str | torch.device = "cpu") -> Perceptual | None:
    """LPIPS on `device` if the package and the trunk weights are installed; None otherwise, without any download."""
    try:
        _import_lpips()
        return make_perceptual(device) if trunk_path().is_file() else None
    except InputError:
        return None


def trunk_path() -> Path:
    """Path of the trunk weights, once they have been downloaded; torchvision must be importable by now."""
    return Path(torch.hub.get_dir()) / "checkpoints" / trunk_url().rpartition("/")[2]


def lpips_advice() -> str:
    """Command that installs what LPIPS lacks."""
    try:
        _import_lpips()
    except InputError:
        return "pip install lpips torchvision"
    return f"run 'curl -O {trunk_url()}' and put the file at {trunk_path()}"


class Perceptual(nn.Module):
    """(y, x), both [B, 3, H, W] in -1..1, sides of 16 px and more -> LPIPS [B], float32, 0 for equal pictures.

    Only y has a gradient. The trunk runs in the precision of the surrounding autocast. Values are those of `lpips`,
    but the gradient is finite where all features are zero.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network.eval().requires_grad_(False)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Sum over five depths of the weighted squared distance of unit features, mean over positions."""
        with torch.no_grad():
            targets = self._features(x)
        total = y.new_zeros(len(y), dtype=torch.float32)
        for feature, target, weigh in zip(self._features(y), targets, self.network.lins, strict=True):
            with torch.autocast(y.device.type, enabled=False):
                difference = (_unit(feature.float()) - _unit(target.float())).square()
                total = total + weigh(difference).mean((1, 2, 3))
        return total

    def _features(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Pixels [B, 3, H, W] -> features [B, C, h, w] of each depth, finest first."""
        return tuple(self.network.net(self.network.scaling_layer(pixels.float())))


def _unit(feature: Tensor) -> Tensor:
    """feature [B, C, h, w] scaled to length 1 at each position; zeros stay zeros, with a finite gradient."""
    return feature * (feature.square().sum(1, keepdim=True) + 1e-10).rsqrt()


def trunk_url() -> str:
    """Address of the weights in torchvision, which must be importable by now."""
    from torchvision.models import VGG16_Weights

    url: str = VGG16_Weights.IMAGENET1K_V1.url
    return url


def _fetch_trunk() -> Path:
    """Path of the trunk weights in torch's cache; downloads them if they are missing. Raises InputError."""
    path = trunk_path()
    if path.is_file():
        return path
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(trunk_url(), str(path), TRUNK_SHA256, progress=sys.stderr.isatty())
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise InputError(
            f"rec/lpips needs the weights of VGG16 (528 MB), which could not be downloaded ({error}); {_advice(path)}"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return path


def _advice(path: Path) -> str:
    return f"on a machine with network run 'curl -O {trunk_url()}' and put the file at {path}, {WAY_OUT}"


def _import_lpips() -> ModuleType:
    """The package lpips, after `import_torchvision`. Raises InputError if either is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_torchvision()
            import lpips
    except ImportError as error:
        raise InputError(
            f"rec/lpips needs more packages: pip install lpips torchvision ({error}), {WAY_OUT}"
        ) from error
    return lpips
