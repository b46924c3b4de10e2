"""Trees of files and manifests, for tests of `vqcodec batch`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from vqcodec.cli.batch.manifest import MANIFEST

Run = Callable[..., tuple[int, str, str]]


def tree(folder: Path) -> dict[str, bytes]:
    """The files below `folder` except the manifest."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / MANIFEST).read_bytes().splitlines()]


def touch(path: Path, seconds: float) -> None:
    """Add `seconds` to the modification time of a file."""
    there = path.stat()
    os.utime(path, ns=(there.st_atime_ns, there.st_mtime_ns + int(seconds * 1e9)))
