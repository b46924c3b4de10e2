"""`--strict`: a conversion or loss is an error with exit code 9, and no file is written."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import vqcodec
from vqcodec.cli.batch.manifest import MANIFEST

from ..commands import Invoke, fails, names
from ..image_parts import noise


def write_losing(folder: Path) -> dict[str, str]:
    """Files that each need one warning, and a part of it."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a lake")
    frames = [Image.fromarray(noise(24, 16, 1, seed)) for seed in (0, 1)]
    Image.fromarray(noise(24, 16, 3)).save(folder / "text.png", pnginfo=text)
    Image.fromarray(noise(24, 16, 4)).convert("RGB").convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(noise(24, 16, 1).astype(np.uint16) * 257).save(folder / "deep.png")
    frames[0].save(folder / "frames.gif", save_all=True, append_images=frames[1:])
    return {"text.png": "text left out", "cmyk.jpg": "CMYK", "deep.png": "16-bit", "frames.gif": "1 of 2 frames"}


@pytest.mark.parametrize("name", ["text.png", "cmyk.jpg", "deep.png", "frames.gif"])
def test_a_loss_is_an_error(tmp_path: Path, invoke: Invoke, tiny_model: str, name: str) -> None:
    word = write_losing(tmp_path)[name]
    source, out = tmp_path / name, tmp_path / "o.vqc"
    fails(invoke("encode", source, "-o", out, "-m", tiny_model, "--strict"), 9, name, word, "--strict")
    assert not out.exists()
    code, _, err = invoke("encode", source, "-o", out, "-m", tiny_model)
    assert code == 0
    assert err.count("warning:") == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", vqcodec.LossWarning)
        with pytest.raises(vqcodec.LossWarning, match=word):
            vqcodec.encode(source, tiny_model)


def test_pictures_without_losses_pass(work: Path, invoke: Invoke, tiny_model: str) -> None:
    Image.fromarray(noise(24, 16, 4)).save("a.png", dpi=(300, 300))
    assert invoke("encode", "a.png", "cat.png", "-m", tiny_model, "--strict")[0] == 0
    assert invoke("decode", "a.vqc", "-o", "back.png", "--strict")[0] == 0
    fails(invoke("decode", "a.vqc", "-o", "back.jpg", "--strict"), 9, "a.vqc", "alpha")
    fails(invoke("decode", "a.vqc", "-o", "back.ppm", "--strict"), 9, "alpha", "Exif")
    assert names(work) & {"back.jpg", "back.ppm"} == set()


def test_batch_fails_the_files_that_would_lose_something(tmp_path: Path, invoke: Invoke, tiny_model: str) -> None:
    src, dst, back = tmp_path / "s", tmp_path / "d", tmp_path / "b"
    src.mkdir()
    losing = write_losing(src)
    Image.fromarray(noise(24, 16, 4)).save(src / "fine.png")
    code, out, err = invoke("batch", src, dst, "-m", tiny_model, "--strict", "--json")
    assert code == 10, err
    found = json.loads(out)
    assert (found["done"], found["failed"]) == (1, len(losing))
    assert {failure["source"]: failure["exit_code"] for failure in found["failures"]} == dict.fromkeys(losing, 9)
    assert names(dst) == {"fine.vqc", MANIFEST}
    fails_as_jpg = invoke("batch", dst, back, "--to", "jpg", "--strict")
    assert fails_as_jpg[0] == 10
    assert "alpha" in fails_as_jpg[2]
    # Without --strict the failed files are converted, and the finished one is not repeated.
    assert "done 4, skipped 1" in invoke("batch", src, dst, "-m", tiny_model)[2]
