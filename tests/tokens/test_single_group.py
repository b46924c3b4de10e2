"""Decoding of one group of codewords alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vqcodec
from vqcodec.errors import UsageError
from vqcodec.importing.release import find_release, import_release
from vqcodec.models import loading, registry
from vqcodec.planes import MISSING
from vqcodec.tokens.single_group import group_planes

from ..commands import Invoke, fails
from ..importing.test_importing import released, small

RELEASES = ("fqgan-dual-16", "xqgan-msvr10p2-4096", "softvq-l-64")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in RELEASES:
        system, config = find_release(name)[0], small(name)
        import_release(system, config, released(system, config), folder / name, name)
    return folder


@pytest.fixture
def installed(models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VQCODEC_MODELS", str(models))
    return models


def window_of(photo: Image.Image) -> Image.Image:
    return photo.crop((60, 30, 124, 94))


def test_the_other_branch_of_fqgan_is_zero(installed: Path, photo: Image.Image) -> None:
    data = vqcodec.encode(window_of(photo), "fqgan-dual-16")
    tokenizer = loading.load_model("fqgan-dual-16").tokenizer
    planes = [torch.from_numpy(plane.astype(np.int64)) for plane in vqcodec.decode_tokens(data).planes]
    for group, hidden in ((1, slice(8, 16)), (2, slice(0, 8))):
        with torch.inference_mode():
            z, kept = tokenizer.quantizer.dequantize(planes)
            z[:, hidden], kept[:, 2 - group] = 0, 0
            expected = ((tokenizer.decoder(z, kept)[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
        shown = np.asarray(vqcodec.decode(data, only_group=group)).astype(int)
        assert np.abs(shown - expected).max() <= 1
    one, two, whole = (np.asarray(vqcodec.decode(data, only_group=n)).astype(int) for n in (1, 2, None))
    assert min(np.abs(a - b).max() for a, b in ((one, two), (one, whole), (two, whole))) > 1


def test_a_part_of_the_tokens_is_a_group_of_all_its_scales(installed: Path, photo: Image.Image) -> None:
    config = registry.find("xqgan-msvr10p2-4096").config
    assert group_planes(config, 1) == (0, 2, 4, 6, 8)
    assert group_planes(config, 2) == (1, 3, 5, 7, 9)
    data = vqcodec.encode(window_of(photo), "xqgan-msvr10p2-4096")
    one, whole = (np.asarray(vqcodec.decode(data, only_group=n)).astype(int) for n in (1, None))
    assert np.abs(one - whole).max() > 1


def test_of_a_nested_model_any_group(tiny_vqc: bytes) -> None:
    tokens = vqcodec.decode_tokens(tiny_vqc)
    third = tuple(p if s == 2 else np.full_like(p, MISSING) for s, p in enumerate(tokens.planes))
    expected = np.asarray(
        vqcodec.detokenize(vqcodec.Tokens(third, *(getattr(tokens, n) for n in ("width", "height", "model", "layers"))))
    )
    np.testing.assert_array_equal(np.asarray(vqcodec.decode(tiny_vqc, only_group=3)), expected)
    with pytest.raises(UsageError, match=r"give 1\.\.4"):
        vqcodec.decode(tiny_vqc, only_group=5)
    with pytest.raises(UsageError, match="2 layers of the file"):
        vqcodec.decode(tiny_vqc, only_group=3, keep=2)


@pytest.mark.slow
def test_the_command(work: Path, installed: Path, photo: Image.Image, invoke: Invoke) -> None:
    window_of(photo).save("a.png")
    for name in ("fqgan-dual-16", "softvq-l-64"):
        assert invoke("encode", "a.png", "-o", f"{name}.vqc", "-m", name)[0] == 0
    assert invoke("decode", "fqgan-dual-16.vqc", "-o", "b.png", "--only-group", "2")[0] == 0
    expected = vqcodec.decode(Path("fqgan-dual-16.vqc").read_bytes(), only_group=2)
    with Image.open("b.png") as shown:
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(expected))
    fails(invoke("decode", "softvq-l-64.vqc", "-o", "c.png", "--only-group", "1"), 2, "one group")
    fails(invoke("decode", "fqgan-dual-16.vqc", "-o", "c.png", "--only-group", "3"), 2, "give 1..2")
    assert not Path("c.png").exists()
