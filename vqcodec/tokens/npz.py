"""Tokens as a .npz archive of plain arrays, for training code that does not import this package; and back.

    plane.0 plane.1 ...      indices, in the smallest integer type that holds them; -1 where a file leaves layers out
    width height grey        of the picture
    model identity           name, and token identity as 12 hexadecimal digits
    step                     number of the quantization step, of models that have one
    alpha icc exif xmp       uint8, where the picture has them

Nothing in an archive is unpickled.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from ..config.model import ModelConfig
from ..container import MAX_SIDE, MAX_STEP
from ..errors import InputError, LimitError, ModelError
from ..geometry.token_layout import plane_shapes
from ..models import registry
from ..planes import MISSING, Grid, blank_planes
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


def read_arrays(data: bytes) -> Tokens:
    """The inverse of `write_arrays`.

    Raises InputError for other data, LimitError, and ModelError if the model is not installed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as plain:
            size = sum(entry.file_size for entry in plain.infolist())
        if size > MAX_BYTES:
            raise LimitError(f"{size:,} bytes of arrays: beyond the limit of {MAX_BYTES:,}")
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        width, height = int(arrays["width"]), int(arrays["height"])
        identity, grey = str(arrays["identity"]), bool(arrays["grey"])
        step = int(arrays["step"]) if "step" in arrays else None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"not an archive of tokens, as `vqcodec tokens` writes them: {error}") from error
    if step is not None and not 0 <= step <= MAX_STEP:
        raise InputError(f"step {step}: 0..{MAX_STEP} needed")
    entry = next((entry for entry in registry.entries() if entry.config.token_id == identity), None)
    if entry is None:
        raise ModelError(f"model '{arrays.get('model', '?')}' ({identity}): not installed; see `vqcodec models list`")
    shapes = _shapes(entry.config, width, height)
    present = {int(name.removeprefix("plane.")) for name in arrays if name.removeprefix("plane.").isdigit()}
    layers = entry.config.layers
    keep = next((k for k, layer in enumerate(layers) if not set(layer) <= present), len(layers))
    if present != {s for layer in layers[:keep] for s in layer} or not keep:
        raise InputError(f"planes {sorted(present)}: not those of the first layers of model '{entry.config.name}'")
    planes = blank_planes(shapes)
    for s in present:
        found = arrays[f"plane.{s}"]
        if found.dtype.kind not in "ui" or found.shape != planes[s].shape:
            raise InputError(
                f"plane.{s}: integers of shape {planes[s].shape} needed, found {found.dtype} {found.shape}"
            )
        planes[s] = found.astype(np.int32)
    alpha = arrays.get("alpha")
    if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != (height, width)):
        raise InputError(f"alpha: uint8 of shape {(height, width)} needed, found {alpha.dtype} {alpha.shape}")
    metadata = {name: arrays[name].tobytes() for name in METADATA if name in arrays}
    name = registry.name_of(entry)
    return Tokens(tuple(planes), width, height, name, layers[:keep], grey=grey, alpha=alpha, step=step, **metadata)


def _shapes(config: ModelConfig, width: int, height: int) -> list[Grid]:
    """Shape of each plane of a picture. Raises InputError for sizes beyond those of a file."""
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise InputError(f"{width}x{height} pixels: 1..{MAX_SIDE} a side needed")
    return plane_shapes(config.tokenizer, width, height)
