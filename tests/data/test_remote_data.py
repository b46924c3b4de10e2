"""Data sets behind URLs: memory:// and a local server of S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vqcodec.data import TokenDataset, TokenLoader
from vqcodec.errors import InputError

from ..object_store import Store, memory_store, s3_store
from .conftest import Samples

pytest.importorskip("fsspec", reason="the extra remote is not installed")


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with (memory_store if request.param == "memory" else s3_store)() as found:
        yield found


def upload(store: Store, folder: Path, name: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            store.write(f"{name}/{path.relative_to(folder)}", path.read_bytes())


def test_every_form_is_read(store: Store, samples: Samples) -> None:
    wanted = {sample["__key__"]: sample["tokens"] for sample in TokenDataset(samples.packed)}
    upload(store, samples.packed.parent, "data")
    for name in ("data/folder", "data/train-0.tar", "data/train-*.tar", "data/all.vqtok", "data/folder/001.vqc"):
        found = list(TokenDataset(store.url(name), layers=2))
        assert len(found) == {"data/train-0.tar": 20, "data/folder/001.vqc": 1}.get(name, 60)
        for sample in found:
            assert (sample["tokens"] == wanted[sample["__key__"]][:2]).all()
            assert sample["cls"] == int(sample["__key__"][-3:]) % 10
    whole = TokenDataset(store.url("data"))
    assert len(whole) == 180


def test_workers_open_connections_of_their_own(store: Store, samples: Samples) -> None:
    upload(store, samples.packed.parent, "data")
    data = TokenDataset(store.url("data/all.vqtok"))
    next(iter(data))
    keys = [key for batch in TokenLoader(data, 8, num_workers=2) for key in batch["__key__"]]
    assert sorted(keys) == sorted(samples.tokens)


def test_missing_data_is_one_line(store: Store) -> None:
    for name in ("none", "none/a.tar", "none/a.vqtok"):
        with pytest.raises(InputError, match=f"^{store.url(name)}: no such file, folder or bucket$"):
            TokenDataset(store.url(name))
