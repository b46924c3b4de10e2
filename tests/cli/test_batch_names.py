"""Names and times of a batch's outputs: stable between runs, and within the limits of the file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from vqcodec.cli.batch.manifest import MANIFEST
from vqcodec.cli.batch.plan import target_names

from ..commands import Invoke, names


def picture(path: Path, colour: str = "teal") -> None:
    Image.new("RGB", (24, 16), colour).save(path)


def test_what_has_a_name_keeps_it(tmp_path: Path, invoke: Invoke, tiny_model: str) -> None:
    src, dst = tmp_path / "s", tmp_path / "d"
    src.mkdir()
    picture(src / "a.png")
    assert invoke("batch", src, dst, "-m", tiny_model)[0] == 0
    first = (dst / "a.vqc").stat().st_mtime_ns
    picture(src / "a.jpg", "red")
    picture(src / "A.bmp", "blue")
    code, _, err = invoke("batch", src, dst, "-m", tiny_model)
    assert code == 0
    assert "done 2, skipped 1" in err
    assert names(dst) == {"a.vqc", "a.jpg.vqc", "A.bmp.vqc", MANIFEST}
    assert (dst / "a.vqc").stat().st_mtime_ns == first
    assert "skipped 3" in invoke("batch", src, dst, "-m", tiny_model)[2]
    (src / "a.png").unlink()
    assert "skipped 2" in invoke("batch", src, dst, "-m", tiny_model)[2]


@pytest.mark.parametrize(
    ("sources", "known", "expected"),
    [
        (["a.jpg", "a.png"], {}, ["a.jpg.vqc", "a.png.vqc"]),
        (["a.jpg", "a.png"], {"a.png": "a.vqc"}, ["a.jpg.vqc", "a.vqc"]),
        (["a.jpg", "a.png"], {"a.png": "elsewhere.vqc"}, ["a.jpg.vqc", "a.png.vqc"]),
        (["a.jpg"], {"a.jpg": "a.jpg.vqc"}, ["a.jpg.vqc"]),
        (["a.jpg", "a.jpg.png"], {"a.jpg.png": "a.jpg.vqc"}, ["a.vqc", "a.jpg.vqc"]),
        (["a.gif", "a.jpg", "a.jpg.png"], {"a.jpg.png": "a.jpg.vqc"}, ["a.gif.vqc", "a.jpg.vqc", "a.jpg.png.vqc"]),
        (["a.png", "A.jpg"], {"a.png": "a.vqc"}, ["a.vqc", "A.jpg.vqc"]),
    ],
)
def test_target_names(sources: list[str], known: dict[str, str], expected: list[str]) -> None:
    assert list(target_names(sources, ".vqc", known).values()) == expected


@pytest.mark.parametrize("letter", ["x", "ü", "日"])
def test_long_names_fit_and_differ(letter: str) -> None:
    stem = "d/" + letter * (251 // len(letter.encode()))
    sources = [stem + suffix for suffix in (".jpg", ".png", ".tif")]
    found = target_names(sources, ".vqc")
    assert len(set(found.values())) == 3
    for target in found.values():
        assert target.startswith("d/" + letter)
        assert target.endswith(".vqc")
        assert len(os.fsencode(os.path.basename(target))) <= 255
    assert target_names(sources, ".vqc", found) == found
    assert len(os.fsencode(target_names(["y" * 252 + ".bw"], ".vqc")["y" * 252 + ".bw"])) == 255


def test_colliding_long_names_are_converted(tmp_path: Path, invoke: Invoke, tiny_model: str) -> None:
    src, dst = tmp_path / "s", tmp_path / "d"
    src.mkdir()
    picture(src / ("x" * 250 + ".jpg"))
    picture(src / ("x" * 250 + ".png"), "red")
    code, _, err = invoke("batch", src, dst, "-m", tiny_model)
    assert (code, "done 2" in err) == (0, True), err
    assert len(names(dst)) == 3
    assert "skipped 2" in invoke("batch", src, dst, "-m", tiny_model)[2]


@pytest.mark.parametrize("option", ["--keep-times", "--preserve"])
def test_times_are_kept_and_still_skipped(tmp_path: Path, invoke: Invoke, tiny_model: str, option: str) -> None:
    src, dst, back = tmp_path / "s", tmp_path / "d", tmp_path / "b"
    src.mkdir()
    picture(src / "a.png")
    os.utime(src / "a.png", ns=(1_000_000_000_123_456_700, 1_100_000_000_123_456_700))
    assert invoke("batch", src, dst, "-m", tiny_model, option)[0] == 0
    assert (dst / "a.vqc").stat().st_mtime_ns == (src / "a.png").stat().st_mtime_ns
    assert "skipped 1" in invoke("batch", src, dst, "-m", tiny_model, option)[2]
    (dst / MANIFEST).unlink()
    assert "skipped 1" in invoke("batch", src, dst, "-m", tiny_model, option)[2]
    assert invoke("batch", dst, back, "--to", "png", option)[0] == 0
    assert (back / "a.png").stat().st_mtime_ns == (src / "a.png").stat().st_mtime_ns


def test_times_of_single_files(work: Path, invoke: Invoke, tiny_model: str) -> None:
    os.utime("cat.png", ns=(1_000_000_000_000_000_000, 1_100_000_000_000_000_000))
    assert invoke("encode", "cat.png", "-m", tiny_model, "--keep-times")[0] == 0
    assert invoke("decode", "cat.vqc", "-o", "back.png", "--preserve")[0] == 0
    for name in ("cat.vqc", "back.png"):
        assert (work / name).stat().st_mtime_ns == 1_100_000_000_000_000_000
    assert invoke("encode", "cat.png", "-m", tiny_model, "-f")[0] == 0
    assert (work / "cat.vqc").stat().st_mtime_ns > 1_100_000_000_000_000_000
