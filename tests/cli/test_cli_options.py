"""Spelling of options, and their help texts."""

from __future__ import annotations

import re

import pytest

import vqcodec
from vqcodec.cli import options
from vqcodec.errors import UsageError

from ..commands import Invoke


@pytest.mark.parametrize(
    ("text", "size"),
    [("40000", 40000), ("40k", 40000), ("40kB", 40000), ("40KiB", 40960), ("1.5MB", 1500000), ("1MiB", 2**20),
     ("2g", 2 * 10**9), ("12B", 12), (" 3 kb", 3000), (".5k", 500)],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert options.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1e3", "0", "0.1", "1.5.2", "1x", "1iB", "\u0663", "9" * 400])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="--target-size"):
        options.parse_size(text)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "-1,0,5,5", "0,0,0,5", "a,b,c,d", "1.0,2,3,4", ""])
def test_bad_regions(text: str) -> None:
    with pytest.raises(UsageError, match="--region"):
        options.parse_region(text)


def test_regions() -> None:
    assert options.parse_region("1, 2,30,40") == (1, 2, 30, 40)


HELP = {
    ("encode",): ["1..16", "Bits per pixel", "KiB", "dB", "0..1", "1 (smallest file) .. 100 (best)", "layers"],
    ("decode",): ["pixels", "1..16", "png, jpg, webp, avif, tiff or ppm", "1..100"],
    ("info",): ["bytes", "pixels", "bpp"],
    ("verify",): ["pixels", "exit code"],
    ("truncate",): ["1..16", "Bits per pixel", "KiB"],
    ("models", "list"): ["pixels", "bytes"],
    ("models", "show"): ["MODEL"],
    ("models", "verify"): ["exit code 5"],
    ("models", "import"): ["Exit code 3", "Exit code 5", ".safetensors"],
    ("tokens",): ["pixels", ".npz", "losslessly"],
    ("sample",): ["pixels", "never codes files"],
    ("train",): ["tokenizers and priors"],
    ("train", "tokenizer"): ["steps", "pixels", "RECIPE"],
    ("train", "prior"): ["steps", "RECIPE", "DIR"],
    ("train", "export"): ["RUN", "DIR"],
}


@pytest.mark.parametrize("command", HELP, ids=" ".join)
def test_help_states_units_and_ranges(invoke: Invoke, command: tuple[str, ...]) -> None:
    code, out, _ = invoke(*command, "--help")
    plain = " ".join(re.sub(r"[\u2500-\u257f]", " ", out).split())
    assert code == 0
    for word in HELP[command]:
        assert word in plain


def test_help_fills_its_lines(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 80)
    lines = [line.strip() for line in invoke("batch", "--help")[1].splitlines()]
    begin, end = (lines.index(next(x for x in lines if x.startswith(word))) for word in ("DST gets", "Hidden"))
    paragraph = [line for line in lines[begin:end] if line]
    assert len(paragraph) == 3
    assert all(len(line) > 60 for line in paragraph[:-1])


def test_version_and_no_arguments(invoke: Invoke) -> None:
    assert invoke("-V") == invoke("--version") == (0, f"vqcodec {vqcodec.__version__}\n", "")
    code, out, err = invoke()
    assert code == 2
    assert "encode" in out + err
