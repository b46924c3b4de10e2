"""Arguments that name inputs: the output given as the last one, and the files of folders."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from vqcodec.container import MAGIC
from vqcodec.errors import InputError, UsageError

from .files import read_input
from .messages import STDIO


def split_output(
    sources: list[Path], out: str | None, suffixes: Collection[str], folders: bool = False
) -> tuple[list[Path], str | None]:
    """The inputs and the output: `out`, or else the second of two arguments if it names an output.

    It does if its suffix is one of `suffixes` (lower case, with the dot) and it is no input: missing, or of the type
    that the command writes. `folders`: the command reads folders.

    Raises UsageError for a last argument that was probably meant as the output of several inputs.
    """
    if out is not None or len(sources) < 2:
        return sources, out
    last = sources[-1]
    named = last.suffix.lower() in suffixes
    if len(sources) == 2 and named and _is_output(last):
        return sources[:1], str(last)
    if os.path.isdir(last) and not folders:
        raise UsageError(f"{last}: is a directory; to write into it: -o {last}; to convert it: `vqcodec batch`")
    if not os.path.exists(last) and last != STDIO and (named or not last.suffix):
        hint = "several inputs need a directory: -o DIR" if named else f"to write there: -o {last}{os.sep}"
        raise UsageError(f"{last}: no such file; {hint}")
    return sources, out


def _is_output(path: Path) -> bool:
    """True for a path without a file, and for a file of the type that its suffix names: .vqc or not."""
    if not os.path.exists(path):
        return True
    return os.path.isfile(path) and (read_input(path, len(MAGIC)) == MAGIC) == (path.suffix.lower() == ".vqc")


def vqc_files(sources: list[Path]) -> list[tuple[Path, Path]]:
    """(file, its path relative to the argument that named it) of each file and of the .vqc files in each folder.

    Folders are read with their subfolders, in order of names; hidden files and folders are left out. Raises InputError
    for a folder without .vqc files.
    """
    found: list[tuple[Path, Path]] = []
    for source in sources:
        if source == STDIO or not os.path.isdir(source):
            found.append((source, Path(source.name)))
            continue
        files = sorted(path for path in _walk(source) if path.suffix.lower() == ".vqc")
        if not files:
            raise InputError(f"{source}: no .vqc files in this folder")
        found += [(path, path.relative_to(source)) for path in files]
    return found


def _walk(folder: Path) -> list[Path]:
    files: list[Path] = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(base) / name for name in names if not name.startswith(".")]
    return files
