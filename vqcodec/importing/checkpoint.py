"""Reader of published checkpoint files: file -> tensors by name. No code of the file is executed.

safetensors files hold tensors only. torch.save writes a pickle, which can have any function of any module called, so
files are read by torch's restricted unpickler for weights. A few harmless classes that training scripts save along with
the tensors are accepted in addition; each is replaced by the empty class Inert. All other names are refused.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

PARTS = ("ema", "model_ema", "model", "state_dict", "module")
"""Keys of a checkpoint that can hold the weights, in order of preference: averaged weights first."""
WRAPPERS = ("module.", "model.", "ema_model.", "tokenizer.", "vq_model.", "vae.")
"""Prefixes that wrappers add to all names."""
COMPILED = "_orig_mod."
"""Prefix that torch.compile adds to the names of a compiled module."""
MAX_PICKLE_BYTES = 2**26
"""Largest accepted data.pkl of an archive, the member with names and without numbers."""
MAX_DEPTH = 3
"""Levels of nested parts that are searched for weights."""
ZIP, SAFETENSORS = b"PK\x03\x04", b"{"


class Inert:
    """Empty replacement for an object of a harmless class; its arguments and its state are ignored."""

    def __new__(cls, *args: object, **settings: object) -> Inert:
        """Return an empty object; all arguments are ignored."""
        return super().__new__(cls)

    def __init__(self, *args: object, **settings: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


HARMLESS = (
    *("argparse.Namespace", "types.SimpleNamespace"),
    *(
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
    ),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray", "typing.Any", "collections.defaultdict"),
    *(f"builtins.{name}" for name in ("dict", "list", "int", "float", "str", "bool", "object")),
    *(
        f"omegaconf.{name}"
        for name in (
            *("dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata", "base.Metadata"),
            *(f"nodes.{kind}Node" for kind in ("Any", "Boolean", "Float", "Integer", "String")),
        )
    ),
)
"""Classes of the settings, paths and single numbers that checkpoints hold in addition to tensors."""


def read_checkpoint(path: Path, part: str | None = None) -> dict[str, Tensor]:
    """Read the weights of a .pt, .pth or safetensors file, by their names without the prefixes of wrappers.

    `part` is the key of the checkpoint that holds the weights; None: the first of PARTS that is present. Raises
    InputError for a file that cannot be read, is damaged, holds no weights or names other classes.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(9)
            size = file.seek(0, 2)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if start[8:9] == SAFETENSORS and int.from_bytes(start[:8], "little") < size:
        tree: object = _read_safetensors(path)
    else:
        if start[:4] == ZIP:
            _check_archive(path, size)
        tree = _read_pickle(path, mmap=start[:4] == ZIP)
    return unwrapped(_weights(path, tree, part), path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except Exception as error:  # the library raises its own and built-in classes
        raise InputError(f"{path}: not a whole safetensors file: {_first_line(error)}") from error


def _read_pickle(path: Path, mmap: bool) -> object:
    allowed: list[Any] = [(Inert, name) for name in HARMLESS]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about deprecated storage classes in older files
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a damaged file can make the unpickler raise any class
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise InputError(
                f"{path}: names {found[1][:80]}, which weights do not need; refused, and nothing in it was run"
            ) from error
        raise InputError(f"{path}: no checkpoint that can be read: {_first_line(error)}") from error


def _check_archive(path: Path, size: int) -> None:
    """Refuse an archive whose directory claims more bytes than the file has; torch.save does not compress."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # a damaged directory raises classes besides BadZipFile
        raise InputError(f"{path}: cut off or damaged: {_first_line(error)}") from error
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise InputError(f"{path}: an archive with compressed parts, which torch.save never writes")
    if sum(member.file_size for member in members) > size:
        raise InputError(f"{path}: its parts claim more bytes than it has")
    if any(member.file_size > MAX_PICKLE_BYTES for member in members if member.filename.endswith("data.pkl")):
        raise InputError(f"{path}: data.pkl has more than {MAX_PICKLE_BYTES:,} bytes of names")


def _weights(path: Path, tree: object, part: str | None) -> Mapping[str, Tensor]:
    """Find the state dict in the unpickled contents of a file. Raises InputError."""
    if not isinstance(tree, Mapping):
        raise InputError(f"{path}: holds a {type(tree).__name__}; weights by name are needed")
    if part is not None and part not in tree:
        known = ", ".join(str(key) for key in list(tree)[:8])
        raise InputError(f"{path}: has no part '{part}'; it holds {known}")
    for names in ((part,) if part is not None else PARTS, *(PARTS,) * (MAX_DEPTH - 1)):
        inner = (tree.get(name) for name in names)
        tree = next((found for found in inner if isinstance(found, Mapping) and found), tree)
    others = [str(key) for key, value in tree.items() if not isinstance(value, Tensor) or not isinstance(key, str)]
    if others or not tree:
        raise InputError(f"{path}: no weights in it; it holds {', '.join(others[:4]) or 'nothing'}")
    return tree


def unwrapped(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Remove the prefixes of wrappers from all names. Raises InputError if two names become equal."""
    found = {name.replace(COMPILED, ""): value for name, value in state.items()}
    while prefix := _shared(list(found)):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    if len(found) < len(state):
        raise InputError(f"{path}: holds tensors under one name twice, with and without {COMPILED}")
    return found


def _shared(names: Sequence[str]) -> str | None:
    return next((prefix for prefix in WRAPPERS if names and all(name.startswith(prefix) for name in names)), None)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
