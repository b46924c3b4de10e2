"""Failures of commands: one line, the documented exit code, no files left."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ..commands import Invoke, fails, names


@pytest.mark.parametrize(
    ("data", "code"), [(b"", 3), (b"\x89PNG\r\n", 3), (b"\x8fVQC\x01", 4), (b"\x8fVQC\x63" + bytes(50), 4)]
)
@pytest.mark.parametrize("command", ["decode", "info", "verify"])
def test_files_that_are_no_vqc(work: Path, invoke: Invoke, command: str, data: bytes, code: int) -> None:
    (work / "bad.vqc").write_bytes(data)
    fails(invoke(command, "bad.vqc"), code, "bad.vqc")
    assert "bad.png" not in names(work)


@pytest.mark.parametrize("command", ["encode", "decode", "info", "verify"])
def test_inputs_that_cannot_be_read(work: Path, invoke: Invoke, command: str) -> None:
    (work / "kitty.vqc").unlink()
    fails(invoke(command, "none"), 3, "none: no such file")
    fails(invoke(command, "."), 3, "is a directory" if command in ("encode", "decode") else "no .vqc files")


def test_encode_refuses_what_is_no_image(work: Path, invoke: Invoke) -> None:
    for name, data in (("empty.png", b""), ("text.png", b"hello"), ("cut.png", Path("cat.png").read_bytes()[:900])):
        (work / name).write_bytes(data)
        fails(invoke("encode", name, "-m", "tiny"), 3, name)
    assert not any(name.endswith(".part") for name in names(work))


def test_encode_of_a_vqc_file_says_what_to_do(work: Path, invoke: Invoke, shell: Callable[..., object]) -> None:
    shutil.copy("kitty.vqc", "kitty.png")
    for arguments in (["kitty.vqc", "-o", "x.vqc"], ["kitty.png"]):
        fails(invoke("encode", *arguments, "-m", "tiny"), 3, arguments[0], "is a .vqc file already", "truncate")
    piped = shell("encode", "-", "-m", "tiny", input=(work / "kitty.vqc").read_bytes())
    assert piped.returncode == 3
    assert b"<stdin>: is a .vqc file" in piped.stderr
    shutil.copy("cat.png", "cat.vqc")  # a name is but a name
    fails(invoke("encode", "cat.vqc", "-m", "tiny"), 3, "cat.vqc: is named .vqc already")
    assert invoke("encode", "cat.vqc", "-m", "tiny", "-o", "x.vqc")[0] == 0


def test_model_not_found(work: Path, invoke: Invoke) -> None:
    fails(invoke("encode", "cat.png", "-m", "nope"), 5, "nope", "tiny")


def test_limits(work: Path, invoke: Invoke) -> None:
    fails(invoke("encode", "cat.png", "-m", "tiny", "--max-pixels", 29999), 6, "cat.png", "--max-pixels")
    fails(invoke("decode", "kitty.vqc", "--max-pixels", 29999), 6, "kitty.vqc", "--max-pixels")
    assert invoke("decode", "kitty.vqc", "--max-pixels", 30000)[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["-q", "0"],
        ["-q", "101"],
        ["--keep", "0"],
        ["--keep", "5"],
        ["--effort", "10"],
        ["--bpp", "0"],
        ["--bpp", "nan"],
        ["--bpp", "inf"],
        ["--target-size", "0"],
        ["--target-size", "lots"],
        ["--target-size", "9" * 400],
        ["--min-quality", "32"],
        ["--min-quality", "ms-ssim=2"],
        ["--min-quality", "vmaf=90"],
        ["--min-quality", "psnr=nan"],
        ["-q", "50", "--keep", "2"],
        ["--bpp", "1", "--target-size", "40k"],
        ["--device", "quantum"],
        ["--colour"],
    ],
)
def test_usage(work: Path, invoke: Invoke, arguments: list[str]) -> None:
    before = names(work)
    fails(invoke("encode", "cat.png", "-m", "tiny", *arguments), 2)
    assert names(work) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-q", "500"], "-q 500: give 1..100"),
        (["--keep", "99"], "keep 99: model 'tiny' has layers 1..4"),
        (["--effort", "12"], r"--effort: 12 is not in the range 1<=x<=9"),
        (["-q", "best"], "-q / --quality: "),
    ],
)
def test_numbers_out_of_range(work: Path, invoke: Invoke, arguments: list[str], message: str) -> None:
    outcome = invoke("encode", "cat.png", "-m", "tiny", *arguments)
    fails(outcome, 2)
    assert re.match(f"vqcodec: {message}", outcome[2])
    assert "Input should" not in outcome[2]


def test_target_out_of_reach(work: Path, invoke: Invoke) -> None:
    fails(invoke("encode", "cat.png", "-m", "tiny", "--target-size", 40), 8, "cat.png")
    assert "cat.vqc" not in names(work)


def raising(error: BaseException) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def test_ctrl_c_leaves_nothing(work: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    before = names(work)
    monkeypatch.setattr(os, "fsync", raising(KeyboardInterrupt()))
    assert invoke("encode", "cat.png", "-m", "tiny") == (130, "", "vqcodec: interrupted\n")
    assert names(work) == before


def test_unexpected_errors(work: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.api.verify", raising(RuntimeError("odd\nthing")))
    fails(invoke("verify", "kitty.vqc"), 1, "internal error: RuntimeError: odd thing", "--debug")
    code, _, err = invoke("verify", "kitty.vqc", "--debug")
    assert code == 1
    assert "Traceback" in err
    fails(invoke("verify", "kitty.vqc"), 1)  # --debug does not stay
    monkeypatch.setattr("vqcodec.api.verify", raising(MemoryError()))
    fails(invoke("verify", "kitty.vqc"), 6, "out of memory")
    monkeypatch.setattr("vqcodec.api.verify", raising(RuntimeError("DefaultCPUAllocator: can't allocate memory")))
    fails(invoke("verify", "kitty.vqc"), 6, "out of memory")


def test_debug_keeps_the_exit_code(work: Path, invoke: Invoke) -> None:
    code, _, err = invoke("info", "none.vqc", "--debug")
    assert code == 3
    assert "InputError" in err


def test_train_refuses_what_cannot_be_meant(work: Path, invoke: Invoke) -> None:
    fails(invoke("train", "tokenizer", "none.toml"), 3, "none.toml")
    for recipe in ("photo", "product-vq"):
        fails(invoke("train", "tokenizer", recipe, "--set", "optimizer.stepz=1"), 2, "stepz")
        fails(invoke("train", "tokenizer", recipe, "--set", "data.train=['nowhere']"), 3, "nowhere")
    fails(invoke("train", "export", "none", "-o", "model"), 3, "none")
    assert names(work) == {"cat.png", "kitty.vqc"}
