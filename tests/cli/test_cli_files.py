"""The commands that read .vqc files (decode, info, verify, truncate) and `vqcodec models`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.cli import messages

from ..commands import Invoke, fails, names, opened


@pytest.mark.parametrize(("suffix", "format"), [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("ppm", "PPM")])
def test_formats(work: Path, invoke: Invoke, suffix: str, format: str) -> None:
    assert invoke("decode", "kitty.vqc", "-o", f"x.{suffix}")[0] == 0
    assert invoke("decode", "kitty.vqc", "--format", suffix)[0] == 0
    for name in ("x", "kitty"):
        image = opened(f"{name}.{suffix}")
        assert (image.format, image.size) == (format, (200, 150))


def test_unknown_formats(work: Path, invoke: Invoke) -> None:
    fails(invoke("decode", "kitty.vqc", "-o", "x.bmp"), 2, "x.bmp", "png, jpg, webp")
    fails(invoke("decode", "kitty.vqc", "--format", "gif"), 2, "gif")
    assert invoke("decode", "kitty.vqc", "-o", "x.bmp", "--format", "jpeg")[0] == 0
    assert invoke("decode", "kitty.vqc", "-o", "plain")[0] == 0
    assert opened("plain").format == "PNG"


def test_region_and_keep(work: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    code, out, _ = invoke("decode", "kitty.vqc", "--region", "30,20,100,50", "--keep", 2, "--json")
    record = json.loads(out)
    assert (code, record["width"], record["height"], record["layers"], record["complete"]) == (0, 100, 50, 2, True)
    whole = np.asarray(vqcodec.decode(tiny_vqc, keep=2))
    part = np.asarray(opened("kitty.png")).astype(int)
    assert np.abs(part - whole[20:70, 30:130]).max() <= 1
    fails(invoke("decode", "kitty.vqc", "-f", "--region", "150,0,100,50"), 2, "kitty.vqc", "region", "200x150")
    fails(invoke("decode", "kitty.vqc", "-f", "--keep", 5), 2, "kitty.vqc", "1..4")


def test_allow_partial(work: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    end = vqcodec.inspect(tiny_vqc).layers[1].end
    (work / "cut.vqc").write_bytes(tiny_vqc[: end + 5])
    fails(invoke("decode", "cut.vqc"), 4, "cut.vqc", "cut file")
    assert "cut.png" not in names(work)
    code, out, err = invoke("decode", "cut.vqc", "--allow-partial", "--json")
    record = json.loads(out)
    assert (code, record["layers"], record["complete"]) == (0, 2, False)
    lost = f"cut or damaged file: {end + 5} of {len(tiny_vqc)} bytes, without layers 3 to 4"
    assert err == f"warning: cut.vqc: {lost}\n"
    assert record["warnings"] == [lost]
    two = np.asarray(vqcodec.decode(tiny_vqc, keep=2))
    assert np.abs(np.asarray(opened("cut.png")).astype(int) - two).max() <= 1
    fails(invoke("verify", "kitty.vqc", "cut.vqc", "-q"), 4, "cut.vqc")


def test_layers_after_a_damaged_one_are_not_counted(work: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    damaged = bytearray(tiny_vqc)
    damaged[vqcodec.inspect(tiny_vqc).layers[1].end - 3] ^= 1
    (work / "flip.vqc").write_bytes(damaged)
    code, out, _ = invoke("decode", "flip.vqc", "--allow-partial", "--json")
    assert (code, json.loads(out)["layers"]) == (0, 1)


def test_info(work: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    code, out, err = invoke("info", "kitty.vqc", "--json")
    record = json.loads(out)
    assert (code, err) == (0, "")
    parts = sum(layer["bytes"] for layer in record["layers"]) + record["overhead_bytes"]
    assert parts == record["file_bytes"] == record["bytes_there"] == len(tiny_vqc)
    assert record["head_bytes"] <= 32
    assert record["bytes_per_segment"] <= 6
    code, out, _ = invoke("info", "kitty.vqc")
    assert "200 x 150 pixels" in out
    assert re.search(r"model +tiny\n", out)
    assert f"{record['head_bytes']} + {record['bytes_per_segment']:.1f} per segment" in out


def test_info_tells_of_every_byte(work: Path, invoke: Invoke, photo: Image.Image) -> None:
    clear = photo.convert("RGBA")
    clear.putalpha(photo.convert("L"))
    clear.save("clear.png")
    invoke("encode", "clear.png", "-m", "tiny", "-o", "clear.vqc")
    size = (work / "clear.vqc").stat().st_size
    invoke("truncate", "clear.vqc", "-o", "cut.vqc", "--target-size", size - 40)
    for name, cut in (("clear.vqc", False), ("cut.vqc", True)):
        record = json.loads(invoke("info", name, "--json")[1])
        assert (record["cut"], record["alpha_bytes"] > 100) == (cut, True)
        parts = sum(layer["bytes"] for layer in record["layers"]) + record["overhead_bytes"]
        assert parts + record["alpha_bytes"] + record["metadata_bytes"] == (work / name).stat().st_size
        per_segment = record["bytes_per_segment"] * record["tiles"] * len(record["layers"])
        assert record["head_bytes"] + per_segment == pytest.approx(record["overhead_bytes"], abs=0.01)


def test_info_needs_neither_the_model_nor_the_whole_file(
    work: Path, invoke: Invoke, tiny_vqc: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(work))
    (work / "cut.vqc").write_bytes(tiny_vqc[:100])
    code, out, _ = invoke("info", "cut.vqc")
    assert code == 0
    assert f"file is cut: 100 of {len(tiny_vqc):,} bytes" in out
    assert re.search(r"model +not installed \(id [0-9a-f]{12}/[0-9a-f]{8}\)", out)
    fails(invoke("decode", "kitty.vqc"), 5, "kitty.vqc", "not installed")
    fails(invoke("verify", "kitty.vqc"), 5, "kitty.vqc")


def test_a_terminal_never_sees_control_characters(work: Path, invoke: Invoke) -> None:
    evil = "a\x1b[31mred\x07.vqc"
    shutil.copy("kitty.vqc", evil)
    code, out, err = invoke("info", evil)
    assert code == 0
    assert "a\\x1b[31mred\\x07.vqc" in out
    for outcome in (invoke("verify", evil), invoke("decode", evil, "-o", "x.bmp\x1b")):
        assert "\x1b" not in outcome[2]
    assert messages.clean("caf\xe9 \u6f22 \udcff \u202e\n") == "caf\xe9 \u6f22 \\udcff \\u202e\\n"


def test_verify(work: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    code, out, _ = invoke("verify", "kitty.vqc", "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)
    data = bytearray(tiny_vqc)
    data[-5] ^= 1
    (work / "bad.vqc").write_bytes(data)
    fails(invoke("verify", "bad.vqc"), 4, "bad.vqc", "CRC")


@pytest.mark.parametrize("size", [150, 151, 200, 201, 202, 203, 250, 299, 10**6])
def test_truncate_never_exceeds_its_budget(work: Path, invoke: Invoke, size: int, tiny_vqc: bytes) -> None:
    code, out, _ = invoke("truncate", "kitty.vqc", "-o", "t.vqc", "--target-size", size, "--json")
    written = (work / "t.vqc").read_bytes()
    assert code == 0
    assert len(written) == json.loads(out)["bytes"] <= min(size, len(tiny_vqc))
    assert invoke("verify", "t.vqc")[0] == 0


def test_truncate(work: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    assert invoke("truncate", "kitty.vqc", "-o", "t.vqc", "--keep", 2, "-q") == (0, "", "")
    assert (work / "t.vqc").read_bytes() == vqcodec.truncate(tiny_vqc, keep=2)
    assert invoke("truncate", "kitty.vqc", "-o", "b.vqc", "--bpp", "0.05")[0] == 0
    assert 8 * (work / "b.vqc").stat().st_size / 30000 <= 0.05
    fails(invoke("truncate", "kitty.vqc", "-o", "x.vqc"), 2, "--keep")
    fails(invoke("truncate", "kitty.vqc", "-o", "x.vqc", "--keep", 2, "--bpp", 1), 2, "--keep and --bpp")
    fails(invoke("truncate", "kitty.vqc", "--keep", 2), 2, "output")
    fails(invoke("truncate", "kitty.vqc", "-o", "x.vqc", "--target-size", "40"), 8, "kitty.vqc")
    fails(invoke("truncate", "kitty.vqc", "-o", "x.vqc", "--keep", 9), 2, "1..4")
    assert "x.vqc" not in names(work)


def test_models(work: Path, invoke: Invoke) -> None:
    code, out, _ = invoke("models", "list", "--json")
    tiny = next(r for r in map(json.loads, out.splitlines()) if r["name"] == "tiny")
    assert (code, tiny["stride"], tiny["layers"], tiny["bundled"]) == (0, 16, 4, False)
    assert tiny["bytes"] < 100_000
    assert "tiny" in invoke("models", "list")[1]
    code, out, _ = invoke("models", "show", tiny["folder"])
    assert code == 0
    assert "4 groups of 16 codewords" in out
    assert json.loads(invoke("models", "show", "tiny", "--json")[1])["config"]["name"] == "tiny"
    code, _, err = invoke("models", "verify", "tiny")
    assert code == 0
    assert err.startswith("tiny: good")
    broken = work / "broken"
    shutil.copytree(tiny["folder"], broken)
    (broken / "model.safetensors").write_bytes(b"short")
    fails(invoke("models", "verify", "broken"), 5, "SHA-256")
    fails(invoke("models", "show", "nope"), 5, "nope", "tiny")
