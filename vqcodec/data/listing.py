"""Shards of a data set: folders, tar shards, packed shards, single .vqc files, patterns and URLs of these."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from .. import remote
from ..errors import InputError
from ..image.limits import MAX_PIXELS
from .coded_shard import CodedShard, folder_shard, tar_shard
from .packed import PackedShard
from .shard import Shard
from .suffixes import PACKED

Sources = str | Path | Sequence[str | Path]
"""Folder, shard, .vqc file, pattern or URL of these; or several of them."""


def list_shards(sources: Sources, max_pixels: int | None = MAX_PIXELS) -> list[Shard]:
    """The shards of `sources` that hold samples, in their order; those of a folder or pattern sorted by name.

    A folder gives its .vqc files, also in folders below, and the shards in it. Hidden files are left out. Files of more
    than `max_pixels` pixels are refused when they are read.
    Raises InputError for a source that is not there or holds no tokens, UsageError.
    """
    several = [sources] if isinstance(sources, str | Path) else list(sources)
    if not several:
        raise InputError("no source of tokens is given")
    found: list[Shard] = []
    for source in several:
        names = _matches(source)
        single = [name for name in names if name.lower().endswith(".vqc")]
        of_source = [*_files(single), *(shard for name in names if name not in single for shard in _shards(name))]
        if not any(map(len, of_source)):
            raise InputError(f"{source}: holds no .vqc files")
        found += [shard for shard in of_source if len(shard)]
    for shard in found:
        shard.max_pixels = max_pixels
    return found


def _files(names: Sequence[str]) -> list[CodedShard | PackedShard]:
    """Single .vqc files, one shard for each folder that holds some of them."""
    folders: dict[str, set[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        folders.setdefault(folder or ".", set()).add(file.rpartition(".")[0])
    shards: list[CodedShard | PackedShard] = []
    for folder, stems in folders.items():
        beside = remote.find(folder) if remote.is_url(folder) else os.listdir(folder)
        shards.append(folder_shard(folder, sorted(name for name in beside if name.rpartition(".")[0] in stems)))
    return shards


def _matches(source: str | Path) -> list[str]:
    """Names that a source stands for. Raises InputError."""
    if isinstance(source, str) and remote.is_url(source):
        names = remote.matches(source)
    elif os.path.lexists(source):
        names = [str(source)]
    else:
        names = sorted(glob.glob(str(source)))
    if not names:
        raise InputError(f"{source}: no such file or folder")
    return names


def _shards(name: str) -> list[CodedShard | PackedShard]:
    suffix = os.path.splitext(name)[1].lower()
    if suffix == ".tar":
        return [tar_shard(name)]
    if suffix == PACKED:
        return [PackedShard(name)]
    if remote.is_url(name):
        names = sorted(remote.find(name))
    elif os.path.isdir(name):
        names = sorted(_walk(name))
    else:
        raise InputError(f"{name}: not a folder, nor a .vqc, .tar or {PACKED} file")
    names = [path for path in names if not any(part.startswith(".") for part in path.split("/"))]
    shards: list[CodedShard | PackedShard] = [folder_shard(name, names)]
    for path in names:
        if path.endswith((".tar", PACKED)):
            shards += _shards(remote.join(name, path) if remote.is_url(name) else os.path.join(name, path))
    return shards


def _walk(folder: str) -> list[str]:
    """Files below a folder, relative to it, with /. Raises InputError."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be listed: {error.strerror or error}") from error

    found = []
    for base, _, names in os.walk(folder, onerror=refuse):
        inside = os.path.relpath(base, folder).replace(os.sep, "/")
        found += [name if inside == "." else f"{inside}/{name}" for name in names]
    return found
