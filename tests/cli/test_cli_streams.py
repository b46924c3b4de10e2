"""Standard streams that are closed, full, left by their reader or of a small encoding; empty and endless names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from ..commands import Invoke, fails, names

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
needs_shell = pytest.mark.skipif(os.name != "posix", reason="closes file descriptors by a shell")

Shell = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def line(work: Path, tiny_model: str) -> Shell:
    """`line("info kitty.vqc | true")`: a command line in which `vqcodec` is the command, with pipefail."""

    def call(text: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        script = f'set -o pipefail; vqcodec() {{ "{sys.executable}" -m vqcodec.cli "$@"; }}; {text}'
        settings = os.environ | {"OMP_NUM_THREADS": "1"} | environment
        return subprocess.run(["bash", "-c", script], capture_output=True, timeout=120, env=settings, check=False)

    return call


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("command", ["info", "batch --dry-run"])
def test_names_that_stdout_cannot_hold(line: Shell, work: Path, tiny_vqc: bytes, encoding: str, command: str) -> None:
    (work / "s").mkdir()
    for name in ("emoji \U0001f600.vqc", "日本.vqc", os.fsdecode(b"broken \xff.vqc")):
        (work / "s" / name).write_bytes(tiny_vqc)
    text = {
        "info": 'for f in s/*; do vqcodec info "$f" || exit; done',
        "batch --dry-run": "vqcodec batch s out --to png --dry-run",
    }[command]
    found = line(text, PYTHONIOENCODING=encoding)
    assert found.returncode == 0, found.stderr
    shown = "\U0001f600" if encoding == "utf-8" else r"\U0001f600"
    assert shown.encode("utf-8") in found.stdout
    assert rb"\udcff" in found.stdout


@pytest.mark.slow
@needs_shell
@pytest.mark.parametrize(
    "text",
    [
        "vqcodec info kitty.vqc | true", "vqcodec --help | true", "vqcodec models list | true",
        "vqcodec info kitty.vqc --json | true", "vqcodec decode kitty.vqc -o - --format ppm | head -c 1 > part",
        "vqcodec verify kitty.vqc 2>&1 >o | true",
    ],
)  # fmt: skip
def test_readers_who_leave(line: Shell, text: str) -> None:
    found = line(text)
    assert found.returncode == 0, found.stderr
    assert b"rror" not in found.stderr


@pytest.mark.slow
@needs_full
@pytest.mark.parametrize(
    ("text", "stream"),
    [
        ("vqcodec info kitty.vqc > /dev/full", b"stdout"), ("vqcodec info kitty.vqc --json > /dev/full", b"stdout"),
        ("vqcodec models list > /dev/full", b"stdout"), ("vqcodec --help > /dev/full", b"stdout"),
        ("vqcodec decode kitty.vqc -o - --format ppm > /dev/full", b"stdout"),
        ("vqcodec verify kitty.vqc 2> /dev/full", b""), ("vqcodec nonsense 2> /dev/full; test $? = 2 && exit 7", b""),
    ],
)  # fmt: skip
def test_full_disks(line: Shell, text: str, stream: bytes) -> None:
    found = line(text)
    assert found.returncode == 7, found.stderr
    assert b"internal" not in found.stderr
    assert b"Traceback" not in found.stderr
    assert not stream or b"stdout: cannot be written: No space left" in found.stderr


@pytest.mark.slow
@needs_full
def test_work_goes_on_when_messages_cannot_be_written(line: Shell, work: Path) -> None:
    Image.new("RGB", (32, 32)).save(work / "a.png")
    found = line("vqcodec encode a.png cat.png -m tiny -v 2> /dev/full")
    assert found.returncode == 7
    assert names(work) >= {"a.vqc", "cat.vqc"}


@pytest.mark.slow
@needs_shell
@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("vqcodec encode - -m tiny -o a.vqc <&-", 3, b"<stdin>: is closed"),
        ("vqcodec info - <&-", 3, b"<stdin>: is closed"),
        ("vqcodec verify - <&-", 3, b"<stdin>: is closed"),
        ("vqcodec decode kitty.vqc -o - --format ppm >&-", 7, b"stdout: is closed"),
        ("vqcodec info kitty.vqc >&-", 7, b"stdout: is closed"),
        ("vqcodec info kitty.vqc --json >&-", 7, b"stdout: is closed"),
        ("vqcodec verify kitty.vqc 2>&-", 0, b""),
        ("vqcodec encode cat.png -m tiny -o a.vqc <&- >&- 2>&-", 0, b""),
        ("vqcodec decode kitty.vqc -o - --format ppm 2>&- | wc -c", 0, b""),
    ],
)
def test_closed_streams(line: Shell, text: str, code: int, message: bytes) -> None:
    found = line(text)
    assert (found.returncode, message in found.stderr) == (code, True), found.stderr
    assert b"internal" not in found.stderr
    if "wc" in text:
        assert int(found.stdout) == 200 * 150 * 3 + len(b"P6\n200 150\n255\n")  # no message among the pixels


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("info", "d/" * 3000 + "x.vqc"), 3), (("verify", "x" * 300), 3), (("info", "x" * 300), 3),
        (("models", "show", "x" * 300), 5), (("encode", "cat.png", "-m", "x" * 300), 5),
        (("models", "show", "d/" * 3000), 5), (("batch", "x" * 300, "out"), 3), (("batch", ".", "x" * 300), 7),
        (("decode", "d/" * 3000 + "x.vqc"), 3), (("tokens", "kitty.vqc", "-o", "x" * 300 + ".npz"), 7),
    ],
)  # fmt: skip
def test_names_longer_than_file_systems_take(
    work: Path, invoke: Invoke, tiny_model: str, words: tuple[str, ...], code: int
) -> None:
    found, out, err = invoke(*words)
    assert found in (code, 10), err  # a batch counts its failures
    assert "internal" not in err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("batch", "", "out"), "argument 2"), (("batch", "s", ""), "argument 3"), (("info", ""), "argument 2"),
        (("encode", "cat.png", ""), "argument 3"), (("encode", "cat.png", "-o", ""), "-o"),
        (("encode", "cat.png", "-m", ""), "-m"), (("batch", "s", "out", "--manifest", ""), "--manifest"),
        (("batch", "s", "out", "--manifest="), "--manifest"), (("tokens", "kitty.vqc", "-o", ""), "-o"),
        (("eval", ""), "argument 2"), (("models", "show", ""), "argument 3"), (("",), "argument 1"),
    ],
)  # fmt: skip
def test_an_empty_name_is_not_this_folder(work: Path, invoke: Invoke, words: tuple[str, ...], named: str) -> None:
    (work / "s").mkdir()
    (work / "s" / "a.png").write_bytes((work / "cat.png").read_bytes())
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    fails(invoke(*words), 2, f"{named} is empty")
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*")} == before
