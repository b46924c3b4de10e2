"""Files and tokens of a model with a quantization step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from PIL import Image

import vqcodec
from vqcodec import container
from vqcodec.encoder.scalar_encoder import step_and_weight
from vqcodec.errors import FormatError, UsageError
from vqcodec.models import loading, registry
from vqcodec.transforms.steps import coordinate, step_number, step_size

Outcome = tuple[int, str, str]


def psnr(a: Image.Image, b: Image.Image) -> float:
    error = np.asarray(a.convert("RGB")).astype(float) - np.asarray(b.convert("RGB"))
    return float(10 * np.log10(255**2 / np.square(error).mean()))


def test_quality_is_monotonic(stepped: str, photo: Image.Image) -> None:
    files = [vqcodec.encode(photo, stepped, quality=q, effort=5) for q in (1, 50, 100)]
    assert len(files[0]) < len(files[1]) < len(files[2])
    qualities = [psnr(vqcodec.decode(data), photo) for data in files]
    assert qualities[0] + 2 < qualities[1] < qualities[2] - 0.5
    assert qualities[2] > 25


def test_the_step_is_in_the_head_and_survives_truncation(stepped: str, photo: Image.Image) -> None:
    data = vqcodec.encode(photo, stepped, quality=50, effort=5)
    step = container.read(data).header.step
    assert step == vqcodec.decode_tokens(data).step
    assert step in range(20, 26)
    shorter = vqcodec.truncate(data, keep=2)
    assert container.read(shorter, allow_partial=True).header.step == step
    cut = vqcodec.truncate(data, max_bytes=len(data) * 3 // 4)
    assert container.read(cut, allow_partial=True).header.step == step
    assert psnr(vqcodec.decode(cut), photo) < psnr(vqcodec.decode(data), photo)


def test_every_prefix_decodes_better_than_the_one_before(stepped: str, photo: Image.Image) -> None:
    steps = list(vqcodec.previews(vqcodec.encode(photo, stepped, quality=80, effort=5)))
    found = [psnr(step.image, photo) for step in steps]
    assert len(found) == 5
    assert found == sorted(found)


def test_the_first_layer_has_colour(stepped: str) -> None:
    picture = Image.new("RGB", (64, 64), (220, 40, 90))
    for model in (stepped, "photo"):
        first = vqcodec.decode(vqcodec.encode(picture, model, quality=60, effort=5), keep=1)
        assert np.abs(np.asarray(first, int) - (220, 40, 90)).max() < 8


def test_budgets_and_least_quality(stepped: str, photo: Image.Image) -> None:
    for budget in (600, 1200):
        data = vqcodec.encode(photo, stepped, max_bytes=budget, effort=5)
        assert 0.9 * budget <= len(data) <= budget
    data = vqcodec.encode(photo, stepped, min_quality=("psnr", 27), effort=5)
    assert 27 <= psnr(vqcodec.decode(data), photo) < 27.6


def test_tokens_make_the_same_picture_and_a_file_of_the_same_tokens(stepped: str, photo: Image.Image) -> None:
    data = vqcodec.encode(photo, stepped, quality=60, effort=5)
    tokens = vqcodec.decode_tokens(data)
    assert (np.asarray(vqcodec.detokenize(tokens)) == np.asarray(vqcodec.decode(data))).all()
    again = vqcodec.decode_tokens(vqcodec.encode_tokens(tokens))
    assert all((a == b).all() for a, b in zip(tokens.planes, again.planes, strict=True))
    assert again.step == tokens.step


def test_arrays_keep_the_step(stepped: str, photo: Image.Image) -> None:
    from vqcodec.tokens.npz import read_arrays, write_arrays

    tokens = vqcodec.decode_tokens(vqcodec.encode(photo, stepped, quality=60, effort=5))
    back = read_arrays(write_arrays(tokens))
    assert back.step == tokens.step
    assert all((a == b).all() for a, b in zip(tokens.planes, back.planes, strict=True))


def test_refinement_lowers_the_error_at_equal_bytes(stepped: str, photo: Image.Image) -> None:
    """Random networks gain little; refined files have to decode and to be no worse."""
    plain, refined = (vqcodec.encode(photo, stepped, quality=60, effort=effort) for effort in (5, 8))
    assert psnr(vqcodec.decode(refined), photo) > psnr(vqcodec.decode(plain), photo) - 0.05
    assert len(refined) < 1.05 * len(plain)


@pytest.mark.parametrize("size", [(1, 1), (17, 3), (200, 16)])
def test_any_size(stepped: str, photo: Image.Image, size: tuple[int, int]) -> None:
    small = photo.crop((0, 0, *size))
    assert vqcodec.decode(vqcodec.encode(small, stepped, effort=5)).size == size


def test_large_pictures_have_several_tiles_and_regions(stepped: str, photo: Image.Image) -> None:
    large = photo.resize((2300, 64))
    data = vqcodec.encode(large, stepped, quality=40, effort=5)
    assert container.read(data).header.n_tiles == 2
    whole = np.asarray(vqcodec.decode(data))
    part = np.asarray(vqcodec.decode(data, region=(2000, 10, 200, 40)))
    assert np.abs(part.astype(int) - whole[10:50, 2000:2200]).max() <= 1


def test_planes_of_another_kind_of_file_are_refused(stepped: str, photo: Image.Image) -> None:
    import dataclasses

    data = vqcodec.encode(photo, stepped, quality=50, effort=5)
    tokens = vqcodec.decode_tokens(data)
    with pytest.raises(UsageError, match="a step is needed"):
        vqcodec.encode_tokens(dataclasses.replace(tokens, step=None))
    with pytest.raises(UsageError, match=r"step 64: 0\.\.63"):
        vqcodec.encode_tokens(dataclasses.replace(tokens, step=64))
    file = container.read(data)
    wide = container.write(dataclasses.replace(file.header, tile=4096), file.segments)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="tile side: 4096"):
        vqcodec.decode(wide)
    header = dataclasses.replace(file.header, step=None)
    without = container.write(header, file.segments)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="quantization step is missing"):
        vqcodec.decode(without)


def test_info_names_the_step(stepped: str, photo: Image.Image, tmp_path: Path, invoke: Callable[..., Outcome]) -> None:
    path = tmp_path / "x.vqc"
    path.write_bytes(vqcodec.encode(photo, stepped, quality=50, effort=5))
    code, out, _ = invoke("info", path, "--json")
    assert code == 0
    assert '"step": ' in out
    assert invoke("verify", path)[0] == 0


def test_samples_are_drawn(stepped: str) -> None:
    from vqcodec.sampling.draw import draw_tokens

    tokens = draw_tokens(stepped, 64, 48, seed=1)
    assert tokens.step is not None
    assert vqcodec.detokenize(tokens).size == (64, 48)


def test_steps_and_rates() -> None:
    assert step_size(8) == 2 * step_size(0)
    assert [step_number(step_size(n)) for n in range(64)] == list(range(64))
    assert step_number(1e-9) == 0
    assert step_number(1e9) == 63
    number, weight = step_and_weight(step_size(20) ** 2)
    assert (number, weight) == (20, pytest.approx(1))
    between = step_and_weight(step_size(20.3) ** 2)
    assert between[0] == 20
    assert between[1] == pytest.approx(2 ** (0.6 / 8))
    assert coordinate(0) < coordinate(30) < coordinate(63)


def test_the_networks_are_told_the_step(stepped: str) -> None:
    import torch

    tokenizer = loading.load_model(stepped).tokenizer
    planes = tokenizer.encode(torch.rand(1, 3, 32, 32) * 2 - 1, 10)
    z_q, kept = tokenizer.quantizer.dequantize(planes, 10)
    assert kept.shape == (1, 6, 8, 8)
    assert kept[0, -1].unique().item() == pytest.approx(coordinate(10))
    assert (tokenizer.decode(planes, keep=1, step=10) != tokenizer.decode(planes, step=10)).any()
    assert z_q.abs().max() > 0


def test_bright_flat_pictures_keep_their_brightness(stepped: str) -> None:
    """The coarsest wavelet coefficient of a bright area is the largest value that there is."""
    import torch

    tokenizer = loading.load_model(stepped).tokenizer
    z = tokenizer.encoder(torch.ones(1, 3, 256, 256))
    found, _ = tokenizer.quantizer.dequantize(tokenizer.quantizer.quantize(z, 0), 0)
    assert float((found - z).abs().max()) < step_size(0)


def test_parts_that_do_not_go_together_are_refused(stepped: str) -> None:

    from vqcodec.config.model import ConvConfig, check_model
    from vqcodec.errors import ModelError

    config = registry.find(stepped).config
    conv = structs.replace(config.tokenizer, backbone=ConvConfig((8, 8), (1, 1), (1, 1)))
    for wrong, message in (
        (structs.replace(config, tokenizer=conv), "go together"),
        (structs.replace(config, layers=((0, 1), (2,), tuple(range(3, 48)))), "its widths"),
        (structs.replace(config, tokenizer=structs.replace(config.tokenizer, window=256)), "0 needed"),
    ):
        with pytest.raises(ModelError, match=message):
            check_model(wrong, "model")
