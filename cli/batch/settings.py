"""Options of a batch that its conversions and workers need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqcodec.config.effort import EFFORT

from .remote_tree import Place


@dataclass(frozen=True)
class Settings:
    """Options of a batch, equal for all files."""

    src: Place
    dst: Place
    to: str
    """vqc, png, jpg, webp, avif, tiff or npz."""
    model: str
    """Name or folder."""
    rate: dict[str, Any]
    """Keywords of `vqcodec.encode`, from `options.parse_rate`; `quality` is that of JPEG, WebP and AVIF too."""
    strip: bool
    device: str
    max_pixels: int
    debug: bool
    effort: int = EFFORT
    keep_times: bool = False
    strict: bool = False
    """A file that would need a warning fails."""
    shards: bool = False
    """The pictures in .tar shards are converted too."""
    identity: str = ""
    """Digest of the options and the model, which determine the bytes of a target."""


@dataclass(frozen=True)
class Choices:
    """Options of a run that do not change the bytes of its targets."""

    jobs: int = 0
    """Worker processes; 0: automatic."""
    threads: int = 0
    """CPU threads of each; 0: automatic."""
    ray: str | None = None
    """Address of a Ray cluster that converts the files; None: this machine does."""
    resume: bool = False
    force: bool = False
    dry_run: bool = False
    fail_fast: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    manifest: Path | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
