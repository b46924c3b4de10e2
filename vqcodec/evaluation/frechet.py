"""Fréchet Inception distance between originals and decoded pictures (rFID; Heusel et al. 2017).

Features are those of the Inception v3 of the original implementation, ported by the package `torch-fidelity` with
TensorFlow's resizing to 299 px; its weights are those of `pretrained`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..metrics import Pixels
from . import pretrained
from .quality import torchvision_package

FEATURES = 2048


class Statistics:
    """Mean and covariance of feature vectors, added one by one."""

    def __init__(self) -> None:
        self.n = 0
        self._sum = np.zeros(FEATURES)
        self._products = np.zeros((FEATURES, FEATURES))

    def add(self, features: np.ndarray) -> None:
        """Count one vector [FEATURES]."""
        values = features.astype(np.float64)
        self.n += 1
        self._sum += values
        self._products += np.outer(values, values)

    @property
    def mean(self) -> np.ndarray:
        """[FEATURES]."""
        return self._sum / self.n

    @property
    def covariance(self) -> np.ndarray:
        """[FEATURES, FEATURES], for at least two vectors."""
        return (self._products - self.n * np.outer(self.mean, self.mean)) / (self.n - 1)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|mean difference|^2 + trace(A + B - 2 (A B)^(1/2)); nan for fewer than two vectors."""
    if min(a.n, b.n) < 2:
        return float("nan")
    # The trace of (A B)^(1/2) is that of the symmetric (A^(1/2) B A^(1/2))^(1/2).
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(0)).sum()
    distance = np.square(a.mean - b.mean).sum() + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross
    return max(float(distance), 0.0)


def inception_features(pixels: Pixels, files: Sequence[Path] = ()) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 [FEATURES]. Raises UsageError or InputError as `load_inception` does."""
    import torch

    with torch.inference_mode():
        (features,) = load_inception(tuple(files))(torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None])
    return features[0].float().numpy()


@functools.lru_cache(maxsize=1)
def load_inception(files: tuple[Path, ...]) -> Any:
    """The network. Raises UsageError if a package is missing, InputError if the weights cannot be had."""
    package = torchvision_package("torch_fidelity.feature_extractor_inceptionv3", "rFID")
    path = pretrained.path_of("inception", files)
    return package.FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path)).eval()
