"""Published weights of networks that metrics need: given as a file, in torch's cache, or downloaded into it."""

from __future__ import annotations

import functools
import http.client
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, UsageError
from ..runtime.torchvision_import import import_torchvision

TIMEOUT_S = 5.0
"""Time-out of the network, seconds."""


@dataclass(frozen=True)
class Network:
    """One set of published weights."""

    title: str
    source: str
    """Address of the file, or the name of its entry in `torchvision.models`."""
    sha256: str
    """First eight digits of the file's SHA-256."""
    tensors: tuple[str, ...]
    """Names of tensors that only these weights have together."""

    @property
    def url(self) -> str:
        """Address of the file. Raises ImportError if torchvision, which has it, is not installed."""
        if "://" in self.source:
            return self.source
        import_torchvision()
        from torchvision import models

        address: str = getattr(models, self.source).IMAGENET1K_V1.url
        return address

    @property
    def path(self) -> Path:
        """Path in torch's cache."""
        import torch

        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]


NETWORKS = {
    "vgg16": Network(
        "VGG16 (528 MB)",
        "VGG16_Weights",
        "397923af",
        ("features.0.weight", "features.28.weight"),
    ),
    "alexnet": Network(
        "AlexNet (233 MB)",
        "AlexNet_Weights",
        "7be5be79",
        ("features.0.weight", "features.3.weight", "features.10.weight"),
    ),
    "inception": Network(
        "Inception v3 of FID (91 MB)",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
        "6726825d",
        ("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.conv.weight"),
    ),
}


def state_dict(kind: str, files: Sequence[Path] = ()) -> dict[str, Any]:
    """Tensors of a network of NETWORKS, from the file `path_of`. Raises InputError."""
    return read_tensors(path_of(kind, files))


def path_of(kind: str, files: Sequence[Path] = ()) -> Path:
    """The one of `files` that holds the weights of a network of NETWORKS, else the file in torch's cache.

    Downloads the weights if neither has them. Raises InputError, within seconds, if they cannot be had.
    """
    network = NETWORKS[kind]
    for file in files:
        tensors = read_tensors(file)
        if all(name in tensors for name in network.tensors):
            return file
    return _fetch(network)


def check_files(files: Sequence[Path]) -> None:
    """Raise InputError or UsageError if a file is missing or holds the weights of none of NETWORKS."""
    for file in files:
        tensors = read_tensors(file)
        if not any(all(name in tensors for name in network.tensors) for network in NETWORKS.values()):
            titles = ", ".join(network.title.partition(" (")[0] for network in NETWORKS.values())
            raise UsageError(f"{file}: holds the weights of none of {titles}")


@functools.lru_cache(maxsize=4)
def read_tensors(path: Path) -> dict[str, Any]:
    """Named tensors of a file of torch; executes no code of it. Raises InputError."""
    import torch

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # torch raises many kinds for damaged files
        raise InputError(f"{path}: not a file of weights ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(tensors, dict):
        raise InputError(f"{path}: holds no named tensors")
    return tensors


def _fetch(network: Network) -> Path:
    import torch

    path = network.path
    if path.is_file():
        return path
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(network.url, str(path), network.sha256, progress=False)
    except (OSError, http.client.HTTPException, RuntimeError) as error:
        raise InputError(
            f"the weights of {network.title} could not be downloaded ({error}); on a machine with network run "
            f"'curl -LO {network.url}' and pass the file with --weights"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return path
