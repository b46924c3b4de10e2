"""What a .vqc file says of itself, read from its head alone: no torch, no weights."""

from __future__ import annotations

from dataclasses import dataclass

from .. import container
from ..errors import ModelError
from . import registry


@dataclass(frozen=True)
class Layer:
    """One layer of a file."""

    segment_bytes: int
    """Coded indices of all its tiles."""
    end: int
    """Bytes of the file up to the end of this layer: a prefix of that length shows it."""


@dataclass(frozen=True)
class Info:
    """Everything `vqcodec info` prints."""

    width: int
    height: int
    file_bytes: int
    model: str | None
    """Name of the model, None if it is not at hand."""
    token_id: str
    entropy_id: str
    version: int
    tile: int
    """Side of an access tile, pixels."""
    n_tiles: int
    layers: tuple[Layer, ...]
    overhead_bytes: int
    """Head, table of contents and checksums: everything but coded indices, alpha and metadata."""
    alpha_bytes: int
    """Compressed alpha with its CRC-32, 0 if there is none."""
    chunks_bytes: int
    grey: bool
    cut: bool
    model_layers: int | None = None
    """How many layers the model has, None if it is not at hand; the file may hold fewer."""
    stride: int | None = None
    """Pixels per token step of the model."""
    mapped: bool = False
    """It keeps different numbers of layers from place to place."""
    step: int | None = None
    """Number of the quantization step, of models that have one."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height

    @property
    def bpp(self) -> float:
        """Bits per pixel of the whole file."""
        return 8 * self.file_bytes / (self.width * self.height)


def read_info(data: bytes, max_pixels: int | None = 2**28) -> Info:
    """Info of a .vqc file, or of the beginning of one. Raises InputError, FormatError or LimitError."""
    head = container.read_head(data, max_pixels)
    header = head.header
    try:
        model = registry.find_by_id(header.token_id, header.entropy_id).config
    except ModelError:
        model = None
    last = header.n_tiles - 1
    layers = []
    for k, words in enumerate(head.words):
        stored = 4 * words[last] + (2 if words[last] else 0)
        layers.append(Layer(4 * sum(words), head.segment_offset(k, last) + stored))
    return Info(
        width=header.width,
        height=header.height,
        file_bytes=head.file_bytes,
        model=None if model is None else model.name,
        token_id=header.token_id.hex(),
        entropy_id=header.entropy_id.hex(),
        version=container.VERSION,
        tile=header.tile,
        n_tiles=header.n_tiles,
        layers=tuple(layers),
        overhead_bytes=container.overhead_bytes(head),
        alpha_bytes=(head.alpha_bytes or 0) + head.alpha_crc_bytes,
        chunks_bytes=head.chunks_bytes or 0,
        grey=header.grey,
        cut=header.cut,
        mapped=header.mapped,
        step=header.step,
        model_layers=None if model is None else len(model.layers),
        stride=None if model is None else model.tokenizer.stride,
    )
