"""The commands for single files: what they write, what they print, and how each failure ends."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.cli import options, output
from vqcodec.errors import UsageError
from vqcodec.image import read_picture

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture
def work(tmp_path: Path, photo: Image.Image, tiny_vqc: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for cat.png and kitty.vqc; the working directory."""
    photo.save(tmp_path / "cat.png")
    (tmp_path / "kitty.vqc").write_bytes(tiny_vqc)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def opened(path: str) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def fails(outcome: tuple[int, str, str], code: int, *parts: str) -> None:
    """Exit code, nothing on stdout, one line on stderr that holds `parts`."""
    assert outcome[0] == code, outcome
    assert outcome[1] == ""
    assert re.fullmatch(r"vqcodec: [^\n]+\n", outcome[2]), outcome[2]
    for part in parts:
        assert part in outcome[2]


# --- encode ---


def test_encode_writes_beside_the_input_and_says_so(work: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    code, out, err = invoke("encode", "cat.png", "-m", "tiny")
    data = (work / "cat.vqc").read_bytes()
    assert (code, out) == (0, "")
    assert err == f"cat.vqc: {len(data):,} bytes, {8 * len(data) / 30000:.3f} bpp, 4 layers of tiny\n"
    assert data == tiny_vqc
    assert names(work) == {"cat.png", "cat.vqc", "kitty.vqc"}


def test_quiet_and_verbose(work: Path, invoke: Invoke) -> None:
    assert invoke("encode", "cat.png", "-m", "tiny", "--quiet") == (0, "", "")
    code, _, err = invoke("encode", "cat.png", "-m", "tiny", "-f", "-v")
    assert code == 0
    assert "200x150 pixels, " in err


def test_encode_json(work: Path, invoke: Invoke) -> None:
    shutil.copy("cat.png", "dog.png")
    code, out, err = invoke("encode", "cat.png", "dog.png", "-m", "tiny", "--json")
    assert (code, err) == (0, "")
    first, second = map(json.loads, out.splitlines())
    assert (first["input"], second["output"]) == ("cat.png", "dog.vqc")
    assert set(first) == {
        "input", "output", "width", "height", "bytes", "bpp", "layers", "model", "seconds", "warnings"
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


# --- where outputs go ---


def test_output_directory_and_several_inputs(work: Path, invoke: Invoke) -> None:
    shutil.copy("cat.png", "dog.png")
    (work / "out").mkdir()
    assert invoke("encode", "cat.png", "dog.png", "-o", "out", "-m", "tiny", "--keep", 1)[0] == 0
    assert names(work / "out") == {"cat.vqc", "dog.vqc"}
    assert invoke("decode", "out/cat.vqc", "out/dog.vqc", "--format", "ppm")[0] == 0
    assert names(work / "out") == {"cat.vqc", "dog.vqc", "cat.ppm", "dog.ppm"}
    fails(invoke("encode", "cat.png", "dog.png", "-o", "new", "-m", "tiny"), 2, "new", "existing directory")
    fails(invoke("encode", "cat.png", "dog.png", "-o", "-", "-m", "tiny"), 2)
    fails(invoke("encode", "cat.png", "-o", "new/", "-m", "tiny"), 7, "new/: no such directory")


def test_two_inputs_for_one_target(work: Path, invoke: Invoke) -> None:
    shutil.copy("cat.png", "cat.jpg")
    before = names(work)
    fails(invoke("encode", "cat.png", "cat.jpg", "-m", "tiny"), 2, "cat.png and cat.jpg")
    assert names(work) == before


def test_all_targets_are_checked_before_any_work(work: Path, invoke: Invoke) -> None:
    shutil.copy("cat.png", "dog.png")
    (work / "dog.vqc").write_bytes(b"mine")
    fails(invoke("encode", "cat.png", "dog.png", "-m", "tiny"), 7, "dog.vqc: exists already; add -f")
    fails(invoke("encode", "cat.png", "none.png", "-m", "tiny"), 3, "none.png: no such file")
    assert "cat.vqc" not in names(work)
    assert (work / "dog.vqc").read_bytes() == b"mine"
    assert invoke("encode", "cat.png", "dog.png", "-m", "tiny", "-f")[0] == 0
    assert (work / "dog.vqc").read_bytes() == (work / "cat.vqc").read_bytes()


def test_several_inputs_stop_at_the_first_failure(work: Path, invoke: Invoke) -> None:
    (work / "bad.png").write_bytes(b"text")
    shutil.copy("cat.png", "dog.png")
    fails(invoke("encode", "bad.png", "dog.png", "-m", "tiny"), 3, "bad.png")
    assert "dog.vqc" not in names(work)


@pytest.mark.parametrize("force", [(), ("-f",)])
def test_never_onto_the_input(work: Path, invoke: Invoke, force: tuple[str, ...], tiny_vqc: bytes) -> None:
    os.symlink("kitty.vqc", "link.vqc")
    for target in ("kitty.vqc", "./kitty.vqc", "link.vqc"):
        fails(invoke("truncate", "kitty.vqc", "-o", target, "--keep", 1, *force), 7, "is the input itself")
    fails(invoke("encode", "kitty.vqc", "-m", "tiny", *force), 3, "kitty.vqc", "already", "`vqcodec truncate`")
    fails(invoke("decode", "cat.png", *force), 3, "cat.png", "already", "decode reads .vqc files")
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


# --- pipes, in real processes ---


def test_pipes(work: Path, shell: Callable[..., object], tiny_vqc: bytes) -> None:
    encoded = shell("encode", "-", "-m", "tiny", input=(work / "cat.png").read_bytes())
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


# --- decode ---


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
    fails(invoke("decode", "kitty.vqc", "--decoder", "none"), 2, "kitty.vqc", "none")
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


# --- info, verify, truncate, models ---


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
    assert re.search(r"model +not at hand \(id [0-9a-f]{12}/[0-9a-f]{8}\)", out)
    fails(invoke("decode", "kitty.vqc"), 5, "kitty.vqc", "not at hand")
    fails(invoke("verify", "kitty.vqc"), 5, "kitty.vqc")


def test_a_terminal_never_sees_control_characters(work: Path, invoke: Invoke) -> None:
    evil = "a\x1b[31mred\x07.vqc"
    shutil.copy("kitty.vqc", evil)
    code, out, err = invoke("info", evil)
    assert code == 0
    assert "a\\x1b[31mred\\x07.vqc" in out
    for outcome in (invoke("verify", evil), invoke("decode", evil, "-o", "x.bmp\x1b")):
        assert "\x1b" not in outcome[2]
    assert output.clean("caf\xe9 \u6f22 \udcff \u202e\n") == "caf\xe9 \u6f22 \\udcff \\u202e\\n"


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


# --- failures ---


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
    fails(invoke(command, "none"), 3, "none: no such file")
    fails(invoke(command, "."), 3, "is a directory")


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
        (["--effort", "12"], r"--effort: (must be less than or equal to 9|12 is not in the range 1<=x<=9)"),
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


# --- options ---


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
    ("encode",): ["1..16", "bits per pixel", "KiB", "dB", "0..1", "1 smallest .. 100 best", "layers"],
    ("decode",): ["pixels", "1..16", "png|jpg|webp|ppm"],
    ("info",): ["bytes", "pixels", "bpp"],
    ("verify",): ["pixels", "exit code"],
    ("truncate",): ["1..16", "bits per pixel", "KiB"],
    ("models", "list"): ["pixels", "bytes"],
    ("models", "show"): ["NAME"],
    ("models", "verify"): ["exit code 5"],
    ("models", "import"): ["Exit code 3", "Exit code 5", ".safetensors"],
    ("tokens",): ["pixels", ".npz", "nothing is lost"],
    ("sample",): ["Pixels", "never used for files"],
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
    assert invoke("--version") == (0, f"vqcodec {vqcodec.__version__}\n", "")
    code, out, err = invoke()
    assert code == 2
    assert "encode" in out + err


# --- train ---


def test_train_refuses_what_cannot_be_meant(work: Path, invoke: Invoke) -> None:
    fails(invoke("train", "tokenizer", "none.toml"), 3, "none.toml")
    fails(invoke("train", "tokenizer", "photo", "--set", "optimizer.stepz=1"), 2, "stepz")
    fails(invoke("train", "tokenizer", "photo", "--set", "data.train=['nowhere']"), 3, "nowhere")
    fails(invoke("train", "export", "none", "-o", "model"), 3, "none")
    assert names(work) == {"cat.png", "kitty.vqc"}
