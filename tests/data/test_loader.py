"""TokenLoader: batches that do not depend on workers, epochs, states within an epoch."""

from __future__ import annotations

import pickle
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.data import TokenDataset, TokenLoader
from vqcodec.errors import UsageError

from .conftest import N, Samples


def batches(loader: TokenLoader) -> list[list[str]]:
    return [batch["__key__"] for batch in loader]


def test_batches_hold_tokens_and_labels(samples: Samples) -> None:
    loader = TokenLoader(TokenDataset(samples.folder), 16)
    assert len(loader) == 4
    first = next(iter(loader))
    assert first["tokens"].shape == (16, 4, 4, 6)
    assert first["cls"].tolist() == [int(key[-3:]) % 10 for key in first["__key__"]]
    assert first["txt"][0].startswith("picture ")
    assert None in first["json"]


def test_each_sample_once_with_two_workers(samples: Samples) -> None:
    loader = TokenLoader(TokenDataset(samples.folder), 8, num_workers=2)
    found = {key: tokens for batch in loader for key, tokens in zip(batch["__key__"], batch["tokens"], strict=True)}
    assert len(found) == N
    for key, tokens in samples.tokens.items():
        np.testing.assert_array_equal(found[key], np.stack(tokens.planes))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_gives_the_rest_with_any_number_of_workers(samples: Samples, workers: int) -> None:
    data = TokenDataset(samples.packed)
    loader = TokenLoader(data, 8, num_workers=workers)
    whole = batches(TokenLoader(data, 8))
    iterator = iter(loader)
    assert [batch["__key__"] for batch in islice(iterator, 3)] == whole[:3]
    state = pickle.loads(pickle.dumps(loader.state_dict()))
    del iterator
    for other in (0, 1, 2):
        resumed = TokenLoader(TokenDataset(samples.packed), 8, num_workers=other)
        resumed.load_state_dict(state)
        assert batches(resumed) == whole[3:]
        assert resumed.epoch == 1
        second = batches(resumed)
        assert second != whole
        assert sorted(chain(*second)) == sorted(chain(*whole))


def test_workers_that_stay_alive_follow_the_epochs(samples: Samples) -> None:
    alone = TokenLoader(TokenDataset(samples.packed), 8)
    loader = TokenLoader(TokenDataset(samples.packed), 8, num_workers=2, persistent_workers=True)
    for epoch in range(3):
        assert loader.epoch == epoch
        assert batches(loader) == batches(alone)


def test_other_ranks_continue(samples: Samples) -> None:
    """Two ranks stop after two batches of 5; three ranks give the other 40 samples."""
    given: list[str] = []
    for rank in range(2):
        loader = TokenLoader(TokenDataset(samples.packed, rank=rank, world=2), 5)
        given += chain(*(batch["__key__"] for batch in islice(loader, 2)))
        state = loader.state_dict()
    assert state["position"] == 20
    for rank in range(3):
        resumed = TokenLoader(TokenDataset(samples.packed, rank=rank, world=3), 5)
        resumed.load_state_dict(state)
        given += chain(*batches(resumed))
    assert sorted(given) == sorted(samples.tokens)


def test_epochs_can_be_set(samples: Samples) -> None:
    loader = TokenLoader(TokenDataset(samples.packed), 8)
    first, second = batches(loader), batches(loader)
    loader.set_epoch(0)
    assert batches(loader) == first
    assert batches(loader) == second
    state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (2, 0)


def test_pictures_of_several_sizes_need_crops(tiny_model: str, photo: Image.Image, tmp_path: Path) -> None:
    for i, size in enumerate([(96, 64), (64, 96)]):
        (tmp_path / f"{i}.vqc").write_bytes(vqcodec.encode(photo.resize(size), tiny_model))
    with pytest.raises(UsageError, match=r"pictures of several sizes.*give crop="):
        list(TokenLoader(TokenDataset(tmp_path), 2))
    [batch] = TokenLoader(TokenDataset(tmp_path, crop=4), 2)
    assert batch["tokens"].shape == (2, 4, 4, 4)
