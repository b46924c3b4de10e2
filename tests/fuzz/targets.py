"""Targets of fuzzing: a reader of foreign data, valid seeds, a mutation that repairs checksums, documented errors."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
import torch

import vqcodec
from vqcodec import container
from vqcodec.container.alpha import decode_alpha
from vqcodec.container.truncate import cut_to_bytes, cut_to_layers
from vqcodec.errors import FormatError, InputError, LimitError, ModelError, TargetError, UsageError, VqcError
from vqcodec.geometry.token_layout import plane_shapes
from vqcodec.importing.checkpoint import read_checkpoint
from vqcodec.models import loading, registry
from vqcodec.planes import MISSING
from vqcodec.tokens.npz import read_arrays, write_arrays
from vqcodec.tokens.reading import read_tokens
from vqcodec.tokens.tokens import Tokens, write_tokens

from . import archive_mutation, model_mutation, vqc_mutation
from .models import write_models

PIXELS = 2**20
"""Limit on pixels while tokens are decoded."""
NETWORK_PIXELS = 2**16
"""Limit on pixels while networks run."""
READ = (InputError, FormatError, LimitError)
"""Documented errors of a .vqc file that is damaged, or beyond a limit."""
MODELS = ("adaptive", "context", "stepped", "windowed")


@dataclass(frozen=True)
class Target:
    """A reader under attack."""

    name: str
    seeds: Callable[[], list[bytes]]
    """Valid inputs."""
    mutated: Callable[[bytes, Random], bytes]
    """An input made of a valid one, checksums repaired."""
    repaired: Callable[[bytes], bytes]
    """An input of any edits with its checksums repaired."""
    run: Callable[[bytes], None]
    """Read one input. Raises one of `errors`, where it is refused."""
    errors: tuple[type[VqcError], ...]
    """Documented errors."""


scratch = Path()
"""Folder of the files that targets write; `setup` makes it."""


def setup(base: Path) -> None:
    """Write the models of MODELS into `base`, or use those there, and make them the installed ones.

    Their configurations are read only once.
    """
    global scratch
    scratch, models = base / "scratch", base / "models"
    scratch.mkdir(exist_ok=True)
    if not models.exists():
        write_models(models)
    registry.cache_folder = lambda: models
    registry.survey = lru_cache(registry.survey)


def tokens_of(name: str, width: int, height: int, random: np.random.Generator, keep: int | None = None) -> Tokens:
    """Random tokens of a picture of a model, with few different indices, as files have them."""
    config = registry.find(name).config
    sizes = loading.load_model(name).entropy.sizes
    step = 20 if name == "stepped" else None
    planes = []
    for size, shape in zip(sizes, plane_shapes(config.tokenizer, width, height), strict=True):
        near = size // 2 + np.round(random.laplace(0, 2, shape)) if size > 100 else random.integers(0, size, shape)
        planes.append(np.clip(near, 0, size - 1).astype(np.int32))
    tokens = Tokens(tuple(planes), width, height, name, config.layers, step=step)
    return tokens if keep is None else tokens.kept(keep)


@lru_cache
def files() -> list[bytes]:
    """Valid files: every model, one tile and several, alpha, metadata, maps, cut ones."""
    random, found = np.random.default_rng(0), []
    for name in MODELS:
        model = loading.load_model(name)
        for width, height in ((1, 1), (60, 40), (130, 100)):
            tokens = tokens_of(name, width, height, random)
            tile = None if name == "windowed" else 64
            found.append(write_tokens(tokens, model, tile))
            alpha = (random.integers(0, 4, (height, width)) * 80).astype(np.uint8)
            rich = replace(tokens, alpha=alpha, icc=b"icc", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0", xmp=b"<x/>", grey=True)
            found.append(write_tokens(rich, model, tile))
            if len(found[-2]) > 100:
                found.append(vqcodec.truncate(found[-2], max_bytes=len(found[-2]) * 2 // 3))
    tokens = tokens_of("context", 130, 100, random)
    for y, x in ((0, 0), (1, 1)):
        for plane in tokens.planes[2:]:
            plane[4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = MISSING
    found.append(write_tokens(tokens, loading.load_model("context")))
    assert any(container.read_head(data).header.mapped for data in found)
    return found


def archives() -> list[bytes]:
    """Valid .npz files of tokens."""
    return [write_arrays(vqcodec.decode_tokens(data)) for data in files() if not container.read_head(data).header.cut]


def folders() -> list[bytes]:
    """Valid model folders."""
    return [model_mutation.packed_folder(registry.find(name).folder) for name in MODELS]


def checkpoints() -> list[bytes]:
    """Valid checkpoints of all three file types."""
    from safetensors.torch import save

    weights = {"encoder.weight": torch.arange(6.0).reshape(2, 3), "encoder.bias": torch.ones(2, dtype=torch.float16)}
    trees = (
        weights,
        {"model": weights, "steps": 7, "args": argparse.Namespace(lr=1e-4, out=Path("a/b"), x=np.ones(2))},
        {"ema": weights, "optimizer": {"state": {0: [1, 2]}}},
    )
    found = [bytes(save(weights))]
    for tree in trees:
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(tree, file, _use_new_zipfile_serialization=zipped)
            found.append(file.getvalue())
    return found


def run_container(data: bytes) -> None:
    """Facts, parts with and without damage, alpha and truncation; no model is used."""
    partial: container.File | None = None
    with contextlib.suppress(*READ):
        partial = container.read(data, allow_partial=True, max_pixels=PIXELS)
    if partial is not None and partial.alpha is not None:
        with contextlib.suppress(FormatError):
            decode_alpha(partial.alpha, partial.header.width, partial.header.height)
    vqcodec.inspect(data, PIXELS)
    file = container.read(data, max_pixels=PIXELS)
    assert partial is not None
    assert partial.complete
    assert container.read(cut_to_layers(file, file.header.n_layers), max_pixels=None).segments == file.segments
    cut_to_layers(file, 1)
    if file.header.n_tiles < 50:
        with contextlib.suppress(TargetError):
            short = cut_to_bytes(file, len(data) * 3 // 4)
            assert len(short) <= len(data) * 3 // 4
            container.read(short, max_pixels=PIXELS)


def read_whole(data: bytes) -> Tokens:
    """Indices of a complete file."""
    return vqcodec.decode_tokens(data, max_pixels=PIXELS)


def read_part(data: bytes) -> Tokens:
    """Indices of a file that may be cut or damaged."""
    file = container.read(data, allow_partial=True, max_pixels=PIXELS)
    return read_tokens(file, loading.load(registry.find_by_id(file.header.token_id, file.header.entropy_id)))


def run_tokens(data: bytes) -> None:
    """Indices with and without damage; those of a complete file are encoded again."""
    with contextlib.suppress(*READ, ModelError):
        read_part(data)
    tokens = read_whole(data)
    if not container.read_head(data).header.cut:
        assert vqcodec.decode_tokens(vqcodec.encode_tokens(tokens)) == tokens


def run_arrays(data: bytes) -> None:
    """Tokens of an archive, and a file of them."""
    vqcodec.encode_tokens(read_arrays(data, PIXELS))


def run_model(data: bytes) -> None:
    """Configuration, weights, entropy model and networks of a model folder."""
    config, weights = model_mutation.divided(data)
    (scratch / registry.CONFIG).write_bytes(config)
    (scratch / registry.WEIGHTS).write_bytes(weights)
    _ = loading.Model(registry.Entry(scratch, registry.read_config(scratch), False)).tokenizer


def run_checkpoint(data: bytes) -> None:
    """Weights of a checkpoint."""
    path = scratch / "x.pt"
    path.unlink(missing_ok=True)  # the file before may still be mapped
    path.write_bytes(data)
    read_checkpoint(path)


def run_decode(data: bytes) -> None:
    """Pixels with metadata, written as PNG; networks run."""
    with contextlib.suppress(*READ, ModelError, UsageError):
        vqcodec.decode(data, allow_partial=True, max_pixels=NETWORK_PIXELS)
    vqcodec.decode(data, max_pixels=NETWORK_PIXELS).save(io.BytesIO(), "PNG")


TARGETS: Sequence[Target] = (
    Target("container", files, vqc_mutation.mutated, vqc_mutation.repaired, run_container, READ),
    # UsageError: a file that holds fewer layers than its model's decoder needs.
    Target("tokens", files, vqc_mutation.mutated, vqc_mutation.repaired, run_tokens, (*READ, ModelError, UsageError)),
    Target(
        *("arrays", archives, archive_mutation.mutated_tokens, archive_mutation.repaired, run_arrays),
        (InputError, LimitError, ModelError, UsageError),
    ),
    Target("model", folders, model_mutation.mutated, model_mutation.repaired, run_model, (ModelError,)),
    Target(
        *("checkpoint", checkpoints, archive_mutation.mutated_checkpoint, archive_mutation.repaired, run_checkpoint),
        (InputError,),
    ),
    Target("decode", files, vqc_mutation.mutated, vqc_mutation.repaired, run_decode, (*READ, ModelError, UsageError)),
)


def target(name: str) -> Target:
    """The target called `name`."""
    return next(target for target in TARGETS if target.name == name)
