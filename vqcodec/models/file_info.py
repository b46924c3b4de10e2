"""Facts of a .vqc file that its head states, for `vqcodec.inspect` and `vqcodec info`; loads no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .. import container
from ..errors import ModelError
from . import registry

HEADER_NAMES = tuple(field.name for field in dataclasses.fields(container.Header) if field.name != "n_layers")
"""Attributes of `Header` that `Info` has under the same name, identities in hexadecimal; `Info.layers` has n_layers."""


@dataclass(frozen=True)
class Layer:
    """One layer of a file."""

    segment_bytes: int
    """Coded indices of all tiles, without checksums."""
    end: int
    """Length of the shortest prefix of the file that holds this layer, bytes."""


@dataclass(frozen=True)
class Info:
    """All that `vqcodec info` prints of a file, as far as the head states it."""

    width: int
    """Columns, px."""
    height: int
    """Rows, px."""
    file_bytes: int
    """Length of the whole file as the head states it."""
    model: str | None
    """Name of the model; None if it is not installed."""
    token_id: str
    """Identity of the token space, 12 hexadecimal digits."""
    entropy_id: str
    """Identity of the entropy model, 8 hexadecimal digits."""
    version: int
    """Version of the format."""
    tile: int
    """Side of an access tile, px."""
    n_tiles: int
    """Access tiles of the picture."""
    layers: tuple[Layer, ...]
    """Layers of the file, coarse to fine."""
    overhead_bytes: int
    """Head, table of contents and CRC-16s: all but coded indices, alpha and metadata."""
    head_bytes: int
    """Part of `overhead_bytes` that does not depend on the number of segments: fields of the head and its CRC-32."""
    alpha_bytes: int
    """Compressed alpha with its CRC-32; 0: no alpha."""
    chunks_bytes: int
    """ICC profile, Exif and XMP as stored; 0: none."""
    grey: bool
    """The picture is grey."""
    cut: bool
    """The file was shortened by a writer and may end within its last layer."""
    mapped: bool = False
    """The number of layers kept differs from place to place."""
    step: int | None = None
    """Number of the quantization step, 0..63; None for models without one."""
    overlap: int = 0
    """Pixels that an access tile and the next one share; 0 for models whose tokens are one grid."""
    model_layers: int | None = None
    """Layers of the model, of which the file may hold fewer; None if the model is not installed."""
    stride: int | None = None
    """Pixels per token step of the model; None if it is not installed."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), px."""
        return self.width, self.height

    @property
    def bpp(self) -> float:
        """Rate of the whole file, bits per pixel."""
        return 8 * self.file_bytes / (self.width * self.height)


def read_info(data: bytes, max_pixels: int | None = container.MAX_PIXELS) -> Info:
    """Info of a .vqc file, or of a prefix that holds its head. Raises InputError, FormatError or LimitError."""
    head = container.read_head(data, max_pixels)
    header = head.header
    try:
        model = registry.find_by_id(header.token_id, header.entropy_id).config
    except ModelError:
        model = None
    last = header.n_tiles - 1
    stated: dict[str, Any] = {name: getattr(header, name) for name in HEADER_NAMES}
    stated |= {"token_id": header.token_id.hex(), "entropy_id": header.entropy_id.hex()}
    return Info(
        **stated,
        version=container.VERSION,
        file_bytes=head.file_bytes,
        n_tiles=header.n_tiles,
        layers=tuple(Layer(4 * sum(words), head.segment_end(k, last)) for k, words in enumerate(head.words)),
        overhead_bytes=head.overhead_bytes,
        head_bytes=head.size - len(head.contents),
        alpha_bytes=(head.alpha_bytes or 0) + head.alpha_crc_bytes,
        chunks_bytes=head.chunks_bytes or 0,
        model=None if model is None else model.name,
        model_layers=None if model is None else len(model.layers),
        stride=None if model is None else model.tokenizer.stride,
    )
