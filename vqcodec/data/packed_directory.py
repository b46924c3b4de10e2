"""Directory of a packed shard: model, alphabets, layers, plane shapes and places of its arrays, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import numpy as np

from ..errors import FormatError
from ..planes import Grid, Shapes
from .token_space import TokenSpace

INDEX = np.dtype(
    [
        ("offset", "<u8"),
        ("crc32", "<u4"),
        ("shapes", "<u4"),
        ("kind", "<u4"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("step", "<i4"),
    ]
)
"""Row of a picture: record, its CRC-32, number of its plane shapes, kind of record, size in pixels, quantization step
or -1."""


class Place(msgspec.Struct, frozen=True):
    """An array in the file."""

    offset: int
    size: int
    """Bytes."""
    crc32: int


class Directory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The directory, in the order of its JSON object."""

    model: str
    token_id: str
    alphabets: tuple[int, ...]
    """Alphabet size of each plane of the model."""
    layers: tuple[tuple[int, ...], ...]
    """Planes of each layer stored."""
    pictures: int
    shapes: tuple[tuple[tuple[int, ...], ...], ...]
    """Different lists of plane shapes."""
    places: dict[str, Place]

    @classmethod
    def of(cls, space: TokenSpace, shapes: Sequence[Shapes], pictures: int, places: dict[str, Place]) -> Directory:
        """The directory of a shard."""
        return cls(space.model, space.identity, space.sizes, space.layers, pictures, tuple(shapes), places)

    def to_bytes(self) -> bytes:
        """UTF-8 JSON."""
        return json.dumps(msgspec.to_builtins(self), separators=(",", ":")).encode()

    @property
    def space(self) -> TokenSpace:
        """Planes of the pictures."""
        return TokenSpace(self.model, self.token_id, self.alphabets, self.layers)


def read_directory(data: bytes, name: str) -> Directory:
    """The inverse of `to_bytes`, checked; `name` is that of the file. Raises FormatError."""
    try:
        found = msgspec.json.decode(data, type=Directory)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{name}: directory: {error}") from error
    planes, n = [s for layer in found.layers for s in layer], len(found.alphabets)
    problems = {
        "alphabets": not all(1 <= size <= 2**31 for size in found.alphabets),
        "layers": not planes or len(set(planes)) != len(planes) or not set(planes) <= set(range(n)),
        "shapes": not all(len(shapes) == len(planes) and all(map(_is_grid, shapes)) for shapes in found.shapes),
        "pictures": found.pictures < 0,
        "places": not {"index", "keys.data", "keys.ends"} <= set(found.places)
        or any(place.offset < 0 or place.size < 0 for place in found.places.values()),
    }
    for field, wrong in problems.items():
        if wrong:
            raise FormatError(f"{name}: directory: {field} out of range")
    return found


def _is_grid(shape: Grid) -> bool:
    return 1 <= len(shape) <= 3 and all(1 <= side < 2**31 for side in shape)
