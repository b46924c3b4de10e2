"""Packages of the optional extra `eval`, imported by name with an error that names the extra."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import UsageError

PACKAGES = {
    "DISTS_pytorch.DISTS_pt": "DISTS-pytorch",
    "bjontegaard": "bjontegaard",
    "lpips": "lpips",
    "matplotlib.figure": "matplotlib",
    "pillow_jxl": "pillow-jxl-plugin",
    "ssimulacra2": "ssimulacra2",
    "torch_fidelity.feature_extractor_inceptionv3": "torch-fidelity",
}
"""Module -> the distribution that installs it."""


def need(module: str, feature: str) -> Any:
    """Import `module`, a key of PACKAGES, for `feature`. Raises UsageError if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{feature} needs {PACKAGES[module]}, which comes with the extra: pip install 'vqcodec[eval]' ({error})"
        ) from error
