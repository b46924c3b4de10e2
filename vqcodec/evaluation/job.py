"""One picture of an evaluation as a worker process gets it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..metrics import Pixels


@dataclass(frozen=True)
class Job:
    """One picture to evaluate."""

    name: str
    pixels: Pixels = field(repr=False)
    """uint8 [H, W, 3]."""
    show: bool = False
    """Also return its decoded pictures for the report."""
