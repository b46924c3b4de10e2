"""Reading of tokens: segments of one file, or of several together, to index planes; the inverse of `write_tokens`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .. import container
from ..container.alpha import decode_alpha
from ..container.truncate import check_keep
from ..entropy.tile_segments import Ending, decode_tiles
from ..errors import FormatError
from ..geometry.rectangles import Rect
from ..geometry.token_layout import access_tiles, fits, plane_shapes
from ..planes import Layers, blank_planes, indices_in
from ..runtime.memory import check_memory
from ..runtime.progress import Part, expect, working
from .tokens import CHUNK_KINDS, EntropyCoded, Tokens, can_map, check_fill, entropy_at, has_step

INDEX_BYTES = 4
"""Bytes of an index in memory."""


def read_tokens(file: container.File, model: EntropyCoded, keep: int | None = None, area: Rect | None = None) -> Tokens:
    """The inverse of `write_tokens`, of the first `keep` layers and of the tiles that touch `area`, in pixels.

    Raises FormatError for damaged streams and files of another kind of model, and UsageError for a `keep` that the file
    does not hold.
    """
    keep = file.header.n_layers if keep is None else keep
    check_keep(keep, file.header.n_layers)
    check_fill(keep, model.config)
    [tokens] = read_several([file], model, [keep], [area])
    return tokens


def read_several(
    files: Sequence[container.File], model: EntropyCoded, keeps: Sequence[int], areas: Sequence[Rect | None]
) -> list[Tokens]:
    """`read_tokens` of several files. Their tiles are decoded in common batches: small files take half the time."""
    for file in files:
        _check_header(file.header, model)
    config = model.config
    grids = [plane_shapes(config.tokenizer, file.header.width, file.header.height) for file in files]
    check_memory("", sum(INDEX_BYTES * math.prod(shape) for shapes in grids for shape in shapes))
    all_planes = [blank_planes(shapes) for shapes in grids]
    jobs = [job for parts in zip(files, all_planes, keeps, areas, strict=True) for job in _jobs(*parts, model)]
    for job in jobs:
        held = config.layers[: len(job.segments)]
        expect(Part.CODING, indices_in([[part.shape for part in job.parts]], held))
    for kind in sorted({job.kind for job in jobs}, key=str):
        (ending, step, mapped, keep), same = kind, [job for job in jobs if job.kind == kind]
        shapes = [tuple(part.shape for part in job.parts) for job in same]
        layers: Layers = config.layers[:keep]
        found = decode_tiles(entropy_at(model, step), [job.segments for job in same], shapes, layers, ending, mapped)
        for job, planes in zip(same, found, strict=True):
            for part, plane in zip(job.parts, planes, strict=True):
                part[...] = plane
    return [_tokens(*parts, model) for parts in zip(files, all_planes, keeps, strict=True)]


@dataclass(frozen=True)
class _Job:
    """One access tile to decode."""

    kind: tuple[Ending, int | None, bool, int]
    """(ending, step, mapped, keep): tiles of one kind are decoded together."""
    segments: list[bytes]
    parts: list[np.ndarray]
    """Views of the planes, to be filled."""


def _jobs(
    file: container.File, planes: list[np.ndarray], keep: int, area: Rect | None, model: EntropyCoded
) -> Iterator[_Job]:
    """The tiles of a file that touch `area`."""
    header = file.header
    for t, tile in enumerate(access_tiles(header, model.config.tokenizer)):
        if area is None or _touch(tile.pixels, area):
            given = _present([layer[t] for layer in file.segments[:keep]])
            kind = (_ending(file, t, len(given)), header.step, header.mapped, keep)
            yield _Job(kind, given, [tile.of(plane) for plane in planes])


def _tokens(file: container.File, planes: list[np.ndarray], keep: int, model: EntropyCoded) -> Tokens:
    """Tokens with the size, alpha and metadata of a file."""
    header = file.header
    with working(Part.CONTAINER):
        alpha = None if file.alpha is None else decode_alpha(file.alpha, header.width, header.height)
    names = {kind: name for name, kind in CHUNK_KINDS.items()}
    metadata = {names[chunk.kind]: chunk.data for chunk in file.chunks if chunk.kind in names}
    return Tokens(
        tuple(planes),
        header.width,
        header.height,
        model.config.name,
        model.config.layers[:keep],
        grey=header.grey,
        alpha=alpha,
        icc=metadata.get("icc"),
        exif=metadata.get("exif"),
        xmp=metadata.get("xmp"),
        step=header.step,
    )


def _check_header(header: container.Header, model: EntropyCoded) -> None:
    """Raise FormatError where a header contradicts the model that it names."""
    config = model.config
    tokenizer = config.tokenizer
    if header.n_layers > len(config.layers):
        raise FormatError(f"layers: the file claims {header.n_layers}, its model has {len(config.layers)}")
    if not fits(header, tokenizer):
        wanted = (
            f"windows of {tokenizer.window_px} px"
            if tokenizer.window_px
            else f"a multiple of {tokenizer.stride} px, no overlap"
        )
        raise FormatError(
            f"tile side: {header.tile} px with an overlap of {header.overlap}; the file's model needs {wanted}"
        )
    if header.mapped and not can_map(model):
        raise FormatError("flags: the file keeps different numbers of layers, and files of its model cannot")
    if (header.step is not None) != has_step(config):
        raise FormatError(f"flags: a quantization step is {'missing' if header.step is None else 'not expected'}")


def _ending(file: container.File, t: int, n_layers: int) -> Ending:
    """The ending of the first `n_layers` segments of tile t."""
    if n_layers < file.header.n_layers:
        return "layer"
    if not file.header.cut:
        return "complete"
    return "cut" if file.head.partial[t] else "layer"


def _touch(a: Rect, b: Rect) -> bool:
    """True if the rectangles have a pixel in common."""
    return a.y0 < b.y1 and b.y0 < a.y1 and a.x0 < b.x1 and b.x0 < a.x1


def _present(segments: list[bytes | None]) -> list[bytes]:
    """The segments before the first missing one: a stream decodes in order only."""
    present = []
    for segment in segments:
        if segment is None:
            break
        present.append(segment)
    return present
