"""Shards of .vqc files, in a folder or an uncompressed tar file: samples are entropy-decoded, several together."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from .. import container, remote
from ..errors import InputError, VqcError
from ..geometry.rectangles import Rect
from ..geometry.token_layout import plane_shapes
from ..image.limits import MAX_PIXELS
from ..models import loading, registry
from ..tokens.reading import read_several
from ..tokens.tokens import Tokens
from .byte_source import ByteSource, byte_source
from .crops import Crops, Window
from .shard import SamplePlanes
from .strings import ByteStrings
from .suffixes import LABELS
from .token_space import TokenSpace

ABSENT = -1
"""Size of a file that a sample does not have."""


class CodedShard:
    """.vqc files with the files beside them; `files` maps suffixes ("vqc", "cls") to int64 [n, 2] offsets, sizes."""

    def __init__(self, name: str, keys: ByteStrings, files: Mapping[str, np.ndarray], tar: ByteSource | None) -> None:
        self.name, self._keys, self._files, self._tar = name, keys, files, tar
        self.max_pixels: int | None = MAX_PIXELS
        self.labels = tuple(suffix for suffix in LABELS if suffix in files)

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, number: int) -> str:
        """Name of a sample, without suffix."""
        return self._keys[number].decode("utf-8", "surrogateescape")

    def label(self, number: int, suffix: str) -> bytes | None:
        """Bytes of the file beside the tokens of a sample, None if it has none. Raises InputError."""
        if suffix not in self._files or self._files[suffix][number, 1] == ABSENT:
            return None
        return self._read(number, suffix)

    def _read(self, number: int, suffix: str) -> bytes:
        if self._tar is not None:
            start, size = self._files[suffix][number].tolist()
            return bytes(self._tar.read(start, size))
        name = f"{self.key(number)}.{suffix}"
        if remote.is_url(self.name):
            return remote.read_bytes(remote.join(self.name, name))
        path = Path(self.name, name)
        try:
            return path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error

    def space(self) -> TokenSpace:
        """Planes of the model of the first file."""
        with self._naming(0):
            header = container.read_head(self._read(0, "vqc"), None).header
            config = _model(header.token_id, header.entropy_id).config
        return TokenSpace(config.name, config.token_id, config.tokenizer.quantizer.sizes, config.layers)

    def planes(
        self, numbers: Sequence[int], space: TokenSpace, crops: Crops | None, samples: Sequence[int]
    ) -> list[SamplePlanes]:
        """The planes of `space` of each sample, cropped."""
        files = [self._open(number, space) for number in numbers]
        windows = None if crops is None else [self._window(*pair, crops) for pair in zip(files, samples, strict=True)]
        found = self._decode(files, numbers, space, windows)
        planes: list[SamplePlanes] = [[tokens.planes[s] for s in space.planes] for tokens in found]
        if crops is None or windows is None:
            return planes
        return [crops.cut(several, window) for several, window in zip(planes, windows, strict=True)]

    def tokens(self, numbers: Sequence[int], space: TokenSpace) -> list[Tokens]:
        """Samples with size and metadata; planes beyond `space` are MISSING. Raises as `planes`."""
        return self._decode([self._open(number, space) for number in numbers], numbers, space, None)

    def _window(self, file: container.File, sample: int, crops: Crops) -> Window:
        header = file.header
        tokenizer = _model(header.token_id, header.entropy_id).config.tokenizer
        return crops.window(sample, plane_shapes(tokenizer, header.width, header.height))

    def _decode(
        self,
        files: Sequence[container.File],
        numbers: Sequence[int],
        space: TokenSpace,
        windows: Sequence[Window] | None,
    ) -> list[Tokens]:
        """Tokens of `files`, the samples `numbers`: of the access tiles that touch `windows` only, if given."""
        try:
            return _decode(files, space, windows)
        except VqcError:
            for i, number in enumerate(numbers):
                with self._naming(number):  # one by one, to name the damaged file
                    _decode([files[i]], space, windows and [windows[i]])
            raise

    def _open(self, number: int, space: TokenSpace) -> container.File:
        with self._naming(number):
            file = container.read(self._read(number, "vqc"), max_pixels=self.max_pixels)
            found = file.header.token_id.hex()
            if found != space.identity:
                config = _model(file.header.token_id, file.header.entropy_id).config
                raise InputError(f"is of model '{config.name}', the data set of '{space.model}'; keep them apart")
            return file

    @contextmanager
    def _naming(self, number: int) -> Iterator[None]:
        """Errors inside begin with the name of the file."""
        try:
            yield
        except VqcError as error:
            name = f"{self.name}{':' if self._tar is not None else '/'}{self.key(number)}.vqc"
            if str(error).startswith(name):
                raise
            raise type(error)(f"{name}: {error}") from error


def _decode(files: Sequence[container.File], space: TokenSpace, windows: Sequence[Window] | None) -> list[Tokens]:
    """Tokens of files of one token space, which may have several entropy models."""
    found: dict[int, Tokens] = {}
    for entropy_id in sorted({file.header.entropy_id for file in files}):
        model = _model(files[0].header.token_id, entropy_id)
        same = [i for i, file in enumerate(files) if file.header.entropy_id == entropy_id]
        keeps = [min(len(space.layers), files[i].header.n_layers) for i in same]
        areas: list[Rect | None] = [None] * len(same)
        if windows is not None:
            grids = [Rect(y.start, y.stop, x.start, x.stop) for y, x in (windows[i] for i in same)]
            areas = [grid.times(model.stride) for grid in grids]
        found |= zip(same, read_several([files[i] for i in same], model, keeps, areas), strict=True)
    return [found[i] for i in range(len(files))]


@lru_cache(maxsize=8)
def _entry(token_id: bytes, entropy_id: bytes, _cache_folder: Path) -> registry.Entry:
    return registry.find_by_id(token_id, entropy_id)


def _model(token_id: bytes, entropy_id: bytes) -> loading.Model:
    """The model of a file; found by reading configurations once."""
    return loading.load(_entry(token_id, entropy_id, registry.cache_folder()))


def folder_shard(name: str, names: Sequence[str]) -> CodedShard:
    """The .vqc files among `names`, relative to a folder or URL, in their order, with the files beside them."""
    return _shard(name, [(path, 0, 0) for path in names], None)


def tar_shard(name: str) -> CodedShard:
    """The .vqc files of an uncompressed tar file. Raises InputError."""
    source = byte_source(name)
    try:
        if remote.is_url(name):
            with remote.naming(name, InputError):
                fs, path = remote.open_url(name)
                with fs.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
                    members = [(m.name, m.offset_data, m.size) for m in tar if m.isreg()]
        else:
            with tarfile.open(name, "r:") as tar:
                members = [(m.name, m.offset_data, m.size) for m in tar if m.isreg()]
    except tarfile.TarError as error:
        raise InputError(f"{name}: not an uncompressed tar file: {error}") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror or error}") from error
    return _shard(name, members, source)


def _shard(name: str, members: Sequence[tuple[str, int, int]], tar: ByteSource | None) -> CodedShard:
    rows: dict[str, int] = {}
    for member, _, _ in members:
        key, _, suffix = member.rpartition(".")
        if suffix == "vqc" and key:
            if key in rows:
                raise InputError(f"{name}: holds {member} twice")
            rows[key] = len(rows)
    files: dict[str, np.ndarray] = {}
    for member, offset, size in members:
        key, _, suffix = member.rpartition(".")
        if key in rows and suffix in ("vqc", *LABELS):
            files.setdefault(suffix, np.full((len(rows), 2), ABSENT, np.int64))[rows[key]] = offset, size
    keys = ByteStrings.of(key.encode("utf-8", "surrogateescape") for key in rows)
    return CodedShard(name, keys, files, tar)
