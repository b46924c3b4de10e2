"""SRC and DST of the batches of `batch_scale.py`: local folders, or objects behind a local server of S3."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.object_store import Store, s3_store
from vqcodec.cli.batch.manifest import MANIFEST


@dataclass(frozen=True)
class Folder:
    """DST as a local folder."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def tree(self) -> dict[str, bytes]:
        """Every file but the manifest, those of unfinished work included."""
        files = (path for path in self.path.rglob("*") if path.is_file() and path.name != MANIFEST)
        return {path.relative_to(self.path).as_posix(): path.read_bytes() for path in files}

    def manifest(self) -> list[dict]:
        """Lines of the manifest."""
        book = self.path / MANIFEST
        return [json.loads(line) for line in book.read_bytes().splitlines()] if book.exists() else []

    def n_done(self) -> int:
        """Files that are finished: lines of the manifest."""
        book = self.path / MANIFEST
        return book.read_bytes().count(b"\n") if book.exists() else 0


@dataclass(frozen=True)
class Objects:
    """DST as the objects of a store below a key."""

    store: Store
    key: str

    def __str__(self) -> str:
        return self.store.url(self.key)

    def _names(self) -> list[str]:
        return [name for name in self.store.names() if name.startswith(f"{self.key}/")]

    def tree(self) -> dict[str, bytes]:
        """Every object but the manifest, those of unfinished work included."""
        start = len(self.key) + 1
        return {name[start:]: self.store.read(name) for name in self._names() if not name.endswith(MANIFEST)}

    def manifest(self) -> list[dict]:
        """Lines of the manifest."""
        name = f"{self.key}/{MANIFEST}"
        return [json.loads(line) for line in self.store.read(name).splitlines()] if name in self._names() else []

    def n_done(self) -> int:
        """Files that are finished: targets."""
        return sum(name.endswith(".vqc") for name in self._names())


Place = Folder | Objects


@contextlib.contextmanager
def places(base: Path, s3: bool, name: str = "", src: Path | None = None) -> Iterator[tuple[object, Place, Place]]:
    """SRC, DST of an undisturbed run and DST of another one: folders, or a store with the pictures of `src` in it."""
    if not s3:
        yield src, Folder(base / f"{name}whole"), Folder(base / f"{name}broken")
        return
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_store() as store:
        for path in src.rglob("*.png") if src else ():
            store.write(f"in/{path.relative_to(src)}", path.read_bytes())
        yield store.url("in"), Objects(store, "whole"), Objects(store, "broken")
