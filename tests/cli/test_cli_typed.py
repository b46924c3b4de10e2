"""Arguments as people type them: output in second place, several inputs, folders, short options."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec

from ..commands import Invoke, fails, names, opened


def test_the_second_argument_is_the_output(work: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    assert invoke("encode", "cat.png", "b.vqc", "-m", "tiny")[0] == 0
    assert (work / "b.vqc").read_bytes() == tiny_vqc
    assert invoke("decode", "b.vqc", "c.webp")[0] == 0
    assert opened("c.webp").format == "WEBP"
    assert invoke("truncate", "b.vqc", "d.vqc", "--keep", 1)[0] == 0
    assert (work / "d.vqc").read_bytes() == vqcodec.truncate(tiny_vqc, keep=1)
    assert invoke("tokens", "b.vqc", "e.npz")[0] == 0
    assert invoke("tokens", "e.npz", "f.vqc")[0] == 0
    assert (work / "f.vqc").read_bytes() == tiny_vqc
    fails(invoke("encode", "cat.png", "b.vqc", "-m", "tiny"), 7, "b.vqc: exists already; add -f")
    fails(invoke("decode", "b.vqc", "cat.png"), 7, "cat.png: exists already; add -f")
    assert invoke("encode", "cat.png", "b.vqc", "-m", "tiny", "-f")[0] == 0


def test_a_picture_named_vqc_is_an_input(work: Path, invoke: Invoke) -> None:
    shutil.copy("cat.png", "dog.vqc")
    assert invoke("encode", "cat.png", "dog.vqc", "-o", "out", "-m", "tiny")[0] == 0
    assert names(work / "out") == {"cat.vqc", "dog.vqc"}
    code, _, err = invoke("encode", "cat.png", "dog.vqc", "-m", "tiny")
    assert code == 3
    assert "dog.vqc: is named .vqc already" in err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("cat.png", "cat.png", "all.vqc"), "several inputs need a directory: -o DIR"),
        (("cat.png", "new"), "to write there: -o new/"),
        (("cat.png", "there"), "to write into it: -o there"),
    ],
)
def test_outputs_without_their_option(work: Path, invoke: Invoke, arguments: tuple[str, ...], hint: str) -> None:
    (work / "there").mkdir()
    fails(invoke("encode", *arguments, "-m", "tiny"), 2, arguments[-1], hint)


@pytest.mark.parametrize("output", ["new/", "a/b/new/", "new"])
def test_a_missing_output_directory_is_made(work: Path, invoke: Invoke, output: str) -> None:
    more = () if output.endswith("/") else ("dog.png",)
    shutil.copy("cat.png", "dog.png")
    assert invoke("encode", "cat.png", *more, "-o", output, "-m", "tiny")[0] == 0
    assert "cat.vqc" in names(work / output)
    assert invoke("decode", f"{output}/cat.vqc", "-o", "pictures/")[0] == 0
    assert names(work / "pictures") == {"cat.png"}
    fails(invoke("encode", "cat.png", "-o", "cat.png/", "-m", "tiny"), 7, "a directory is needed")


def test_no_directory_is_made_for_inputs_that_are_missing(work: Path, invoke: Invoke) -> None:
    fails(invoke("encode", "none.png", "-o", "new/", "-m", "tiny"), 3, "none.png: no such file")
    assert "new" not in names(work)


def test_the_others_go_on_after_a_bad_input(work: Path, invoke: Invoke) -> None:
    (work / "bad.png").write_bytes(b"text")
    shutil.copy("cat.png", "dog.png")
    code, out, err = invoke("encode", "bad.png", "dog.png", "none.png", "cat.png", "-m", "tiny")
    assert (code, out) == (3, "")
    assert {"cat.vqc", "dog.vqc"} < names(work)
    lines = err.splitlines()
    assert lines[0] == "vqcodec: none.png: no such file"
    assert lines[1].startswith("vqcodec: bad.png: not an image")
    assert lines[-1] == "2 of 4 inputs failed, 2 done"
    (work / "cut.vqc").write_bytes((work / "dog.vqc").read_bytes()[:-9])
    code, _, err = invoke("decode", "cut.vqc", "dog.vqc", "-o", "back")
    assert code == 4
    assert names(work / "back") == {"dog.png"}
    assert err.splitlines()[-1] == "1 of 2 inputs failed, 1 done"


def test_failures_of_several_inputs_as_json(work: Path, invoke: Invoke) -> None:
    (work / "bad.vqc").write_bytes(b"text")
    code, out, _ = invoke("verify", "bad.vqc", "kitty.vqc", "--json")
    first, second = map(json.loads, out.splitlines())
    assert code == 3
    assert (first["input"], first["exit_code"]) == ("bad.vqc", 3)
    assert first["error"].startswith("bad.vqc: not a .vqc file")
    assert (second["input"], second["ok"]) == ("kitty.vqc", True)


@pytest.fixture
def tree(work: Path) -> Path:
    """A folder of two .vqc files, one of them in a subfolder, and files that no command may take."""
    folder = work / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for name in ("a.vqc", "sub/b.VQC", ".hidden/c.vqc", ".d.vqc"):
        shutil.copy("kitty.vqc", folder / name)
    (folder / "note.txt").write_text("note")
    return folder


def test_info_and_verify_of_folders(tree: Path, invoke: Invoke) -> None:
    code, out, _ = invoke("info", "tree", "kitty.vqc", "--json")
    assert code == 0
    assert [json.loads(line)["input"] for line in out.splitlines()] == ["tree/a.vqc", "tree/sub/b.VQC", "kitty.vqc"]
    lines = invoke("info", "tree")[1].splitlines()
    assert lines[0] == "tree/a.vqc: 200x150 pixels, 229 bytes, 0.061 bpp, 4 layers of tiny"
    assert len(lines) == 2
    assert len(invoke("info", "tree", "-v")[1].splitlines()) > 20
    code, _, err = invoke("verify", "tree")
    assert code == 0
    assert [line.split(":")[0] for line in err.splitlines()] == ["tree/a.vqc", "tree/sub/b.VQC"]
    (tree / "a.vqc").write_bytes(b"text")
    code, _, err = invoke("verify", "tree")
    assert code == 3
    assert "tree/sub/b.VQC: good" in err
    (tree / "empty").mkdir()
    fails(invoke("info", "tree/empty"), 3, "tree/empty: no .vqc files")


def test_tokens_of_folders(tree: Path, invoke: Invoke, tiny_vqc: bytes) -> None:
    code, _, err = invoke("tokens", "tree", "kitty.vqc", "-o", "arrays")
    assert code == 0, err
    assert names(tree.parent / "arrays") == {"a.npz", "kitty.npz", "sub"}
    assert names(tree.parent / "arrays" / "sub") == {"b.npz"}
    assert invoke("tokens", "arrays/a.npz", "arrays/kitty.npz", "-o", "back/")[0] == 0
    assert (tree.parent / "back" / "a.vqc").read_bytes() == tiny_vqc
    assert invoke("tokens", "kitty.vqc")[0] == 0
    assert "kitty.npz" in names(tree.parent)


@pytest.mark.parametrize(("suffix", "format"), [("avif", "AVIF"), ("tiff", "TIFF"), ("tif", "TIFF")])
def test_avif_and_tiff_output(work: Path, invoke: Invoke, tiny_vqc: bytes, suffix: str, format: str) -> None:
    assert invoke("decode", "kitty.vqc", f"x.{suffix}")[0] == 0
    image = opened(f"x.{suffix}")
    assert image.format == format
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(vqcodec.decode(tiny_vqc))).mean()
    assert difference == 0 if format == "TIFF" else difference < 3


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
def test_q_is_the_quality_of_the_output(work: Path, invoke: Invoke, suffix: str) -> None:
    sizes = []
    for quality in (20, 90):
        assert invoke("decode", "kitty.vqc", f"{quality}.{suffix}", "-q", quality)[0] == 0
        sizes.append((work / f"{quality}.{suffix}").stat().st_size)
    assert sizes[0] < sizes[1]
    fails(invoke("decode", "kitty.vqc", "x.png", "-q", 80), 2, "-q 80: png has no quality")
    fails(invoke("decode", "kitty.vqc", f"x.{suffix}", "-q", 0), 2, "1..100")


def test_q_is_the_quality_of_pictures_of_a_batch(work: Path, invoke: Invoke) -> None:
    sizes = []
    for quality in (20, 90):
        assert invoke("batch", ".", "out", "--to", "jpg", "-q", quality)[0] == 0
        sizes.append((work / "out" / "kitty.jpg").stat().st_size)
    assert sizes[0] < sizes[1]
    assert invoke("batch", ".", "tiffs", "--to", "tiff")[0] == 0
    assert opened("tiffs/kitty.tiff").format == "TIFF"


def test_a_picture_given_to_decode_is_named(work: Path, invoke: Invoke, photo: Image.Image) -> None:
    for suffix, name in (("jpg", "a JPEG"), ("webp", "a WebP"), ("avif", "an AVIF"), ("tiff", "a TIFF")):
        photo.save(f"photo.{suffix}")
        for command in ("decode", "verify", "info", "preview"):
            fails(
                invoke(command, f"photo.{suffix}"),
                3,
                f"photo.{suffix}: is {name} picture, not a .vqc file; `vqcodec encode`",
            )


def test_heic_names_its_plugin(work: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.image.plugins.find_spec", lambda _: None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    (work / "phone.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(90))
    fails(invoke("encode", "phone.heic", "-m", "tiny"), 3, "phone.heic: HEIC", "pip install pillow-heif")


def test_heic_is_read_where_its_plugin_is_installed(work: Path, invoke: Invoke, photo: Image.Image) -> None:
    heif = pytest.importorskip("pillow_heif", reason="HEIC is read by the package pillow-heif")
    heif.from_pillow(photo).save("phone.heic", quality=95)
    assert invoke("encode", "phone.heic", "-m", "tiny")[0] == 0
    assert vqcodec.inspect((work / "phone.vqc").read_bytes()).size == (200, 150)
    (work / "folder").mkdir()
    shutil.move("phone.heic", "folder/phone.heic")
    assert invoke("batch", "folder", "out", "-m", "tiny")[0] == 0
    assert "phone.vqc" in names(work / "out")


@pytest.mark.parametrize("budget", [("--bpp", 5), ("--target-size", "40k")])
def test_budgets_beyond_the_largest_file_are_said(work: Path, invoke: Invoke, budget: tuple[str, object]) -> None:
    code, _, err = invoke("encode", "cat.png", "-m", "tiny", *budget)
    assert code == 0
    assert "note: cat.png: the largest file of model tiny has 229 bytes (0.061 bpp), less than the budget" in err
    assert "note" not in invoke("encode", "cat.png", "-m", "tiny", "-f", "--target-size", 200)[2]
    assert invoke("encode", "cat.png", "-m", "tiny", "-f", "--quiet", *budget)[2] == ""


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("train", "tokenizer", "phoot"), "did you mean photo"),
        (("encode", "cat.png", "-m", "tinny"), "did you mean tiny"),
        (("encode", "cat.png", "--qualty", 3), "--quality"),
        (("encod", "cat.png"), "encode"),
    ],
)
def test_near_misses_are_named(work: Path, invoke: Callable[..., tuple[int, str, str]], arguments, hint: str) -> None:
    code, _, err = invoke(*arguments)
    assert code != 0
    assert hint in err
