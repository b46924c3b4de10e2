"""Files of imported models: indices and pixels equal those of the tokenizer; each layer is a preview step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image

import vqcodec
from vqcodec.errors import UsageError
from vqcodec.importing.release import find_release, import_release
from vqcodec.inference.fixed_windows import BATCH
from vqcodec.models import loading

from ..refusal import Invoke
from .test_importing import released, small

WIDTH, HEIGHT = 640, 427
LAYERS = {
    "mgvq-f16c32-g4": 4,
    "xqgan-vp2-4096": 1,
    "xqgan-msvr10p2-4096": 5,
    "xqgan-msbr10p2-4096": 5,
    "xqgan-cnn-16384": 1,
    "fqgan-dual-16": 1,
    "fqgan-triple-8": 1,
    "softvq-l-64": 4,
}
"""Release -> number of layers of its tiny model."""


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    data = pytest.importorskip("skimage.data", reason="the photographs come with scikit-image")
    return Image.fromarray(data.chelsea()).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the imported tiny model of each release."""
    folder = tmp_path_factory.mktemp("models")
    for name in LAYERS:
        system, config = find_release(name)[0], small(name)
        import_release(system, config, released(system, config), folder / name, name)
    return folder


@pytest.fixture
def installed(models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VQCODEC_MODELS", str(models))
    return models


def by_hand(model: loading.Model, pixels: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Planes and picture of a tokenizer with windows every `window - overlap` px, the last one at the border.

    A pixel is the weighted mean of the windows over it. The weight is the product over both axes of the distance to the
    window's border, at most the overlap.
    """
    side, overlap = model.config.tokenizer.window, model.config.tokenizer.overlap
    starts = [
        sorted({min(start, length - side) for start in range(0, length - overlap, side - overlap)})
        for length in (HEIGHT, WIDTH)
    ]
    corners = [(y, x) for y in starts[0] for x in starts[1]]
    total, weights = np.zeros((HEIGHT, WIDTH, 3)), np.zeros((HEIGHT, WIDTH, 1))
    near = np.minimum(np.minimum(np.arange(side) + 0.5, side - 0.5 - np.arange(side)) / overlap, 1)
    weight = np.outer(near, near)[..., None]
    planes: list[list[torch.Tensor]] = []
    for start in range(0, len(corners), BATCH):
        part = corners[start : start + BATCH]
        found = model.tokenizer.encode(to_float(np.stack([pixels[y : y + side, x : x + side] for y, x in part])))
        planes.append(found)
        shown = model.tokenizer.decode(found).clamp(-1, 1).permute(0, 2, 3, 1).numpy()
        for (y, x), window in zip(part, shown, strict=True):
            total[y : y + side, x : x + side] += weight * window
            weights[y : y + side, x : x + side] += weight
    return [torch.cat(plane).numpy() for plane in zip(*planes, strict=True)], (total / weights + 1) * 127.5


def at_once(model: loading.Model, pixels: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Planes and picture of a tokenizer over the whole picture, edges repeated to a multiple of the stride."""
    h, w = (-(-length // model.stride) * model.stride for length in (HEIGHT, WIDTH))
    padded = np.pad(pixels, ((0, h - HEIGHT), (0, w - WIDTH), (0, 0)), mode="edge")
    found = model.tokenizer.encode(to_float(padded[None]))
    shown = model.tokenizer.decode(found)[0].permute(1, 2, 0).numpy()
    return [plane[0].numpy() for plane in found], ((shown + 1) * 127.5).clip(0, 255)[:HEIGHT, :WIDTH]


def to_float(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> [B, 3, H, W]; memory strides as in the codec, since they affect the rounding."""
    return torch.tensor(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "fqgan-triple-8"])
def test_a_file_is_what_the_tokenizer_makes(name: str, installed: Path, picture: Image.Image) -> None:
    model, pixels = loading.load_model(name), np.asarray(picture)
    with torch.inference_mode():
        planes, expected = (by_hand if model.config.tokenizer.window else at_once)(model, pixels)
    data = vqcodec.encode(picture, name)
    assert vqcodec.inspect(data).model == name
    assert len(vqcodec.inspect(data).layers) == LAYERS[name]
    found = vqcodec.decode_tokens(data)
    for plane, other in zip(found.planes, planes, strict=True):
        np.testing.assert_array_equal(plane, other)
    assert sum(len(np.unique(plane)) > 3 for plane in planes) > len(planes) / 2
    shown = np.asarray(vqcodec.decode(data)).astype(int)
    assert shown.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_steps_where_they_have_an_order(name: str, installed: Path, picture: Image.Image) -> None:
    image = picture.crop((0, 0, 100, 80))
    data = vqcodec.encode(image, name)
    assert vqcodec.encode_tokens(vqcodec.tokenize(image, name)) == data
    steps = list(vqcodec.previews(data))
    assert [step.keep for step in steps] == list(range(1, LAYERS[name] + 1))
    shown = [np.asarray(step.image).astype(int) for step in steps]
    assert all(np.abs(a - b).max() > 0 for a, b in zip(shown, shown[1:], strict=False))
    np.testing.assert_array_equal(shown[-1], np.asarray(vqcodec.decode(data)))
    part = np.asarray(vqcodec.decode(data, region=(31, 7, 50, 60))).astype(int)
    assert np.abs(part - shown[-1][7:67, 31:81]).max() <= 1
    if len(steps) > 1:
        short = vqcodec.truncate(data, keep=1)
        np.testing.assert_array_equal(np.asarray(vqcodec.decode(short)), shown[0])
        assert len(short) < len(data)
    with pytest.raises(UsageError):
        vqcodec.decode(data, keep=LAYERS[name] + 1)


@pytest.mark.parametrize("name", ["mgvq-f16c32-g4", "xqgan-msvr10p2-4096", "fqgan-dual-16", "softvq-l-64"])
def test_every_command_takes_the_model(
    name: str, installed: Path, picture: Image.Image, invoke: Invoke, tmp_path: Path
) -> None:
    picture.crop((0, 0, 100, 70)).save(tmp_path / "a.png")
    file = tmp_path / "a.vqc"
    for command in (
        ("encode", tmp_path / "a.png", "-m", name),
        ("info", file),
        ("verify", file),
        ("decode", file, "-o", tmp_path / "b.png", "--region", "5,6,70,40"),
        ("preview", file, "-o", tmp_path / "b.html"),
        ("truncate", file, "-o", tmp_path / "c.vqc", "--keep", "1"),
        ("models", "verify", name),
        ("models", "show", name),
        ("models", "list"),
    ):
        code, out, err = invoke(*command)
        assert code == 0, (command, err)
    with Image.open(tmp_path / "b.png") as part:
        assert part.size == (70, 40)


def test_a_picture_smaller_than_a_window(installed: Path, picture: Image.Image) -> None:
    small_one = picture.crop((0, 0, 30, 41))
    for name in ("fqgan-dual-16", "softvq-l-64"):
        model = loading.load_model(name)
        data = vqcodec.encode(small_one, name)
        assert vqcodec.decode(data).size == (30, 41)
        assert [len(plane) for plane in vqcodec.decode_tokens(data).planes] == [1] * len(model.entropy.sizes)


def test_a_window_is_part_of_the_identity(models: Path, tmp_path: Path) -> None:
    system, config = find_release("xqgan-vp2-4096")[0], small("xqgan-vp2-4096")
    state = released(system, config)
    first = import_release(system, config, state, tmp_path / "a", "a").config
    second = import_release(system, structs.replace(config, overlap=16), state, tmp_path / "b", "a").config
    assert first.token_id != second.token_id
