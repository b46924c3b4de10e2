"""Models that earlier versions bundled: identities -> name and version, for the error of a file that names one."""

from __future__ import annotations

RETIRED = {
    "38c3cdf42837/0b54da2f": ("photo", "0.1"),
    "17457724a5c5/2d7058c5": ("photo-hq", "0.1"),
}
"""Tokens/entropy -> (name of the model, last version that bundles it)."""
