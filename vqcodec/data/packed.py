"""Packed shards (.vqtok): index planes of many pictures as raw integers, memory-mapped; docs/tokens.md specifies them.

head        magic, version, offset, length and CRC-32 of the directory                  64 bytes
records     planes of each picture, in the smallest type that holds them, then padding to 8 bytes
arrays      index (one row per picture), keys, labels
directory   JSON: model, alphabets, layers, plane shapes, place and CRC-32 of each array
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from ..errors import FormatError, InputError, UsageError
from ..planes import MISSING, Grid
from .byte_source import byte_source
from .crops import Crops
from .packed_directory import INDEX, Directory, Place, read_directory
from .shard import SamplePlanes
from .strings import ByteStrings
from .suffixes import LABELS
from .token_space import TokenSpace

MAGIC = b"\x8fVQT\r\n\x1a\n"
VERSION = 1
HEAD = struct.Struct("<8sIIQQ32x")
"""Magic, version, CRC-32, offset and length of the directory."""
ALIGNMENT = 8
BYTES, ENDS = np.dtype(np.uint8), np.dtype("<i8")
PLAIN, GAPS = 0, 1
"""Kinds of records: unsigned integers, or signed ones with MISSING as -1."""


def types_of(sizes: Sequence[int], kind: int) -> list[np.dtype[Any]]:
    """Little-endian type of each plane in records of `kind`."""
    return [np.dtype(np.min_scalar_type(-size if kind == GAPS else size - 1)).newbyteorder("<") for size in sizes]


class Packer:
    """Writer of one packed shard to a seekable file; `finish` completes it."""

    def __init__(self, file: BinaryIO, space: TokenSpace) -> None:
        self._file, self.space = file, space
        self._shapes: dict[tuple[Grid, ...], int] = {}
        self._rows: list[tuple[int, ...]] = []
        self._keys: list[bytes] = []
        self._labels: dict[str, list[bytes | None]] = {}
        self._at = file.write(bytes(HEAD.size))

    def add(
        self, key: str, planes: Sequence[np.ndarray], size: tuple[int, int], step: int | None, labels: dict[str, bytes]
    ) -> None:
        """Append a picture of `size` (width, height) pixels with the planes of the space; MISSING is allowed."""
        kind = GAPS if any(plane.min(initial=0) == MISSING for plane in planes) else PLAIN
        types = types_of(self.space.vocabulary, kind)
        data = b"".join(plane.astype(dtype).tobytes() for plane, dtype in zip(planes, types, strict=True))
        shapes = tuple(plane.shape for plane in planes)
        number = self._shapes.setdefault(shapes, len(self._shapes))
        self._rows.append((self._at, zlib.crc32(data), number, kind, *size, -1 if step is None else step))
        self._write(data)
        self._keys.append(key.encode("utf-8", "surrogateescape"))
        for suffix in {*labels, *self._labels}:
            column = self._labels.setdefault(suffix, [None] * (len(self._rows) - 1))
            column.append(labels.get(suffix))

    def finish(self) -> None:
        """Write the arrays, the directory and the head."""
        arrays: dict[str, np.ndarray] = {"index": np.array(self._rows, INDEX)}
        columns: dict[str, ByteStrings] = {"keys": ByteStrings.of(self._keys)}
        for suffix, values in self._labels.items():
            columns[suffix] = ByteStrings.of(value or b"" for value in values)
            arrays[f"{suffix}.present"] = np.array([value is not None for value in values], np.uint8)
        for name, column in columns.items():
            arrays |= {f"{name}.data": column.data, f"{name}.ends": column.ends.astype("<i8")}
        places = {}
        for name, array in arrays.items():
            data = array.tobytes()
            places[name] = Place(self._at, len(data), zlib.crc32(data))
            self._write(data)
        directory = Directory.of(self.space, list(self._shapes), len(self._rows), places).to_bytes()
        start = self._at
        self._file.write(directory)
        self._file.seek(0)
        self._file.write(HEAD.pack(MAGIC, VERSION, zlib.crc32(directory), start, len(directory)))

    def _write(self, data: bytes) -> None:
        padding = -len(data) % ALIGNMENT
        self._file.write(data + bytes(padding))
        self._at += len(data) + padding


class PackedShard:
    """A packed shard, a path or a URL. Opening reads the directory and the arrays, and checks them.

    Raises InputError, FormatError.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.max_pixels: int | None = None  # nothing is decoded
        self._source = byte_source(name)
        size = self._source.size()
        if size < HEAD.size:
            raise InputError(f"{name}: not a packed shard of tokens: {size} bytes")
        magic, version, crc, start, length = HEAD.unpack(self._source.read(0, HEAD.size))
        if magic != MAGIC:
            raise InputError(f"{name}: not a packed shard of tokens: it begins with {magic[:4].hex(' ')}")
        if version != VERSION:
            raise FormatError(f"{name}: version {version} of the packed form; this vqcodec reads {VERSION}")
        if not start or start + length > size:
            raise FormatError(f"{name}: the directory is missing: was the file cut, or its writing interrupted?")
        data = bytes(self._source.read(start, length))
        if zlib.crc32(data) != crc:
            raise FormatError(f"{name}: the directory is damaged (CRC-32)")
        self._directory = read_directory(data, name)
        self._types = [types_of(self._directory.space.vocabulary, kind) for kind in (PLAIN, GAPS)]
        self._uniform = [
            [self._if_uniform(shapes, kind) for kind in (PLAIN, GAPS)] for shapes in self._directory.shapes
        ]
        self._index = self._array("index", INDEX)
        self._keys = self._column("keys")
        self.labels = tuple(suffix for suffix in LABELS if f"{suffix}.present" in self._directory.places)
        self._labels = {suffix: (self._present(suffix), self._column(suffix)) for suffix in self.labels}
        self._check(start)

    def _array(self, name: str, dtype: np.dtype[Any] = BYTES) -> np.ndarray:
        place = self._directory.places.get(name)
        if place is None:
            raise FormatError(f"{self.name}: directory: '{name}' is missing")
        data = self._source.read(place.offset, place.size)
        if zlib.crc32(data) != place.crc32:
            raise FormatError(f"{self.name}: '{name}' is damaged (CRC-32)")
        if place.size % dtype.itemsize:
            raise FormatError(f"{self.name}: '{name}' holds {place.size} bytes, not rows of {dtype.itemsize}")
        return np.frombuffer(bytes(data), dtype)  # a copy, which spawned processes get without the file

    def _present(self, suffix: str) -> np.ndarray:
        present = self._array(f"{suffix}.present")
        if len(present) != self._directory.pictures:
            raise FormatError(f"{self.name}: '{suffix}.present' holds {len(present)} values")
        return present

    def _column(self, name: str) -> ByteStrings:
        column = ByteStrings(self._array(f"{name}.data"), self._array(f"{name}.ends", ENDS))
        ends = column.ends
        fits = len(ends) == self._directory.pictures + 1 and not ends[0] and ends[-1] == len(column.data)
        if not fits or (np.diff(ends) < 0).any():
            raise FormatError(f"{self.name}: '{name}.ends' does not fit '{name}.data'")
        return column

    def _check(self, end: int) -> None:
        """Raise FormatError unless every record lies between head and directory."""
        directory, index = self._directory, self._index
        bytes_of = np.array(
            [[self._bytes(shapes, kind) for kind in (PLAIN, GAPS)] for shapes in directory.shapes], np.int64
        ).reshape(-1, 2)
        wrong = len(index) != directory.pictures or (index["shapes"] >= len(bytes_of)).any()
        if not (wrong or (index["kind"] > GAPS).any()):
            self._record_bytes = bytes_of[index["shapes"], index["kind"]]
            last = end - self._record_bytes
            wrong = (index["offset"] < HEAD.size).any() or (index["offset"].astype(np.int64) > last).any()
        else:
            wrong = True
        if wrong:
            raise FormatError(f"{self.name}: the index does not fit the file")

    def _bytes(self, shapes: Sequence[Grid], kind: int) -> int:
        """Bytes of a record."""
        return min(sum(t.itemsize * math.prod(s) for t, s in zip(self._types[kind], shapes, strict=True)), 2**62)

    def __len__(self) -> int:
        return self._directory.pictures

    def key(self, number: int) -> str:
        """Name of a sample, without suffix."""
        return self._keys[number].decode("utf-8", "surrogateescape")

    def label(self, number: int, suffix: str) -> bytes | None:
        """Bytes of the label of a sample, None if it has none."""
        if suffix not in self._labels:
            return None
        present, column = self._labels[suffix]
        return column[number] if present[number] else None

    def space(self) -> TokenSpace:
        """Planes of the pictures."""
        return self._directory.space

    def size_px(self, number: int) -> tuple[int, int]:
        """Width and height of a picture in pixels."""
        row = self._index[number]
        return int(row["width"]), int(row["height"])

    def planes(
        self, numbers: Sequence[int], space: TokenSpace, crops: Crops | None, samples: Sequence[int]
    ) -> list[SamplePlanes]:
        """The planes of `space` of each sample, cropped: views of the mapped file. Raises FormatError."""
        if len(space.planes) > len(self._directory.space.planes):
            raise UsageError(f"{self.name}: holds {len(self._directory.space.layers)} layers, not {len(space.layers)}")
        found = [self._record(number, len(space.planes)) for number in numbers]
        if crops is None:
            return found
        windows = [
            crops.window(sample, [plane.shape for plane in planes])
            for sample, planes in zip(samples, found, strict=True)
        ]
        return [crops.cut(planes, window) for planes, window in zip(found, windows, strict=True)]

    def _record(self, number: int, count: int) -> SamplePlanes:
        """The first `count` planes of a picture."""
        row = self._index[number]
        data = self._source.read(int(row["offset"]), int(self._record_bytes[number]))
        if zlib.crc32(data) != row["crc32"]:
            raise FormatError(f"{self.name}:{self.key(number)}: damaged (CRC-32)")
        shapes, kind = int(row["shapes"]), int(row["kind"])
        if (uniform := self._uniform[shapes][kind]) is not None:
            dtype, shape = uniform
            return np.frombuffer(data, dtype, count * math.prod(shape)).reshape(count, *shape)
        planes, start = [], 0
        for dtype, shape in zip(self._types[kind][:count], self._directory.shapes[shapes], strict=False):
            planes.append(np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape))
            start += planes[-1].nbytes
        return planes

    def _if_uniform(self, shapes: Sequence[Grid], kind: int) -> tuple[np.dtype[Any], Grid] | None:
        """Type and shape that all planes of a record have; None where they differ."""
        types = set(self._types[kind])
        return (types.pop(), shapes[0]) if len(types) == 1 and len(set(shapes)) == 1 else None
