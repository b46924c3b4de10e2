"""`vqcodec batch` killed at every step of writing a file, and resumed: nothing is lost, left over or done twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vqcodec.cli.batch import recovery, run, storage
from vqcodec.cli.batch.manifest import MANIFEST, Manifest
from vqcodec.cli.batch.parts import DRAFT, PARTS, RECORD
from vqcodec.cli.batch.storage import part
from vqcodec.errors import OutputError

from ..trees import Run, lines, tree


def comparable(folder: Path) -> list[str]:
    """Lines of the manifest in order of their targets, without the seconds."""
    return sorted(json.dumps({k: v for k, v in line.items() if k != "seconds"}) for line in lines(folder))


def run_and_die(run_batch: Run) -> None:
    """Run the batch in a forked process, which a step ends with code 9."""
    child = os.fork()
    if child == 0:
        try:
            run_batch()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def die_before(function: Callable) -> Callable:
    return lambda *_, **__: os._exit(9)


def die_after(function: Callable) -> Callable:
    def call(*args: object, **keywords: object) -> None:
        function(*args, **keywords)
        os._exit(9)

    return call


def test_an_interruption_leaves_no_drafts(run_batch: Run, dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        (dst / PARTS).mkdir()
        part(dst, "x", DRAFT).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_convert", interrupted)
    assert run_batch("--quiet")[0] == 130
    assert not (dst / PARTS).exists()


STEPS = [
    (storage, "_write", die_before),
    (storage, "_write", die_after),
    (storage, "publish", die_before),
    (storage, "publish", die_after),
    (Manifest, "append", die_before),
    (Manifest, "append", die_after),
    (run, "forget", die_after),
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(("place", "name", "death"), STEPS, ids=lambda value: getattr(value, "__name__", value))
def test_a_batch_killed_at_any_step_is_resumed(
    run_batch: Run, dst: Path, monkeypatch: pytest.MonkeyPatch, place: object, name: str, death: Callable
) -> None:
    assert run_batch("-j", 1)[0] == 0
    wanted, book = tree(dst), comparable(dst)
    for path in [dst / MANIFEST, *(dst / name for name in wanted)]:
        path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(place, name, death(getattr(place, name)))
        run_and_die(lambda: run_batch("-j", 1))
    published = {name: (dst / name).stat().st_mtime_ns for name in tree(dst) if not name.startswith(PARTS)}
    assert run_batch("-j", 1)[0] == 0
    assert tree(dst) == wanted
    assert comparable(dst) == book
    assert {name: (dst / name).stat().st_mtime_ns for name in published} == published


def test_records_without_their_target_are_dropped(run_batch: Run, dst: Path) -> None:
    run_batch()
    wanted, book = tree(dst), comparable(dst)
    (dst / PARTS).mkdir()
    part(dst, "one.vqc", DRAFT).write_bytes(b"half a fi")
    part(dst, "one.vqc", RECORD).write_bytes(b'{"target": "one.vqc", "sha')
    part(dst, "two.vqc", RECORD).write_text(json.dumps({"target": "two.vqc", "sha256": "0", "status": "done"}))
    part(dst, "a/two.vqc", RECORD).write_text(json.dumps({"target": "a/two.vqc", "sha256": "0", "status": "done"}))
    part(dst, "x", RECORD).write_text("[3]")
    assert run_batch()[0] == 0
    assert tree(dst) == wanted
    assert comparable(dst) == book
    assert not (dst / PARTS).exists()


@pytest.mark.skipif(recovery.fcntl is None, reason="needs locks of POSIX")
def test_two_batches_do_not_write_to_one_folder(run_batch: Run, dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "WAIT_S", 0.1)
    dst.mkdir()
    other = recovery.Lock(dst, lambda: None)
    code, _, stderr = run_batch()
    assert code == OutputError.exit_code
    assert "waiting for processes of an earlier batch" in stderr
    assert "another batch is writing here" in stderr
    assert tree(dst) == {}
    monkeypatch.setattr(recovery, "WAIT_S", 60)
    threading.Timer(0.3, other.close).start()
    assert run_batch()[0] == 0


HOLDER = """
import multiprocessing, os, signal, sys
from pathlib import Path
from vqcodec.cli.batch.recovery import Lock

def wait(lock):
    signal.pause()

if __name__ == "__main__":
    lock = Lock(Path(sys.argv[1]), lambda: None)
    child = multiprocessing.get_context("spawn").Process(target=wait, args=(lock,))
    child.start()
    print(child.pid, flush=True)
    sys.stdin.readline()
    os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(recovery.fcntl is None, reason="needs locks of POSIX")
def test_workers_of_a_killed_batch_hold_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "WAIT_S", 0)
    script = tmp_path / "holder.py"
    script.write_text(HOLDER)
    with subprocess.Popen(
        [sys.executable, script, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        worker = int(holder.stdout.readline())
        holder.stdin.write("\n")
        holder.stdin.flush()
        holder.wait(60)
    try:
        with pytest.raises(OutputError, match="another batch"):
            recovery.Lock(tmp_path, lambda: None)
    finally:
        os.kill(worker, 9)
    monkeypatch.setattr(recovery, "WAIT_S", 60)
    recovery.Lock(tmp_path, lambda: None).close()
