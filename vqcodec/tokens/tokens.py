"""Tokens: a picture as index planes with size, alpha and metadata; reading and writing them as .vqc files.

Writing: planes -> access tiles -> segments -> container. Reading is the inverse. No network runs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from .. import container
from ..config.model import ModelConfig
from ..config.quantizers import UniformConfig
from ..container.alpha import encode_alpha
from ..container.chunks import Chunk
from ..container.truncate import check_keep
from ..entropy.interface import EntropyModel
from ..entropy.layer_map import BLOCK, full_map, map_from_gaps
from ..entropy.scalar_context import ScalarContext
from ..entropy.tile_segments import encode_tiles
from ..errors import UsageError
from ..geometry.token_layout import STEPPED_TILE_PX, access_tiles, plane_shapes
from ..image.picture import Picture
from ..models import registry
from ..planes import MISSING, Planes, indices_in
from ..runtime.progress import Part, expect, working

TILE_PX = 512
"""Default side of an access tile, pixels."""

CHUNK_KINDS = {"icc": "iCCP", "exif": "eXIf", "xmp": "xMPd"}
"""Attribute of Tokens -> kind of the chunk that holds it."""


class EntropyCoded(Protocol):
    """A model as far as entropy coding needs it."""

    @property
    def config(self) -> ModelConfig:
        """Configuration."""

    @property
    def entropy(self) -> EntropyModel:
        """Entropy model."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """A picture of `width` x `height` pixels as index planes."""

    planes: tuple[np.ndarray, ...]
    """int32 [h, w] each, coarse to fine, MISSING where unknown; [windows, *] for models with windows of their own."""
    width: int
    height: int
    model: str
    """Name or folder of the model."""
    layers: tuple[tuple[int, ...], ...]
    """Planes of each layer held."""
    grey: bool = False
    """True if the picture was grey before encoding."""
    alpha: np.ndarray | None = None
    """uint8 [H, W]."""
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    warnings: tuple[str, ...] = ()
    """Conversions and losses of the picture; not part of a file."""
    step: int | None = None
    """Number of the quantization step, 0..63; None for models without steps."""

    def __eq__(self, other: object) -> bool:
        """True if indices, layers, size, model and metadata are equal; dtypes and warnings may differ."""
        if not isinstance(other, Tokens):
            return NotImplemented
        plain = ("width", "height", "model", "layers", "grey", "icc", "exif", "xmp", "step")
        if any(getattr(self, name) != getattr(other, name) for name in plain):
            return False
        mine, theirs = (np.asarray(0) if t.alpha is None else t.alpha for t in (self, other))
        pairs = [*zip(self.planes, other.planes, strict=False), (mine, theirs)]
        return len(self.planes) == len(other.planes) and all(np.array_equal(a, b) for a, b in pairs)

    def __repr__(self) -> str:
        held = sum(map(len, self.layers))
        first = f", the first {self.planes[0].dtype} {list(self.planes[0].shape)}" if self.planes else ""
        more = [name for name in ("alpha", "icc", "exif", "xmp") if getattr(self, name) is not None]
        size = f"{self.width}x{self.height}{' grey' if self.grey else ''}"
        layers = f"{self.n_layers} layers, {held} of {len(self.planes)} planes{first}"
        return f"<Tokens {size}, model {self.model!r}, {layers}{''.join(f', {name}' for name in more)}>"

    @property
    def n_layers(self) -> int:
        """Number of layers held."""
        return len(self.layers)

    @property
    def vocabulary(self) -> tuple[int, ...]:
        """Number of different indices of each plane of the layers held. Raises ModelError."""
        sizes = registry.find(self.model).config.tokenizer.quantizer.sizes
        return tuple(sizes[s] for layer in self.layers for s in layer)

    def stack(self) -> np.ndarray:
        """The planes of the layers held as one array int32 [S, h, w], MISSING where unknown.

        Raises UsageError for planes of more than one shape.
        """
        held = [self.planes[s] for layer in self.layers for s in layer]
        if len(shapes := {plane.shape for plane in held}) != 1:
            raise UsageError(f"tokens: planes of the shapes {sorted(shapes)} cannot be stacked; use them one by one")
        return np.stack(held).astype(np.int32, copy=False)

    def kept(self, keep: int) -> Tokens:
        """The first `keep` layers; all other planes are MISSING. Raises UsageError outside 1..n_layers."""
        check_keep(keep, self.n_layers)
        kept = {s for layer in self.layers[:keep] for s in layer}
        planes = tuple(p if s in kept else np.full_like(p, MISSING) for s, p in enumerate(self.planes))
        return replace(self, planes=planes, layers=self.layers[:keep])


def check_fill(keep: int, config: ModelConfig) -> None:
    """Raise UsageError if the model's decoder needs more than the first `keep` layers."""
    n = len(config.layers)
    if keep < n and config.tokenizer.quantizer.fill == "none":
        raise UsageError(f"keep {keep}: model '{config.name}' has no fill for missing layers; keep all {n}")


def as_arrays(tokens: Tokens) -> Tokens:
    """`tokens` with numpy planes in place of tensors and nested lists. Raises UsageError for other planes."""
    if all(isinstance(plane, np.ndarray) for plane in tokens.planes):
        return tokens
    planes = []
    for s, plane in enumerate(tokens.planes):
        try:
            planes.append(np.asarray(plane.detach().cpu() if hasattr(plane, "detach") else plane))
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(f"tokens: plane {s} is {type(plane).__name__}, not an array of integers") from error
    return replace(tokens, planes=tuple(planes))


def check_tokens(tokens: Tokens, model: EntropyCoded) -> None:
    """Raise UsageError where planes, alpha or step do not fit the picture's size and the model."""
    shapes = plane_shapes(model.config.tokenizer, tokens.width, tokens.height)
    sizes = model.entropy.sizes
    if len(tokens.planes) != len(sizes) or tokens.layers != model.config.layers[: tokens.n_layers]:
        raise UsageError(f"tokens: {len(sizes)} planes in the layers of model '{model.config.name}' are needed")
    for s, (plane, size, shape) in enumerate(zip(tokens.planes, sizes, shapes, strict=True)):
        if plane.dtype.kind not in "iu":
            raise UsageError(f"tokens: plane {s} is {plane.dtype}; indices are integers: convert it with astype")
        if plane.shape != shape:
            wanted = f"a {tokens.width}x{tokens.height} picture has {shape}"
            raise UsageError(f"tokens: plane {s} is {plane.shape}, {wanted}")
        low, high = int(plane.min()), int(plane.max())
        if low < MISSING or high >= size:
            raise UsageError(f"tokens: plane {s} holds {low}..{high}, the model has indices 0..{size - 1}")
    alpha = tokens.alpha
    if alpha is not None and (alpha.dtype != np.uint8 or alpha.shape != (tokens.height, tokens.width)):
        raise UsageError(
            f"tokens: alpha is {alpha.dtype} {alpha.shape}, uint8 {(tokens.height, tokens.width)} is needed"
        )
    if (tokens.step is not None) != has_step(model.config):
        wanted = "a step is needed" if tokens.step is None else "it has no steps"
        raise UsageError(f"tokens: step {tokens.step}, but of model '{model.config.name}' {wanted}")
    if tokens.step is not None and not 0 <= tokens.step <= container.MAX_STEP:
        raise UsageError(f"tokens: step {tokens.step}: 0..{container.MAX_STEP} needed")


def write_tokens(tokens: Tokens, model: EntropyCoded, tile_px: int | None = None) -> bytes:
    """A complete .vqc file of all layers of `tokens`, in access tiles of `tile_px` pixels a side.

    MISSING indices are written as maps of kept layers. Raises UsageError for planes that do not fit the model, and for
    MISSING indices that are not the last layers of whole blocks.
    """
    check_tokens(tokens, model)
    header = header_of(tokens, model.config, tile_px)
    planes = _by_tile(tokens, header, model.config)
    maps = _maps(planes, tokens)
    if maps is not None and not can_map(model):
        raise UsageError(f"tokens: planes have gaps, and files of model '{model.config.name}' cannot hold any")
    expect(Part.CODING, indices_in([[plane.shape for plane in tokens.planes]], tokens.layers))
    by_tile = encode_tiles(entropy_at(model, tokens.step), planes, tokens.layers, maps)
    return assemble(tokens, replace(header, mapped=maps is not None), by_tile)


def has_step(config: ModelConfig) -> bool:
    """True if files of the model have a quantization step."""
    return isinstance(config.tokenizer.quantizer, UniformConfig)


def entropy_at(model: EntropyCoded, step: int | None) -> EntropyModel:
    """The entropy model of files with quantization step number `step`; None for models without steps."""
    entropy: EntropyModel | ScalarContext = model.entropy
    if not isinstance(entropy, ScalarContext):
        return entropy
    if step is None:
        raise ValueError("step: a model with quantization steps needs its number")
    return entropy.at(step)


def check_gaps(tokens: Tokens, config: ModelConfig) -> None:
    """Raise UsageError for MISSING indices that no complete file has, as in files cut within a layer."""
    _maps(_by_tile(tokens, header_of(tokens, config), config), tokens)


def _by_tile(tokens: Tokens, header: container.Header, config: ModelConfig) -> list[Planes]:
    """Planes of each access tile."""
    return [[tile.of(plane) for plane in tokens.planes] for tile in access_tiles(header, config.tokenizer)]


def _maps(planes: Sequence[Planes], tokens: Tokens) -> list[np.ndarray] | None:
    """The map of kept layers of each tile; None where nothing is MISSING. Raises UsageError for gaps without a map."""
    try:
        found = [map_from_gaps(of_tile, tokens.layers) for of_tile in planes]
    except ValueError as error:
        raise UsageError(f"tokens: {error} (from a cut file?); encode the layers before them with keep") from error
    if all(kept is None for kept in found):
        return None
    whole = [full_map(of_tile[0].shape) for of_tile in planes]
    return [complete if kept is None else kept for kept, complete in zip(found, whole, strict=True)]


def can_map(model: EntropyCoded) -> bool:
    """True where files of `model` can keep different numbers of layers in different blocks."""
    tokenizer = model.config.tokenizer
    one_shape = not tokenizer.window_px and len(set(tokenizer.quantizer.shapes((BLOCK, BLOCK)))) == 1
    return one_shape and tokenizer.quantizer.fill != "none" and model.entropy.kind == "context"


def header_of(tokens: Tokens, config: ModelConfig, tile_px: int | None = None) -> container.Header:
    """The header of a complete file of `tokens` without maps.

    Raises UsageError where the model's decoder needs more layers.
    """
    check_fill(tokens.n_layers, config)
    return container.Header(
        width=tokens.width,
        height=tokens.height,
        token_id=bytes.fromhex(config.token_id),
        entropy_id=bytes.fromhex(config.entropy_id),
        tile=config.tokenizer.window_px or tile_px or (STEPPED_TILE_PX if has_step(config) else TILE_PX),
        n_layers=tokens.n_layers,
        grey=tokens.grey,
        overlap=config.tokenizer.overlap,
        step=tokens.step,
    )


def assemble(tokens: Tokens, header: container.Header, by_tile: Sequence[Sequence[bytes]]) -> bytes:
    """A file of segments `by_tile` [tile][layer], with alpha and metadata of `tokens`."""
    segments = [[tile[layer] for tile in by_tile] for layer in range(tokens.n_layers)]
    chunks = [Chunk(kind, data) for name, kind in CHUNK_KINDS.items() if (data := getattr(tokens, name)) is not None]
    with working(Part.CONTAINER):
        alpha = None if tokens.alpha is None else encode_alpha(tokens.alpha)
        return container.write(header, segments, alpha, chunks)


def from_picture(picture: Picture, planes: Sequence[np.ndarray], config: ModelConfig) -> Tokens:
    """Index planes of `picture` with its size, alpha, metadata and warnings."""
    return Tokens(
        tuple(planes),
        picture.width,
        picture.height,
        config.name,
        config.layers,
        picture.grey,
        picture.alpha,
        picture.icc,
        picture.exif,
        picture.xmp,
        picture.warnings,
    )
