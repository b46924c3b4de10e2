"""What only the extra `eval` installs: asked for by name, before any work, and missing in one line."""

from __future__ import annotations

import importlib
from typing import Any

from vqcodec.errors import UsageError

PACKAGES = {"bjontegaard": "bjontegaard", "matplotlib.figure": "matplotlib", "pillow_jxl": "pillow-jxl-plugin"}
"""Module -> the package it comes with."""


def need(module: str, wanted: str) -> Any:
    """The imported `module`, a key of `PACKAGES`, that `wanted` (an option and its value) cannot do without.

    Raises UsageError.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{wanted} needs {PACKAGES[module]}, which comes with the extra: pip install 'vqcodec[eval]' ({error})"
        ) from error
