"""`vqcodec encode`: output files, budgets and printed lines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec

from ..commands import Invoke, fails, names, opened


def test_encode_writes_next_to_the_input_and_reports_it(work: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    code, out, err = invoke("encode", "cat.png", "-m", "tiny")
    data = (work / "cat.vqc").read_bytes()
    assert (code, out) == (0, "")
    assert err == ""  # stderr is a file here
    assert data == tiny_vqc
    assert names(work) == {"cat.png", "cat.vqc", "kitty.vqc"}


def test_quiet_and_verbose(work: Path, invoke: Invoke) -> None:
    assert invoke("encode", "cat.png", "-m", "tiny", "--quiet") == (0, "", "")
    code, _, err = invoke("encode", "cat.png", "-m", "tiny", "-f", "-v")
    size = (work / "cat.vqc").stat().st_size
    ratio = (work / "cat.png").stat().st_size / size
    line = f"cat.vqc: {size:,} bytes, {8 * size / 30000:.3f} bpp, ratio {ratio:.1f}, 4 layers of tiny, "
    assert code == 0
    assert err.startswith(line)
    assert err.endswith(" s\ncat.vqc: 200x150 pixels\n")


def test_the_result_is_printed_on_a_terminal(work: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.cli.results.is_terminal", lambda: True)
    assert " bpp, ratio " in invoke("encode", "cat.png", "-m", "tiny")[2]
    assert invoke("encode", "cat.png", "-m", "tiny", "-f", "--quiet") == (0, "", "")


def test_encode_json(work: Path, invoke: Invoke) -> None:
    shutil.copy("cat.png", "dog.png")
    code, out, err = invoke("encode", "cat.png", "dog.png", "-m", "tiny", "--json")
    assert (code, err) == (0, "")
    first, second = map(json.loads, out.splitlines())
    assert (first["input"], second["output"]) == ("cat.png", "dog.vqc")
    assert set(first) == {
        "input", "output", "width", "height", "bytes", "bpp", "layers", "model", "seconds", "ratio", "psnr",
        "ms_ssim", "warnings"
    }  # fmt: skip
    assert (first["width"], first["height"], first["layers"], first["model"]) == (200, 150, 4, "tiny")
    assert first["bytes"] == (work / "cat.vqc").stat().st_size
    assert first["bpp"] == pytest.approx(8 * first["bytes"] / 30000, abs=1e-6)


@pytest.mark.parametrize(("rate", "layers"), [(["--keep", 2], 2), (["-q", 1], 1), (["-q", 60], 3), (["-q", 100], 4)])
def test_layers_kept(work: Path, invoke: Invoke, rate: list[object], layers: int) -> None:
    assert invoke("encode", "cat.png", "-m", "tiny", *rate)[0] == 0
    assert len(vqcodec.inspect((work / "cat.vqc").read_bytes()).layers) == layers


@pytest.mark.parametrize(("option", "most"), [(("--target-size", "200"), 200), (("--bpp", "0.05"), 187)])
def test_encode_within_a_budget(work: Path, invoke: Invoke, option: tuple[str, str], most: int) -> None:
    assert invoke("encode", "cat.png", "-m", "tiny", *option)[0] == 0
    assert most - 24 < (work / "cat.vqc").stat().st_size <= most


def test_min_quality(work: Path, invoke: Invoke) -> None:
    assert invoke("encode", "cat.png", "-m", "tiny", "--min-quality", "psnr=1")[0] == 0
    assert len(vqcodec.inspect((work / "cat.vqc").read_bytes()).layers) == 1
    (work / "cat.vqc").unlink()
    fails(invoke("encode", "cat.png", "-m", "tiny", "--min-quality", "psnr=99"), 8, "cat.png", "psnr")
    assert "cat.vqc" not in names(work)


def test_a_measured_quality_is_reported(work: Path, invoke: Invoke, photo: Image.Image) -> None:
    code, out, _ = invoke("encode", "cat.png", "-m", "tiny", "--min-quality", "psnr=5", "--json", "-v")
    decoded = vqcodec.decode((work / "cat.vqc").read_bytes())
    squared = np.square(np.asarray(decoded, np.float64) - np.asarray(opened("cat.png").convert("RGB"))).mean()
    assert code == 0
    psnr = 10 * np.log10(255**2 / squared)
    assert json.loads(out)["psnr"] == pytest.approx(psnr, abs=1e-3)
    assert (
        f", PSNR {psnr:.2f} dB, " in invoke("encode", "cat.png", "-m", "tiny", "--min-quality", "psnr=5", "-f", "-v")[2]
    )


def test_effort_makes_no_difference_to_a_model_without_a_rate(work: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    assert invoke("encode", "cat.png", "-m", "tiny", "--effort", 9)[0] == 0
    assert (work / "cat.vqc").read_bytes() == tiny_vqc


def test_strip(work: Path, invoke: Invoke, photo: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    photo.save("cat.png", exif=exif)
    assert invoke("encode", "cat.png", "-m", "tiny", "-o", "full.vqc")[0] == 0
    assert invoke("encode", "cat.png", "-m", "tiny", "-o", "bare.vqc", "--strip")[0] == 0
    assert vqcodec.inspect(Path("full.vqc").read_bytes()).chunks_bytes > 0
    assert vqcodec.inspect(Path("bare.vqc").read_bytes()).chunks_bytes == 0
    assert invoke("decode", "full.vqc")[0] == 0
    assert opened("full.png").getexif()[0x010E] == "a cat"


def test_warnings_name_the_file(work: Path, invoke: Invoke) -> None:
    frames = [Image.new("L", (32, 32), level) for level in (0, 255)]
    frames[0].save("two.gif", save_all=True, append_images=frames[1:])
    code, _, err = invoke("encode", "two.gif", "-m", "tiny")
    assert code == 0
    assert "warning: two.gif: 1 of 2 frames kept" in err
    code, out, err = invoke("encode", "two.gif", "-m", "tiny", "-f", "--quiet", "--json")
    assert err == ""
    assert json.loads(out)["warnings"]
