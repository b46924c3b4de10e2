"""Arrays of a .npz archive, each compared with the expected type and shape before memory is allocated for it.

`numpy.load` allocates what the header of an array claims, and raises a dozen kinds of errors for damaged headers.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from typing import IO

import numpy as np
from numpy.lib import format as npy

from ..errors import InputError, LimitError

Fits = Callable[[tuple[int, ...]], bool]
"""True for the shapes that an array may have."""

SUFFIX = ".npy"
MAX_TEXT_BYTES = 2**12
"""Largest array of text."""
MAX_HEADER_BYTES = 2**13
"""Largest header of an array."""


class CheckedArchive:
    """Arrays of the archive `data`, by name.

    Raises InputError for other data, and LimitError for members of more than `max_bytes` in all.
    """

    def __init__(self, data: bytes, max_bytes: int) -> None:
        try:
            self.zip = zipfile.ZipFile(io.BytesIO(data))
            members = self.zip.infolist()
        except Exception as error:  # damaged directories raise classes besides BadZipFile
            raise not_an_archive(error) from error
        if (size := sum(member.file_size for member in members)) > max_bytes:
            raise LimitError(f"{size:,} bytes of arrays: beyond the limit of {max_bytes:,}")
        self.members = {m.filename.removesuffix(SUFFIX): m for m in members if m.filename.endswith(SUFFIX)}

    def __contains__(self, name: str) -> bool:
        return name in self.members

    def array(self, name: str, kinds: str, shape: tuple[int, ...], wanted: str) -> np.ndarray:
        """The array `name` of a dtype whose kind is in `kinds`, of exactly this `shape`.

        Raises InputError; `wanted` describes the array in its message.
        """
        return self._read(name, kinds, lambda found: found == shape, wanted)

    def number(self, name: str) -> int:
        """The only value, an integer or boolean, of the array `name`. Raises InputError."""
        return int(self._read(name, "iub", lambda found: math.prod(found) == 1, "one integer").reshape(-1)[0])

    def text(self, name: str) -> str:
        """The only value, a text, of the array `name`. Raises InputError."""
        return str(self._read(name, "U", lambda found: math.prod(found) == 1, "one text").reshape(-1)[0])

    def octets(self, name: str, most: int) -> bytes:
        """Contents of the array `name`, uint8 [n]. Raises InputError, and LimitError for more than `most` bytes."""
        if name in self.members and self.members[name].file_size > most + MAX_HEADER_BYTES:
            raise LimitError(f"{name}: {self.members[name].file_size:,} bytes: beyond the limit of {most:,}")
        return self._read(name, "u1", lambda found: len(found) == 1 and found[0] <= most, "uint8 [n]").tobytes()

    def _read(self, name: str, kinds: str, fits: Fits, wanted: str) -> np.ndarray:
        if name not in self.members:
            raise not_an_archive(f"array '{name}' is missing")
        try:
            with self.zip.open(self.members[name]) as file:
                shape, fortran, dtype = _header(file)
                bad = dtype.hasobject or dtype.fields is not None or not dtype.itemsize or min(shape, default=0) < 0
                if bad or not (dtype.kind in kinds or dtype.str[1:] == kinds) or not fits(shape):
                    raise InputError(f"{name}: {wanted} needed, found {dtype} {shape}")
                size = math.prod(shape) * dtype.itemsize
                if dtype.kind == "U" and size > MAX_TEXT_BYTES:
                    raise InputError(f"{name}: {wanted} needed, found {size:,} bytes")
                plain = file.read(size)
        except InputError:
            raise
        except Exception as error:  # zipfile, its decompressors and numpy's parser raise many classes
            raise not_an_archive(error) from error
        if len(plain) != size:
            raise not_an_archive(f"array '{name}' has {len(plain):,} of {size:,} bytes")
        values = np.frombuffer(plain, dtype)
        return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order (True for Fortran's) and dtype of an array. Raises ValueError and other classes."""
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file, MAX_HEADER_BYTES)
    if version == (2, 0):
        return npy.read_array_header_2_0(file, MAX_HEADER_BYTES)
    raise ValueError(f"an array of version {version[0]}.{version[1]}; 1.0 or 2.0 needed")


def not_an_archive(reason: object) -> InputError:
    """The error for data that is no archive of tokens."""
    text = str(reason).strip().splitlines() or [type(reason).__name__]
    return InputError(f"not an archive of tokens, as `vqcodec tokens` writes them: {text[0][:160]}")
