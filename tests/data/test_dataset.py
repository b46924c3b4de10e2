"""TokenDataset: the same samples from every form, each once, divided, cropped and resumed."""

from __future__ import annotations

import pickle
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import vqcodec
from vqcodec.data import TokenDataset, TokenLoader, collate
from vqcodec.errors import FormatError, InputError, UsageError

from .conftest import N, Samples

FORMS = ("folder", "tars", "packed")


def keys_of(samples: object) -> list[str]:
    return [sample["__key__"] for sample in samples]  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", FORMS)
def test_samples_are_those_of_decode_tokens_with_their_labels(samples: Samples, form: str) -> None:
    data = TokenDataset(getattr(samples, form))
    assert data.vocabulary == (16, 16, 16, 16)
    assert data.labels == ("cls", "json", "txt")
    assert len(data) == N
    found = {sample["__key__"]: sample for sample in data}
    assert set(found) == set(samples.tokens)
    for key, tokens in samples.tokens.items():
        number = int(key[-3:])
        assert found[key]["tokens"].dtype == torch.int64
        np.testing.assert_array_equal(found[key]["tokens"], np.stack(tokens.planes))
        assert found[key]["cls"] == number % 10
        assert found[key]["txt"] == f"picture {number}, très petite"
        assert found[key]["json"] == ({"number": number} if number % 2 else None)


@pytest.mark.parametrize("form", FORMS)
def test_first_layers(samples: Samples, form: str) -> None:
    data = TokenDataset(getattr(samples, form), layers=2)
    assert data.vocabulary == (16, 16)
    for sample in data:
        np.testing.assert_array_equal(sample["tokens"], np.stack(samples.tokens[sample["__key__"]].planes[:2]))
    with pytest.raises(UsageError, match=r"layers 5: 1\.\.4"):
        TokenDataset(getattr(samples, form), layers=5)


@pytest.mark.parametrize("form", FORMS)
def test_crops_are_parts_of_the_planes_and_differ_by_epoch(samples: Samples, form: str) -> None:
    data = TokenDataset(getattr(samples, form), crop=(3, 2))
    places = []
    for epoch in range(2):
        data.set_epoch(epoch)
        for sample in data:
            whole, crop = np.stack(samples.tokens[sample["__key__"]].planes), sample["tokens"].numpy()
            assert crop.shape == (4, 3, 2)
            fits = [(y, x) for y in range(2) for x in range(5) if (whole[:, y : y + 3, x : x + 2] == crop).all()]
            assert fits
            places.append((epoch, sample["__key__"], fits[0]))
    assert len({place for *_, place in places}) == 10
    first, second = ({key: place for number, key, place in places if number == epoch} for epoch in range(2))
    assert first != second
    again = {sample["__key__"]: sample["tokens"] for sample in data}
    assert all(torch.equal(sample["tokens"], again[sample["__key__"]]) for sample in data)


def test_centred_crops_and_padding(samples: Samples) -> None:
    data = TokenDataset(samples.folder, crop=2, shuffle=False)
    for sample in data:
        np.testing.assert_array_equal(sample["tokens"], np.stack(samples.tokens[sample["__key__"]].planes)[:, 1:3, 2:4])
    for source in (samples.folder, samples.packed):
        sample = next(iter(TokenDataset(source, crop=8)))
        assert sample["tokens"].shape == (4, 8, 8)
        assert (sample["tokens"][:, 4:] == -1).all()
        assert (sample["tokens"][:, :, 6:] == -1).all()


def test_order_depends_on_seed_and_epoch_only(samples: Samples) -> None:
    data = TokenDataset(samples.folder, seed=1)
    first = keys_of(data)
    assert first != keys_of(TokenDataset(samples.folder, shuffle=False))
    assert first == keys_of(TokenDataset(samples.folder, seed=1))
    assert first != keys_of(TokenDataset(samples.folder, seed=2))
    data.set_epoch(1)
    second = keys_of(data)
    assert second != first
    assert sorted(second) == sorted(first)


def test_workers_of_a_plain_loader_repeat_nothing(samples: Samples) -> None:
    loader = DataLoader(TokenDataset(samples.packed), batch_size=7, num_workers=2, collate_fn=collate)
    assert Counter(key for batch in loader for key in batch["__key__"]) == Counter(list(samples.tokens))


@pytest.mark.parametrize("world", [2, 3, 7])
def test_ranks_divide_an_epoch(samples: Samples, world: int) -> None:
    ranks = [TokenDataset(samples.packed, rank=rank, world=world) for rank in range(world)]
    assert Counter(key for data in ranks for key in keys_of(data)) == Counter(list(samples.tokens))
    assert [len(keys_of(data)) for data in ranks] == [len(data) for data in ranks]
    even = [TokenDataset(samples.packed, rank=rank, world=world, even_ranks=True) for rank in range(world)]
    assert {len(keys_of(data)) for data in even} == {len(data) for data in even} == {N // world}
    assert max(Counter(key for data in even for key in keys_of(data)).values()) == 1


def test_rank_of_torchrun_is_taken_from_the_environment(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    data = TokenDataset(samples.packed)
    assert (data.rank, data.world, len(data)) == (1, 4, 15)
    with pytest.raises(UsageError, match="rank 4, world 4"):
        TokenDataset(samples.packed, rank=4, world=4)


@pytest.mark.parametrize("given", [0, 1, 17, 59, 60])
def test_a_data_set_resumes_after_any_sample(samples: Samples, given: int) -> None:
    data = TokenDataset(samples.packed)
    data.set_epoch(3)
    whole = keys_of(data)
    iterator = iter(data)
    assert keys_of(islice(iterator, given)) == whole[:given]
    state = pickle.loads(pickle.dumps(data.state_dict()))
    fresh = TokenDataset(samples.packed)
    fresh.load_state_dict(state)
    fresh.set_epoch(3)
    assert keys_of(fresh) == whole[given:]
    fresh.set_epoch(4)
    assert sorted(keys_of(fresh)) == sorted(whole)


def test_a_state_of_other_data_is_refused(samples: Samples) -> None:
    state = TokenDataset(samples.packed).state_dict()
    for other in (TokenDataset(samples.folder), TokenDataset(samples.packed, seed=1)):
        with pytest.raises(UsageError, match="another data set"):
            other.load_state_dict(state)
        with pytest.raises(UsageError, match="another data set"):
            TokenLoader(other).load_state_dict(state)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_resumes_in_the_middle(samples: Samples, workers: int) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def loader() -> object:
        return stateful.StatefulDataLoader(
            TokenDataset(samples.packed), batch_size=8, num_workers=workers, collate_fn=collate
        )

    whole = [batch["__key__"] for batch in loader()]  # type: ignore[attr-defined]
    first = loader()
    iterator = iter(first)  # type: ignore[call-overload]
    assert [batch["__key__"] for batch in islice(iterator, 3)] == whole[:3]
    state = first.state_dict()  # type: ignore[attr-defined]
    del iterator
    second = loader()
    second.load_state_dict(state)  # type: ignore[attr-defined]
    assert [batch["__key__"] for batch in second] == whole[3:]  # type: ignore[attr-defined]


def test_damaged_files_and_labels_are_named(samples: Samples, tmp_path: Path) -> None:
    good = (samples.folder / "001.vqc").read_bytes()
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.vqc").write_bytes(good)
    (tmp_path / "b.vqc").write_bytes(good[:-3])
    with pytest.raises(FormatError, match=rf"^{tmp_path}/b\.vqc: end of file"):
        list(TokenDataset(tmp_path))
    (tmp_path / "b.vqc").write_bytes(good)
    (tmp_path / "c.cls").write_text("cat")
    with pytest.raises(InputError, match=r"c\.cls: invalid literal"):
        list(TokenDataset(tmp_path))
    assert len(list(TokenDataset(tmp_path, labels=()))) == 3
    with pytest.raises(InputError, match=r"no sample has a \.txt"):
        TokenDataset(tmp_path, labels=["txt"])
    (tmp_path / "b.vqc").unlink()
    data = TokenDataset(tmp_path, labels=())
    (tmp_path / "c.vqc").unlink()
    with pytest.raises(InputError, match=r"c\.vqc: cannot be read: No such file"):
        list(data)


def test_files_of_several_models_are_refused(two_models: None, photo: object, tmp_path: Path) -> None:
    for model in ("small", "large"):
        (tmp_path / f"{model}.vqc").write_bytes(vqcodec.encode(photo, model))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"small\.vqc: is of model 'small', the data set of 'large'"):
        list(TokenDataset(tmp_path))


def test_sources_without_tokens_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.tar").write_bytes(b"not a tar file")
    (tmp_path / "c.vqtok").write_bytes(b"")
    for source, message in (
        (tmp_path / "none", "no such file or folder"),
        (tmp_path / "a.txt", r"not a folder, nor a \.vqc"),
        (tmp_path / "b.tar", "not an uncompressed tar file"),
        (tmp_path / "c.vqtok", "empty"),
        ([], "no source"),
    ):
        with pytest.raises(InputError, match=message):
            TokenDataset(source)
    (tmp_path / "b.tar").unlink()
    (tmp_path / "c.vqtok").unlink()
    with pytest.raises(InputError, match=r"holds no \.vqc files"):
        TokenDataset(tmp_path)


def test_planes_of_several_shapes_are_a_tuple(stepped: str, photo: object, tmp_path: Path) -> None:
    (tmp_path / "a.vqc").write_bytes(vqcodec.encode(photo, stepped))  # type: ignore[arg-type]
    tokens = vqcodec.decode_tokens((tmp_path / "a.vqc").read_bytes())
    [sample] = TokenDataset(tmp_path)
    found = sample["tokens"]
    for plane, wanted in zip(found, tokens.planes, strict=True):
        np.testing.assert_array_equal(plane, wanted)
    [batch] = TokenLoader(TokenDataset(tmp_path))
    assert len(batch["tokens"]) in (1, len(tokens.planes))
