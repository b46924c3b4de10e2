"""Tokens as a .npz archive of plain arrays, for training code that does not import this package; and back.

    plane.0 plane.1 ...      indices, in the smallest integer type that holds them; -1 where a file leaves layers out
    width height grey        of the picture
    model identity           name, and token identity as 12 hexadecimal digits
    step                     number of the quantization step, of models that have one
    alpha icc exif xmp       uint8, where the picture has them

Nothing in an archive is unpickled, and nothing is read before its type and shape are checked (checked_archive.py).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ..config.model import ModelConfig
from ..container import MAX_PIXELS, MAX_SIDE, MAX_STEP
from ..container.chunks import MAX_CHUNK_BYTES
from ..errors import InputError, LimitError, ModelError
from ..geometry.token_layout import plane_shapes
from ..models import registry
from ..planes import MISSING, Grid, blank_planes
from .checked_archive import CheckedArchive
from .tokens import Tokens, check_gaps

METADATA = ("icc", "exif", "xmp")
"""Attributes of Tokens that are bytes."""
MAX_BYTES = 2**31
"""Limit of the unpacked size of all arrays of an archive."""


def write_arrays(tokens: Tokens) -> bytes:
    """A .npz archive of `tokens`, with the planes of the layers held; planes with MISSING indices are signed.

    Raises UsageError for MISSING indices that no complete file has, and ModelError.
    """
    model = registry.find(tokens.model).config
    check_gaps(tokens, model)
    sizes = model.tokenizer.quantizer.sizes
    arrays: dict[str, Any] = {}
    for s in (s for layer in tokens.layers for s in layer):
        gaps = tokens.planes[s].min(initial=0) == MISSING
        arrays[f"plane.{s}"] = tokens.planes[s].astype(np.min_scalar_type(-sizes[s] if gaps else sizes[s] - 1))
    arrays |= {"width": tokens.width, "height": tokens.height, "grey": tokens.grey}
    arrays |= {"model": model.name, "identity": model.token_id}
    if tokens.step is not None:
        arrays["step"] = tokens.step
    if tokens.alpha is not None:
        arrays["alpha"] = tokens.alpha
    for name in METADATA:
        if (value := getattr(tokens, name)) is not None:
            arrays[name] = np.frombuffer(value, np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def read_arrays(data: bytes, max_pixels: int | None = MAX_PIXELS) -> Tokens:
    """The inverse of `write_arrays`; arrays of other names are ignored.

    Raises InputError for other data, LimitError for more than `max_pixels` pixels (None: no limit) or MAX_BYTES, and
    ModelError if the model is not installed.
    """
    archive = CheckedArchive(data, MAX_BYTES)
    width, height = archive.number("width"), archive.number("height")
    identity, grey = archive.text("identity"), bool(archive.number("grey"))
    model = archive.text("model") if "model" in archive else "?"
    step = archive.number("step") if "step" in archive else None
    if step is not None and not 0 <= step <= MAX_STEP:
        raise InputError(f"step {step}: 0..{MAX_STEP} needed")
    entry = next((entry for entry in registry.entries() if entry.config.token_id == identity), None)
    if entry is None:
        raise ModelError(f"model '{model}' ({identity}): not installed; see `vqcodec models list`")
    shapes = _shapes(entry.config, width, height, max_pixels)
    layers = entry.config.layers
    present = {s for s in range(len(shapes)) if f"plane.{s}" in archive}
    keep = next((k for k, layer in enumerate(layers) if not set(layer) <= present), len(layers))
    if present != {s for layer in layers[:keep] for s in layer} or not keep:
        raise InputError(f"planes {sorted(present)}: not those of the first layers of model '{entry.config.name}'")
    planes = blank_planes(shapes)
    for s in present:
        size = entry.config.tokenizer.quantizer.sizes[s]
        found = archive.array(f"plane.{s}", "ui", shapes[s], f"integers of shape {shapes[s]}")
        if found.size and not (found.min() >= MISSING and found.max() < size):
            raise InputError(f"plane.{s}: {found.min()}..{found.max()}, the model has indices 0..{size - 1}")
        planes[s][...] = found
    alpha = None
    if "alpha" in archive:
        alpha = archive.array("alpha", "u1", (height, width), f"uint8 of shape {(height, width)}")
    icc, exif, xmp = (archive.octets(name, MAX_CHUNK_BYTES) if name in archive else None for name in METADATA)
    name = registry.name_of(entry)
    return Tokens(tuple(planes), width, height, name, layers[:keep], grey, alpha, icc, exif, xmp, step=step)


def _shapes(config: ModelConfig, width: int, height: int, max_pixels: int | None) -> list[Grid]:
    """Shape of each plane of a picture. Raises InputError for sizes beyond those of a file, and LimitError."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise InputError(f"{width}x{height} pixels: 1..{MAX_SIDE} a side needed")
    if max_pixels is not None and width * height > max_pixels:
        raise LimitError(f"{width}x{height} is over the limit of {max_pixels} pixels; raise it with --max-pixels")
    return plane_shapes(config.tokenizer, width, height)
