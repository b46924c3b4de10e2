"""`vqcodec batch` on difficult storage: link loops, vanishing and unreadable files, a full disk, read-only folders."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vqcodec.cli.batch import run, storage
from vqcodec.cli.batch.manifest import MANIFEST
from vqcodec.cli.batch.parts import PARTS
from vqcodec.errors import InputError, OutputError

from ..commands import Invoke, fails
from ..trees import Run, tree


def failures(stdout: str) -> dict[str, tuple[str, int]]:
    return {one["source"]: (one["error"], one["exit_code"]) for one in json.loads(stdout)["failures"]}


def test_loops_of_links_end(run_batch: Run, src: Path, dst: Path) -> None:
    (src / "a" / "up").symlink_to(src)
    (src / "a" / "b" / "here").symlink_to(".")
    (src / "x.png").symlink_to("y.png")
    (src / "y.png").symlink_to("x.png")
    code, stdout, _ = run_batch("--json")
    assert code == 10
    found = failures(stdout)
    assert set(found) == {"x.png", "y.png"}
    assert all("Too many levels of symbolic links" in error for error, _ in found.values())
    assert json.loads(stdout)["ignored_kinds"]["linked folder"] == 2
    assert sorted(tree(dst)) == ["a/b/three.vqc", "a/two.vqc", "one.vqc"]


def test_files_that_vanish_after_they_were_listed(
    run_batch: Run, src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanish(*_: object) -> None:
        shutil.rmtree(src / "a")

    monkeypatch.setattr(run, "check_writable", vanish)
    code, stdout, _ = run_batch("--json")
    assert code == 10
    assert {name: number for name, (_, number) in failures(stdout).items()} == {"a/two.jpg": 3, "a/b/three.webp": 3}
    assert all("no such file" in error for error, _ in failures(stdout).values())
    assert sorted(tree(dst)) == ["one.vqc"]


def test_a_file_that_became_a_pipe_or_cannot_be_read(src: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(src / "pipe.png")
    with pytest.raises(InputError, match="is not a file"):
        storage.read_source(src, "pipe.png", 100)

    def refuse(path: object, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr("builtins.open", refuse)  # the tests may run as root, who reads everything
    with pytest.raises(InputError, match=r"one.png: cannot be read: Permission denied"):
        storage.read_source(src, "one.png", 100)


def test_a_folder_that_cannot_be_listed_fails_alone(
    run_batch: Run, src: Path, dst: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    code, stdout, _ = run_batch("--json")
    assert code == 10
    assert failures(stdout)["a/b/"][0] == "cannot be listed: Permission denied"
    assert sorted(tree(dst)) == ["a/two.vqc", "one.vqc"]


def test_sources_beyond_every_limit_are_not_read(run_batch: Run, src: Path) -> None:
    with open(src / "huge.tif", "wb") as file:
        file.truncate(2**40)
    code, stdout, _ = run_batch("--json")
    assert code == 10
    assert failures(stdout)["huge.tif"][1] == 6


def can_mount() -> bool:
    """True where this user may mount file systems in a name space of processes of its own."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="mounts file systems in a user name space")


def in_mount(mount: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command after `mount`, visible to it alone; then print the names in /mnt/dst."""
    command = " ".join(f"'{word}'" for word in (sys.executable, "-m", "vqcodec.cli", *words))
    script = f"{mount}\n{command}\ncode=$?\nfind $DST -type f -printf 'file %P\\n'\nexit $code"
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=120
    )


@needs_mount
@pytest.mark.slow
def test_a_full_disk_ends_the_batch_at_once(src: Path, dst: Path, tiny_model: str) -> None:
    """64 kB hold a part of the files; the first that does not fit ends the batch, and no partial file remains."""
    for i in range(200):
        (src / f"{i:03d}.png").write_bytes((src / "one.png").read_bytes())
    dst.mkdir()
    mount = f"DST='{dst}'; mount -t tmpfs -o size=200k tmpfs $DST"
    result = in_mount(mount, "batch", src, dst, "-m", tiny_model, "-j", 1, "--json")
    assert result.returncode == OutputError.exit_code, result.stderr
    assert "No space left on device; make room, then run the batch again to continue" in result.stderr
    assert "Traceback" not in result.stderr
    summary = json.loads(result.stdout.splitlines()[0])
    assert summary["left"] > 50
    assert summary["failed"] <= 6
    names = {line.removeprefix("file ") for line in result.stdout.splitlines() if line.startswith("file ")}
    assert len(names - {MANIFEST}) == summary["done"] > 5
    assert not any(PARTS in name for name in names)


@needs_mount
@pytest.mark.slow
def test_a_read_only_target_is_refused_before_any_work(src: Path, dst: Path, tiny_model: str) -> None:
    dst.mkdir()
    mount = f"DST='{dst}'; mount --bind $DST $DST && mount -o remount,bind,ro $DST"
    result = in_mount(mount, "batch", src, dst, "-m", tiny_model, "-j", 1)
    assert result.returncode == OutputError.exit_code, result.stderr
    assert f"vqcodec: {dst}: not writable" in result.stderr
    result = in_mount(mount, "batch", src, dst / "new", "-m", tiny_model, "-j", 1)
    assert result.returncode == OutputError.exit_code
    assert f"vqcodec: {dst / 'new'}: cannot be created: Read-only file system" in result.stderr


def test_a_disk_that_fills_up(run_batch: Run, dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = storage._write, iter(range(100))

    def full(path: Path, data: bytes) -> None:
        if next(calls):
            path.write_bytes(data[:5])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(storage, "_write", full)
    code, _, stderr = run_batch("-j", 1)
    assert code == OutputError.exit_code
    assert f"vqcodec: {dst}: No space left on device" in stderr
    assert len(tree(dst)) == 1
    monkeypatch.undo()


def test_fail_fast_stops_at_the_first_failure(run_batch: Run, src: Path, dst: Path) -> None:
    for i in range(20):
        (src / f"z{i}.png").write_bytes((src / "one.png").read_bytes())
    (src / "aa.png").write_bytes(b"no picture")
    code, stdout, stderr = run_batch("--fail-fast", "--json", "-j", 1)
    summary = json.loads(stdout)
    assert code == 10
    assert "stopped at the first failure" in stderr
    assert (summary["failed"], summary["left"] > 10) == (1, True)
    (src / "aa.png").unlink()
    assert run_batch("--fail-fast")[0] == 0
    assert len(tree(dst)) == 23


def test_targets_on_another_file_system(run_batch: Run, dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cross(*_: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(storage, "publish", cross)
    assert run_batch()[0] == 0
    assert sorted(tree(dst)) == ["a/b/three.vqc", "a/two.vqc", "one.vqc"]


def test_include_and_exclude(run_batch: Run, invoke: Invoke, src: Path, dst: Path) -> None:
    code, stdout, _ = run_batch("--json", "--include", "a", "--exclude", "*.webp", "--exclude", "note.*")
    assert code == 0
    assert sorted(tree(dst)) == ["a/two.vqc"]
    assert json.loads(stdout)["ignored_kinds"] == {"excluded": 3}
    fails(invoke("batch", src, dst, "--include", "[z-a]"), 2, "pattern [z-a]")
