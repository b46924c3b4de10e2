"""Import of published checkpoints as model folders, and the table of known systems and releases."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..config.model import ModelConfig, TokenizerConfig, check_model
from ..errors import ModelError, OutputError, UsageError
from ..models.loading import write_model
from ..models.registry import CONFIG
from ..runtime.progress import Part, working
from . import fqgan, mgvq, softvq, xqgan


class System(NamedTuple):
    """Family of releases with one tensor layout."""

    name: str
    releases: Mapping[str, TokenizerConfig]
    from_released: Callable[[TokenizerConfig, Mapping[str, Tensor]], dict[str, Tensor]]
    skipped: tuple[str, ...]
    """Patterns of the keys for training only."""
    terms: str
    """Licence of the weights as stated by the authors."""
    nested: bool = False
    """True if training masks trailing groups of channels, so that each group is a layer; False: one layer of all."""

    @property
    def family(self) -> str:
        """Prefix of the names of its releases: mgvq, xqgan, softvq, fqgan."""
        return next(iter(self.releases)).split("-")[0]


SYSTEMS = (
    System("MGVQ", mgvq.RELEASES, mgvq.from_released, mgvq.SKIPPED, "MIT, by the authors' README", nested=True),
    System(
        "XQ-GAN",
        xqgan.RELEASES,
        xqgan.from_released,
        xqgan.SKIPPED,
        "Adobe Research License: research without commercial use",
    ),
    System("SoftVQ-VAE", softvq.RELEASES, softvq.from_released, softvq.SKIPPED, "Apache-2.0, by the model's class"),
    System("FQGAN", fqgan.RELEASES, fqgan.from_released, fqgan.SKIPPED, "CC-BY-NC-4.0"),
)


class Imported(NamedTuple):
    """Result of an import: the configuration of the model, and the tensors that were left out."""

    config: ModelConfig
    skipped: dict[str, int]
    """Common prefix of the tensors that were left out (or a single name) -> their number."""


def find_release(name: str) -> tuple[System, TokenizerConfig]:
    """Find the system and configuration of the release `name`. Raises UsageError with the nearest names."""
    known = {release: (system, config) for system in SYSTEMS for release, config in system.releases.items()}
    if name in known:
        return known[name]
    for system in SYSTEMS:
        if name == system.family:
            releases = ", ".join(system.releases)
            raise UsageError(
                f"{name}: a family; name a release of it ({releases}), or give sizes by --config FILE.toml"
            )
    near = difflib.get_close_matches(name, known, n=3)
    meant = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    raise UsageError(f"{name}: no release of that name; {meant}")


def import_release(
    system: System, config: TokenizerConfig, state: Mapping[str, Tensor], folder: Path, name: str, force: bool = False
) -> Imported:
    """Write a model `name` with adaptive tables to `folder`; a failure leaves no partial folder.

    Raises ModelError for a state dict that does not fit the release, and OutputError if `folder` exists or cannot be
    written.
    """
    check_folder(folder, force)
    tensors = {}
    for key, value in system.from_released(config, state).items():
        with working(Part.WEIGHTS, value.nbytes):
            tensors[key] = as_array(key, value)
    model = ModelConfig(
        name=name,
        tokenizer=config,
        token_id="",
        entropy_id="",
        weights_sha256="",
        layers=_layers(system, config),
        ladder=(),
        license=system.terms,
        description=f"{system.name}, imported",
    )
    check_model(model, name)
    skipped = _left_out(system, state)
    try:
        written = _write(folder, model, tensors, card(system, model, skipped))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return Imported(written, skipped)


def check_folder(folder: Path, force: bool) -> None:
    """Raise OutputError if `folder` is a file, or holds a model and `force` is not set."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder")
    if (folder / CONFIG).exists() and not force:
        raise OutputError(f"{folder}: holds a model already; add -f to overwrite it")


def as_array(name: str, value: Tensor) -> np.ndarray:
    """Values of a tensor in float16 or float32. Raises ModelError if they are missing or not finite."""
    if value.is_meta:
        raise ModelError(f"released checkpoint: the source of {name} has no values")
    wide = value.detach().to("cpu", value.dtype if value.dtype == torch.float16 else torch.float32)
    if not bool(torch.isfinite(wide).all()):
        raise ModelError(f"released checkpoint: the source of {name} holds values that are not finite")
    return np.ascontiguousarray(wide.numpy())


def card(system: System, model: ModelConfig, skipped: Mapping[str, int]) -> str:
    """Text of the model's README."""
    left = ", ".join(f"{name} ({count})" for name, count in skipped.items()) or "none"
    return "\n".join(
        [
            f"# {model.name}",
            "",
            f"Weights of {system.name}, imported from the authors' checkpoint as release `{model.name}`; nothing was "
            "trained here.",
            "",
            f"Terms of the weights: {system.terms}.",
            "",
            f"Tensors of the checkpoint that only training needs, left out: {left}.",
            "",
            "Tokens are coded by adaptive tables: every import of the same checkpoint has the same identity "
            "and reads the same files. `vqcodec train prior` trains a prior for smaller files.",
            "",
        ]
    )


def _layers(system: System, config: TokenizerConfig) -> tuple[tuple[int, ...], ...]:
    """Planes of each layer; unordered groups (branches) form a single layer."""
    if config.quantizer.kind == "product-vq" and not system.nested:
        return (tuple(range(len(config.quantizer.sizes))),)
    return config.quantizer.layers


def _left_out(system: System, state: Mapping[str, Tensor]) -> dict[str, int]:
    """Common prefix of the tensors for training only (or a single name) -> their number."""
    found: dict[str, list[str]] = {}
    for key in state:
        if any(re.match(pattern, key) for pattern in system.skipped):
            found.setdefault(key.split(".")[0], []).append(key)
    return {keys[0] if len(keys) == 1 else f"{start}.*": len(keys) for start, keys in found.items()}


def _write(folder: Path, model: ModelConfig, tensors: dict[str, np.ndarray], text: str) -> ModelConfig:
    """Write a temporary folder next to `folder` and move it into place once it is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}.", suffix=".part", dir=folder.parent))
    try:
        with working(Part.WEIGHTS, sum(value.nbytes for value in tensors.values())):
            written = write_model(draft, model, tensors)
        (draft / "README.md").write_text(text, encoding="utf-8")
        os.chmod(draft, 0o777 & ~_umask())
        if folder.exists():
            for file in sorted(
                draft.iterdir(), key=lambda file: file.name == CONFIG
            ):  # the configuration last: it marks a complete model
                os.replace(file, folder / file.name)
        else:
            os.rename(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return written


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
