"""`vqcodec batch` killed while it writes to a store of objects, and resumed: nothing is lost or done twice."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from vqcodec import remote
from vqcodec.cli.batch import ray_pool, remote_tree
from vqcodec.cli.batch.checks import check
from vqcodec.cli.batch.manifest import MANIFEST
from vqcodec.cli.batch.parts import PARTS, RECORD, part_name
from vqcodec.cli.batch.plan import NEW, Job
from vqcodec.cli.batch.remote_tree import RemoteTree
from vqcodec.cli.batch.settings import Settings
from vqcodec.errors import OutputError

from ..commands import Invoke
from ..object_store import Store, memory_store, s3_store

N = 12


@pytest.fixture
def pictures(tmp_path: Path, photo: Image.Image) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(N):
        photo.resize((32, 16)).rotate(20 * i).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture
def memory() -> Iterator[Store]:
    pytest.importorskip("fsspec", reason="the extra remote is not installed")
    with memory_store() as store:
        yield store


def objects(store: Store, key: str) -> dict[str, bytes]:
    """The objects below `key` except the manifest."""
    names = [name for name in store.names() if name.startswith(f"{key}/") and not name.endswith(MANIFEST)]
    return {name.removeprefix(f"{key}/"): store.read(name) for name in names}


def comparable(store: Store, key: str) -> list[dict]:
    """Lines of the manifest in order of their targets, without the seconds."""
    lines = [json.loads(line) for line in store.read(f"{key}/{MANIFEST}").splitlines()]
    return sorted((line | {"seconds": 0} for line in lines), key=lambda line: line["target"])


def killed_after(monkeypatch: pytest.MonkeyPatch, suffix: str, count: int, work: Callable[[], object]) -> None:
    """Run `work` in a forked process that kills itself once it has written so many files with this suffix.

    One file is written at a time, so that the store gets none after the process has died.
    """
    write, numbers, alone = remote.write_bytes, itertools.count(1), threading.Lock()

    def dying(url: str, data: bytes, force: bool = False) -> None:
        with alone:
            write(url, data, force)
            if url.endswith(suffix) and next(numbers) == count:
                os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(remote, "write_bytes", dying)
        try:
            work()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("suffix", [RECORD, ".vqc", MANIFEST])
def test_a_batch_killed_while_it_writes_is_resumed(
    suffix: str, pictures: Path, tiny_model: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == MANIFEST:
        monkeypatch.setattr(remote_tree, "UPLOAD_S", 0)
        monkeypatch.setattr(remote_tree, "UPLOAD_SHARE", 1e9)
    with s3_store() as store:

        def run(key: str, *options: str) -> dict[str, int]:
            words = (pictures, store.url(key), "-m", tiny_model, "-j", 1, "--effort", 1, "--json", *options)
            code, out, err = invoke("batch", *words)
            assert code == 0, err
            return json.loads(out)

        run("whole")
        killed_after(monkeypatch, suffix, N // 2, lambda: run("broken"))
        wanted, found = objects(store, "whole"), objects(store, "broken")
        published = {name: data for name, data in found.items() if not name.startswith(PARTS)}
        assert published.items() <= wanted.items()
        assert N // 2 - 2 <= len(published) < N
        result = run("broken")
        assert (result["done"], result["skipped"]) == (N - len(published), len(published))
        assert objects(store, "broken") == wanted
        assert comparable(store, "broken") == comparable(store, "whole")
        assert run("broken", "--verify")["good"] == N


def test_records_without_their_target_are_dropped(
    memory: Store, pictures: Path, tiny_model: str, invoke: Invoke
) -> None:
    words = ("batch", pictures, memory.url("out"), "-m", tiny_model, "-j", 1, "--effort", 1)
    assert invoke(*words)[0] == 0
    wanted, book = objects(memory, "out"), comparable(memory, "out")
    bad = {
        "missing.vqc": b'{"target": "missing.vqc", "sha256": "0"}',
        "00.vqc": b'{"target": "00.vqc", "sha',
        "x": b"[3]",
    }
    for target, record in bad.items():
        memory.write(f"out/{part_name(target, RECORD)}", record)
    memory.write(f"out/{PARTS}/probe", b"")
    assert invoke(*words)[0] == 0
    assert objects(memory, "out") == wanted
    assert comparable(memory, "out") == book


def test_a_local_manifest_gets_the_lines_too(
    memory: Store, pictures: Path, tiny_model: str, invoke: Invoke, tmp_path: Path
) -> None:
    words = ("batch", pictures, memory.url("out"), "-m", tiny_model, "-j", 1, "--effort", 1)
    book = tmp_path / "book.jsonl"
    assert invoke(*words, "--manifest", book)[0] == 0
    assert len(book.read_text().splitlines()) == N
    assert sorted(objects(memory, "out")) == [f"{i:02d}.vqc" for i in range(N)]


def test_two_processes_may_write_the_same_bytes_only(memory: Store) -> None:
    tree = RemoteTree(memory.url("out"))
    for _ in range(2):
        tree.write("a.vqc", b"one", b"{}", force=False)
    with pytest.raises(OutputError, match="exists already"):
        tree.write("a.vqc", b"two", b"{}", force=False)
    assert objects(memory, "out") == {"a.vqc": b"one"}


def test_a_task_of_ray_repeated_after_a_death_converts_the_rest_only(
    memory: Store, pictures: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = dict.fromkeys(("quality", "bpp", "max_bytes", "min_quality", "keep"))
    plain = Settings(pictures, RemoteTree(memory.url("out")), "vqc", tiny_model, rate, False, "cpu", 10**6, False)
    settings = replace(plain, identity=check(plain))
    jobs = [Job(f"{i:02d}.png", f"{i:02d}.vqc", NEW) for i in range(3)]
    first = ray_pool._convert(jobs[:2], (settings, {}, 1))
    converted: list[str] = []
    write = RemoteTree.write

    def counted(tree: RemoteTree, name: str, data: bytes, record: bytes, force: bool) -> None:
        converted.append(name)
        write(tree, name, data, record, force)

    monkeypatch.setattr(RemoteTree, "write", counted)
    again = ray_pool._convert(jobs, (settings, {}, 1))
    assert converted == ["02.vqc"]
    assert [one.line("x") | {"seconds": 0} for one in again[:2]] == [one.line("x") | {"seconds": 0} for one in first]
    assert [one.error for one in again] == [""] * 3
