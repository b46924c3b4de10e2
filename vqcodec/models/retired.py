"""Models that earlier versions bundled, for the error of a file that names one."""

from __future__ import annotations

from typing import NamedTuple


class Retired(NamedTuple):
    """A model of an earlier version."""

    name: str
    version: str
    """Last version that bundles it."""
    loads: bool
    """True if this version can run it from the folder of the model."""


RETIRED = {
    "38c3cdf42837/0b54da2f": Retired("photo", "0.1", True),
    "17457724a5c5/2d7058c5": Retired("photo-hq", "0.1", True),
    "1d9c2dec68d6/af7f93fc": Retired("photo-wavelet", "0.1", False),
}
"""Tokens/entropy -> the model."""
