"""Outputs of commands: names, links, devices, pipes, and the state after a failed write."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import vqcodec
from vqcodec.image.files import read_picture

from ..commands import Invoke, fails, names, opened


def test_output_directory_and_several_inputs(work: Path, invoke: Invoke) -> None:
    shutil.copy("cat.png", "dog.png")
    (work / "out").mkdir()
    assert invoke("encode", "cat.png", "dog.png", "-o", "out", "-m", "tiny", "--keep", 1)[0] == 0
    assert names(work / "out") == {"cat.vqc", "dog.vqc"}
    assert invoke("decode", "out/cat.vqc", "out/dog.vqc", "--format", "ppm")[0] == 0
    assert names(work / "out") == {"cat.vqc", "dog.vqc", "cat.ppm", "dog.ppm"}
    fails(invoke("encode", "cat.png", "dog.png", "-o", "new.vqc", "-m", "tiny"), 2, "new.vqc", "need a directory")
    fails(invoke("encode", "cat.png", "dog.png", "-o", "-", "-m", "tiny"), 2)


def test_two_inputs_for_one_target(work: Path, invoke: Invoke) -> None:
    shutil.copy("cat.png", "cat.jpg")
    before = names(work)
    fails(invoke("encode", "cat.png", "cat.jpg", "-m", "tiny"), 2, "cat.png and cat.jpg")
    assert names(work) == before


def test_targets_that_exist_are_reported_first_and_kept(work: Path, invoke: Invoke) -> None:
    shutil.copy("cat.png", "dog.png")
    (work / "dog.vqc").write_bytes(b"mine")
    code, _, err = invoke("encode", "cat.png", "dog.png", "-m", "tiny", "-v")
    assert code == 7
    assert err.splitlines()[0] == "vqcodec: dog.vqc: exists already; add -f to overwrite it"
    assert err.splitlines()[1].startswith("cat.vqc: ")
    assert (work / "dog.vqc").read_bytes() == b"mine"
    assert invoke("encode", "cat.png", "dog.png", "-m", "tiny", "--overwrite")[0] == 0
    assert (work / "dog.vqc").read_bytes() == (work / "cat.vqc").read_bytes()


@pytest.mark.parametrize("force", [(), ("-f",)])
def test_never_onto_the_input(work: Path, invoke: Invoke, force: tuple[str, ...], tiny_vqc: bytes) -> None:
    os.symlink("kitty.vqc", "link.vqc")
    for target in ("kitty.vqc", "./kitty.vqc", "link.vqc"):
        fails(invoke("truncate", "kitty.vqc", "-o", target, "--keep", 1, *force), 7, "is the input itself")
    fails(invoke("encode", "kitty.vqc", "-m", "tiny", *force), 3, "kitty.vqc", "already", "`vqcodec truncate`")
    fails(invoke("decode", "cat.png", *force), 3, "cat.png: is a PNG picture", "`vqcodec encode`")
    assert (work / "kitty.vqc").read_bytes() == tiny_vqc


def test_overwriting_through_a_link_keeps_the_link(work: Path, invoke: Invoke) -> None:
    (work / "old.vqc").write_bytes(b"old")
    os.symlink("old.vqc", "link.vqc")
    fails(invoke("encode", "cat.png", "-m", "tiny", "-o", "link.vqc"), 7)
    assert invoke("encode", "cat.png", "-m", "tiny", "-o", "link.vqc", "-f")[0] == 0
    assert (work / "link.vqc").is_symlink()
    assert vqcodec.inspect((work / "old.vqc").read_bytes()).size == (200, 150)


def test_overwriting_keeps_the_permissions(work: Path, invoke: Invoke) -> None:
    target = work / "kitty.vqc"
    for mode in (0o600, 0o640, 0o755):
        target.chmod(mode)
        assert invoke("encode", "cat.png", "-m", "tiny", "-o", "kitty.vqc", "-f")[0] == 0
        assert target.stat().st_mode & 0o777 == mode


def test_devices_are_written_to_and_not_replaced(work: Path, invoke: Invoke) -> None:
    assert invoke("truncate", "kitty.vqc", "-o", os.devnull, "--keep", 1)[0] == 0
    assert Path(os.devnull).is_char_device()


def test_unwritable_targets(work: Path, invoke: Invoke) -> None:
    (work / "folder.vqc").mkdir()
    fails(invoke("truncate", "kitty.vqc", "-o", "none/x.vqc", "--keep", 1), 7, "none: no such directory")
    fails(invoke("truncate", "kitty.vqc", "-o", "x" * 300, "--keep", 1), 7, "cannot be written")
    fails(invoke("decode", "x" * 300), 3, "cannot be read")
    fails(invoke("encode", "cat.png", "-m", "tiny", "-o", "cat.jpg"), 2, "cat.jpg")


@pytest.mark.parametrize("broken", ["link", "fsync"])
def test_a_failing_write_leaves_nothing(
    work: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    monkeypatch.setattr(os, "rename", full)
    before = names(work)
    fails(invoke("encode", "cat.png", "-m", "tiny"), 7, "cat.vqc", "No space left")
    assert names(work) == before


def test_stdout_that_is_a_terminal_is_refused(work: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    fails(invoke("truncate", "kitty.vqc", "-o", "-", "--keep", 1), 7, "terminal", "-f")


@pytest.mark.slow
def test_pipes(work: Path, shell: Callable[..., object], tiny_vqc: bytes) -> None:
    encoded = shell("encode", "-", "-m", "tiny", "-v", input=(work / "cat.png").read_bytes())
    assert (encoded.returncode, encoded.stdout) == (0, tiny_vqc)
    assert encoded.stderr.startswith(b"<stdout>: ")
    decoded = shell("decode", "-", "--format", "ppm", input=tiny_vqc)
    assert decoded.returncode == 0
    assert read_picture(decoded.stdout).n_pixels == 30000
    cut = shell("truncate", "-", "-o", "-", "--keep", "1", input=tiny_vqc)
    assert cut.stdout == vqcodec.truncate(tiny_vqc, keep=1)
    empty = shell("info", "-")
    assert (empty.returncode, empty.stdout, empty.stderr) == (3, b"", b"vqcodec: <stdin>: empty\n")


def test_stdin_and_stdout(work: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tiny_vqc: bytes) -> None:
    def stdin(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    stdin(tiny_vqc)
    assert invoke("decode", "-", "-o", "x.webp")[0] == 0
    assert opened("x.webp").format == "WEBP"
    fails(invoke("decode", "-"), 2, "--format")
    fails(invoke("decode", "kitty.vqc", "-o", "-"), 2, "--format")
    fails(invoke("encode", "-", "cat.png", "-m", "tiny"), 2, "stdin")
    fails(invoke("encode", "cat.png", "-m", "tiny", "-o", "-", "--json"), 2, "--json")
    stdin(b"text")
    fails(invoke("encode", "-", "-m", "tiny", "-o", "y.vqc"), 3, "not an image")
    stdin(tiny_vqc)
    code, out, _ = invoke("info", "-", "--json")
    assert (code, json.loads(out)["file_bytes"]) == (0, len(tiny_vqc))
