"""A codec given as a folder of pictures that it has decoded already, with the sizes of their files.

The folder holds `sizes.csv` with the columns `picture` (name of the original) and `bytes` (of the complete file), and
optionally `decoded` (path of the decoded picture in the folder; default: the name of the original, else with .png) and
`setting` (a number; default: 1, 2, ... in the order of the file). Several lines for a picture are several settings.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError, UsageError
from ..image.files import read_pixels
from ..metrics import Pixels

SIZES = "sizes.csv"


@dataclass(frozen=True)
class Decoded:
    """One decoded picture and the size of its file."""

    path: Path
    n_bytes: int


@dataclass(frozen=True)
class FolderCodec:
    """Decoded pictures by the name of the original and setting; `entries` are those of one picture."""

    name: str
    folder: Path
    pictures: dict[str, dict[float, Decoded]]
    entries: dict[float, Decoded] = field(default_factory=dict)
    max_side_px: int = 2**31
    monotone: bool = False
    timed: bool = False
    mime: str = ""

    @classmethod
    def parse(cls, text: str) -> FolderCodec:
        """The codec of `NAME=FOLDER`. Raises UsageError or InputError."""
        name, equals, folder = text.partition("=")
        if not (equals and name.strip() and folder.strip()):
            raise UsageError(f"{text}: write NAME=FOLDER, a folder of decoded pictures with {SIZES}")
        return cls(name.strip(), Path(folder.strip()), _read(Path(folder.strip())))

    @property
    def settings(self) -> tuple[float, ...]:
        """Settings of the picture, from the smallest file to the largest."""
        return tuple(sorted(self.entries, key=lambda setting: self.entries[setting].n_bytes))

    def for_picture(self, name: str) -> FolderCodec:
        """The codec with the entries of the picture, found by its path, its file name, or that without suffix.

        Raises InputError if the folder has none.
        """
        path = Path(name.rpartition(":")[2] if ".tar:" in name else name)
        for key in (name, path.name, path.stem):
            if key in self.pictures:
                return FolderCodec(self.name, self.folder, self.pictures, self.pictures[key])
        raise InputError(f"{self.folder / SIZES}: no line for {path.name}")

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """The path of the decoded picture; the file itself is not there."""
        return str(self.entries[setting].path).encode()

    def decode(self, data: bytes) -> Pixels:
        """The decoded picture, uint8 [H, W, 3]. Raises InputError."""
        return np.array(read_pixels(Path(data.decode()), None))

    def n_bytes(self, data: bytes) -> int:
        """Bytes of the file as the table states them."""
        return next(entry.n_bytes for entry in self.entries.values() if str(entry.path).encode() == data)

    def describe(self) -> str:
        """The folder."""
        return f"decoded pictures in {self.folder}"


def _read(folder: Path) -> dict[str, dict[float, Decoded]]:
    table = folder / SIZES
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(f"{table}: cannot be read: {error.strerror or error}") from error
    pictures: dict[str, dict[float, Decoded]] = {}
    for number, line in enumerate(lines, 2):
        try:
            name, n_bytes = line["picture"], int(line["bytes"])
            own = pictures.setdefault(name, {})
            setting = float(line["setting"]) if line.get("setting") else float(len(own) + 1)
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{table}, line {number}: needs the columns picture and bytes, a whole number") from None
        own[int(setting) if setting.is_integer() else setting] = Decoded(
            _path(folder, name, line.get("decoded")), n_bytes
        )
    if not pictures:
        raise InputError(f"{table}: has no lines")
    stems = {Path(name).stem: entries for name, entries in pictures.items()}
    return stems | {Path(name).name: entries for name, entries in pictures.items()} | pictures


def _path(folder: Path, name: str, decoded: str | None) -> Path:
    if decoded:
        return folder / decoded
    exact = folder / Path(name).name
    return exact if exact.is_file() else exact.with_suffix(".png")
