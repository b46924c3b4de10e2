"""`vqcodec batch` behind URLs where single requests fail: the other files are converted, and no record is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image

from vqcodec import remote
from vqcodec.cli.batch import ray_pool, run
from vqcodec.cli.batch.checks import check
from vqcodec.cli.batch.manifest import MANIFEST
from vqcodec.cli.batch.parts import PARTS, RECORD, part_name
from vqcodec.cli.batch.plan import NEW, Job
from vqcodec.cli.batch.recovery import completion, recover
from vqcodec.cli.batch.remote_tree import RemoteTree, open_manifest
from vqcodec.cli.batch.settings import Settings
from vqcodec.errors import InputError, OutputError

from ..commands import Invoke
from ..object_store import Store, memory_store, s3_store

pytest.importorskip("fsspec", reason="the extra remote is not installed")


@pytest.fixture
def store(src: Path) -> Iterator[Store]:
    """A store with the pictures of `src` below in/."""
    with memory_store() as found:
        for path in src.rglob("*.*"):
            found.write(f"in/{path.relative_to(src)}", path.read_bytes())
        yield found


@pytest.fixture
def batch(store: Store, invoke: Invoke, tiny_model: str) -> Callable[..., tuple[int, str, str]]:
    """A batch from in/ to out/."""
    words = ("batch", store.url("in"), store.url("out"), "-m", tiny_model, "-j", 1, "--json")
    return lambda *more: invoke(*words, *more)


def unreadable(patch: pytest.MonkeyPatch, name: str) -> None:
    """Requests for files whose URL ends in `name` fail."""
    read = remote.read_bytes

    def refusing(url: str, start: int | None = None, end: int | None = None) -> bytes:
        if url.endswith(name):
            raise InputError(f"{url}: cannot be read: slow down")
        return read(url, start, end)

    patch.setattr(remote, "read_bytes", refusing)


def done(store: Store) -> list[str]:
    """Targets with status `done` in the manifest."""
    lines = map(json.loads, store.read(f"out/{MANIFEST}").splitlines())
    return sorted(line["target"] for line in lines if line["status"] == "done")


def test_a_target_that_cannot_be_read_fails_alone(
    store: Store, batch: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, src: Path
) -> None:
    assert batch()[0] == 0
    for name in ("one.png", "a/two.jpg"):
        Image.new("RGB", (50, 40)).save(src / name)
        store.write(f"in/{name}", (src / name).read_bytes())
    with monkeypatch.context() as patch:
        unreadable(patch, "out/one.vqc")
        code, out, err = batch()
    assert code == 10
    assert [json.loads(out)[name] for name in ("done", "skipped", "failed")] == [1, 1, 1]
    assert f"failed: one.png: {store.url('out/one.vqc')}: cannot be read: slow down" in err
    assert json.loads(batch()[1])["done"] == 1


@pytest.mark.parametrize("refused", ["out/one.vqc", part_name("one.vqc", RECORD)])
def test_a_record_stays_until_it_and_its_target_can_be_read(
    refused: str, store: Store, batch: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert batch()[0] == 0
    record = f"out/{part_name('one.vqc', RECORD)}"
    lines = store.read(f"out/{MANIFEST}").splitlines()
    store.write(record, next(line for line in lines if json.loads(line)["target"] == "one.vqc"))
    store.write(f"out/{MANIFEST}", b"")
    with monkeypatch.context() as patch:
        unreadable(patch, refused)
        assert batch()[0] == 0
    assert record in store.names()
    assert done(store) == []
    assert batch()[0] == 0
    assert not [name for name in store.names() if PARTS in name]
    assert done(store) == ["one.vqc"]


@pytest.mark.parametrize(("refused", "failing"), [("out/one.vqc", ["one.vqc"]), (part_name("one.vqc", RECORD), [])])
def test_a_repeated_task_of_ray_goes_on_without_a_file_that_cannot_be_read(
    refused: str, failing: list[str], store: Store, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = dict.fromkeys(("quality", "bpp", "max_bytes", "min_quality", "keep"))
    places = RemoteTree(store.url("in")), RemoteTree(store.url("out"))
    plain = Settings(*places, "vqc", tiny_model, rate, False, "cpu", 10**6, False)
    settings = replace(plain, identity=check(plain))
    jobs = [Job("one.png", "one.vqc", NEW), Job("a/two.jpg", "a/two.vqc", NEW)]
    ray_pool._convert(jobs[:1], (settings, {}, 1))
    unreadable(monkeypatch, refused)
    outcomes = ray_pool._convert(jobs, (settings, {}, 1))
    assert [one.job.target for one in outcomes if one.error] == failing


def test_the_end_of_a_batch_keeps_the_record_of_a_target_that_is_still_written(store: Store) -> None:
    tree = RemoteTree(store.url("out"))
    tree.expect_targets()
    book = open_manifest(tree, None)
    records = {name: f"out/{part_name(name, RECORD)}" for name in ("late.vqc", "whole.vqc")}
    with completion(tree, book):
        tree.write("whole.vqc", b"", record_of("whole.vqc"), force=False)
        store.write(records["late.vqc"], record_of("late.vqc"))
    assert [name for name in store.names() if PARTS in name] == [records["late.vqc"]]
    assert list(book.done) == ["whole.vqc"]
    assert done(store) == ["whole.vqc"]
    recover(tree, book)
    assert not [name for name in store.names() if PARTS in name]
    book.close()


def record_of(target: str) -> bytes:
    """The record of an empty target."""
    line = {"source": target, "target": target, "settings": "", "status": "done", "bytes": 0}
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    return json.dumps(line | {"sha256": empty, "source_size": 0, "source_mtime_ns": 0}).encode()


def test_an_interruption_asks_nothing_more_of_the_store(
    batch: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert batch()[0] == 0

    def interrupted(*_: object) -> NoReturn:
        for name in ("write_bytes", "read_bytes", "find", "delete"):
            monkeypatch.setattr(remote, name, refused)
        raise KeyboardInterrupt

    def refused(*_: object, **__: object) -> NoReturn:
        raise OutputError("the store is asked")

    monkeypatch.setattr(run, "_convert", interrupted)
    assert batch() == (130, "", "vqcodec: interrupted\n")


class Refusing:
    """A store that does not delete: requests for several files pass over it in silence, those for one are an error."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        from fsspec.implementations.memory import MemoryFileSystem

        patch.setattr(MemoryFileSystem, "rm", lambda *_: None)
        patch.setattr(MemoryFileSystem, "rm_file", self._refused)

    def _refused(self, path: str) -> NoReturn:
        raise PermissionError(f"Access Denied: {path}")


def test_files_that_cannot_be_deleted_are_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["out/a", "out/b"]
    for name in names:
        store.write(name, b"")
    Refusing(monkeypatch)
    for some in (names[:1], names):
        with pytest.raises(OutputError, match=r"out/a: no permission \(Access Denied"):
            remote.delete([store.url(name) for name in some])
    monkeypatch.undo()
    remote.delete([store.url(name) for name in [*names, "out/none"]])
    assert not [name for name in store.names() if name.startswith("out/")]


def test_without_the_permission_to_delete_nothing_is_converted(
    store: Store, batch: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Refusing(monkeypatch)
    code, _, err = batch()
    assert code == 7
    assert err.startswith(f"vqcodec: {store.url('out')}/{PARTS}/probe: no permission (Access Denied")
    assert not [name for name in store.names() if name.endswith(".vqc")]


@pytest.mark.parametrize("kind", [memory_store, pytest.param(s3_store, marks=pytest.mark.slow)])
def test_names_with_signs_of_patterns_mean_themselves(
    kind: Callable[[], AbstractContextManager[Store]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    def refused(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a pattern is searched")

    with kind() as found:
        names = ["out/a", "out/b", "out[1]/c", "out[1]/d", "out[1]/e*", "out[1]/f?"]
        others = ["out/A", "out1/c", "out1/d", "out[1]/ee", "out[1]/ff"]
        for name in names + others:
            found.write(name, b"")
        monkeypatch.setattr(fsspec.AbstractFileSystem, "glob", refused)
        monkeypatch.setattr("fsspec.asyn.AsyncFileSystem._glob", refused)
        remote.delete([found.url(name) for name in names])
        assert found.names() == sorted(others)


def test_a_batch_to_a_folder_with_signs_of_patterns(store: Store, invoke: Invoke, tiny_model: str) -> None:
    words = ("batch", store.url("in"), store.url("[out]*"), "-m", tiny_model, "-j", 1, "--json")
    assert json.loads(invoke(*words)[1])["done"] == 3
    assert json.loads(invoke(*words)[1])["skipped"] == 3
    assert not [name for name in store.names() if PARTS in name]


def test_no_empty_folder_stays(store: Store, invoke: Invoke, tiny_model: str, tmp_path: Path) -> None:
    words = ("batch", store.url("in"), f"file://{tmp_path}/out", "-m", tiny_model, "-j", 1, "--json")
    for _ in range(2):
        code, _, err = invoke(*words)
        assert code == 0, err
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MANIFEST, "a", "one.vqc"]


def test_a_folder_in_use_stays(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"")
    for name in ("empty", "full", "none"):
        remote.remove_empty_folder(f"file://{tmp_path}/{name}")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_no_hint_at_shards_which_urls_cannot_have(
    store: Store, invoke: Invoke, tiny_model: str, tmp_path: Path
) -> None:
    store.write("shards/0.tar", b"")
    code, _, err = invoke("batch", store.url("shards"), tmp_path / "out", "-m", tiny_model)
    assert code == 0
    assert "--shards" not in err
