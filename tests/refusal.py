"""Helpers for tests of truncated, damaged and hostile files: checks of a refusal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import vqcodec
from vqcodec.errors import FormatError, InputError, LimitError

Invoke = Callable[..., tuple[int, str, str]]


def contents(folder: Path) -> dict[str, bytes]:
    """Name -> bytes of everything in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fails(invoke: Invoke, code: int, *arguments: object) -> None:
    """The command ends with `code` and one line, and leaves the folder of its input, arguments[1], as it was."""
    folder = Path(str(arguments[1])).parent
    before = contents(folder)
    found, out, err = invoke(*arguments)
    assert (found, out) == (code, ""), err
    assert err.startswith("vqcodec: ")
    assert err.count("\n") == 1
    assert contents(folder) == before


def decodes_or_refuses(data: bytes) -> None:
    """Check that every reader of files either succeeds or raises FormatError."""
    for call in (
        lambda: vqcodec.decode(data, max_pixels=2**18),
        lambda: vqcodec.decode(data, allow_partial=True, max_pixels=2**18),
        lambda: list(vqcodec.previews(data, steps=1, max_pixels=2**18)),
        lambda: vqcodec.inspect(data),
        lambda: vqcodec.verify(data),
        lambda: vqcodec.truncate(data, keep=1),
    ):
        with contextlib.suppress(FormatError, InputError, LimitError):
            call()
