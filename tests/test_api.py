"""The public functions on a tiny model of random weights: sizes, regions, prefixes, budgets, exactness."""

from __future__ import annotations

import io
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec import container
from vqcodec.errors import FormatError, ModelError, TargetError, UsageError
from vqcodec.geometry.rectangles import Rect
from vqcodec.inference import networks
from vqcodec.models import loading, registry


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    base = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray((base + rng.integers(-9, 10, base.shape)).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (97, 1), (16, 16), (17, 31), (149, 101), (640, 427)])
def test_round_trip_of_any_size(tiny_model: str, size: tuple[int, int]) -> None:
    image = picture(*size)
    data = vqcodec.encode(image, tiny_model)
    found = vqcodec.decode(data)
    assert found.size == size
    tokens = vqcodec.tokenize(image, tiny_model)
    again = vqcodec.decode_tokens(data)
    for a, b in zip(tokens.planes, again.planes, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(vqcodec.detokenize(tokens)))
    vqcodec.verify(data)


def test_encoding_twice_gives_the_same_bytes(tiny_model: str, photo: Image.Image) -> None:
    assert vqcodec.encode(photo, tiny_model) == vqcodec.encode(photo, tiny_model)


def test_windows_give_the_indices_and_pixels_of_the_whole(tiny_model: str) -> None:
    model = loading.load_model(tiny_model)
    pixels = np.asarray(picture(613, 457))
    whole = networks.pixels_to_planes(model, pixels)
    parts = networks.pixels_to_planes(model, pixels, window_px=96)
    different = sum(int((a != b).sum()) for a, b in zip(whole, parts, strict=True))
    assert different <= sum(p.size for p in whole) // 10_000
    region = Rect(0, 457, 0, 613)
    one = networks.planes_to_pixels(model, whole, region).astype(int)
    many = networks.planes_to_pixels(model, whole, region, window_px=96).astype(int)
    assert abs(one - many).max() <= 1


@pytest.mark.parametrize("region", [(0, 0, 1, 1), (500, 300, 101, 77), (3, 5, 600, 400), (612, 456, 1, 1)])
def test_region_is_the_crop_of_the_whole(tiny_model: str, region: tuple[int, int, int, int]) -> None:
    data = vqcodec.encode(picture(613, 457), tiny_model)
    x, y, w, h = region
    whole = np.asarray(vqcodec.decode(data), dtype=int)[y : y + h, x : x + w]
    part = np.asarray(vqcodec.decode(data, region=region), dtype=int)
    assert part.shape == (h, w, 3)
    assert abs(whole - part).max() <= 1


@pytest.mark.parametrize("region", [(0, 0, 0, 1), (-1, 0, 5, 5), (600, 0, 14, 5), (0, 457, 1, 1)])
def test_region_outside_is_a_usage_error(tiny_model: str, region: tuple[int, int, int, int]) -> None:
    data = vqcodec.encode(picture(613, 457), tiny_model)
    with pytest.raises(UsageError, match="613x457"):
        vqcodec.decode(data, region=region)


def test_keep_at_encode_truncate_and_decode_agree(tiny_model: str, photo: Image.Image) -> None:
    tokens = vqcodec.tokenize(photo, tiny_model)
    full = vqcodec.encode_tokens(tokens)
    sizes = []
    for keep in range(1, tokens.n_layers + 1):
        kept = vqcodec.encode_tokens(tokens, keep=keep)
        cut = vqcodec.truncate(full, keep=keep)
        sizes.append(len(kept))
        expected = np.asarray(vqcodec.detokenize(tokens, keep=keep))
        for found in (vqcodec.decode(kept), vqcodec.decode(cut), vqcodec.decode(full, keep=keep)):
            np.testing.assert_array_equal(np.asarray(found), expected)
        vqcodec.verify(kept)
        vqcodec.verify(cut)
    assert sizes == sorted(sizes)
    with pytest.raises(UsageError, match=r"1\.\.4"):
        vqcodec.decode(full, keep=5)


def test_budgets_are_kept_and_filled(tiny_model: str) -> None:
    full = vqcodec.encode(picture(900, 700), tiny_model)
    first = len(vqcodec.truncate(full, keep=1))
    for budget in range(first, len(full), 97):
        data = vqcodec.truncate(full, max_bytes=budget)
        assert 0.97 * budget - 60 <= len(data) <= budget
        assert vqcodec.decode(data).size == (900, 700)
    with pytest.raises(TargetError, match=str(first)):
        vqcodec.truncate(full, max_bytes=first - 1)
    assert vqcodec.truncate(full, max_bytes=len(full)) == full


def test_a_cut_layer_improves_evenly(tiny_model: str) -> None:
    """A half of a layer refines all parts of the picture, not its top alone."""
    full = vqcodec.encode(picture(400, 400), tiny_model)
    one, two = (len(vqcodec.truncate(full, keep=k)) for k in (1, 2))
    tokens = vqcodec.decode_tokens(vqcodec.truncate(full, max_bytes=(one + two) // 2))
    there = tokens.planes[1] >= 0
    half = there.shape[0] // 2
    assert there[:half].any()
    assert there[half:].any()
    assert not there.all()


def test_one_limit_at_a_time(tiny_model: str, photo: Image.Image) -> None:
    with pytest.raises(UsageError, match="only one"):
        vqcodec.encode(photo, tiny_model, keep=1, bpp=0.1)
    with pytest.raises(UsageError, match="exactly one"):
        vqcodec.truncate(vqcodec.encode(photo, tiny_model))


@pytest.mark.parametrize(
    "rate",
    [{"quality": 0}, {"quality": 101}, {"keep": 0}, {"keep": 5}, {"max_bytes": 0}, {"bpp": 0.0}, {"bpp": math.nan},
     {"bpp": math.inf}, {"min_quality": ("ssim", 0.9)}, {"min_quality": ("psnr", math.nan)}],
    ids=str,
)  # fmt: skip
def test_wrong_options_are_refused_before_a_network_runs(
    tiny_model: str, photo: Image.Image, monkeypatch: pytest.MonkeyPatch, rate: dict
) -> None:
    monkeypatch.setattr("vqcodec.inference.networks.pixels_to_planes", None)
    with pytest.raises(UsageError):
        vqcodec.encode(photo, tiny_model, **rate)


def test_a_budget_that_is_too_small_names_the_least(tiny_vqc: bytes) -> None:
    with pytest.raises(TargetError, match="ask for at least") as caught:
        vqcodec.truncate(tiny_vqc, max_bytes=40)
    least = int(str(caught.value).split()[-2])
    assert len(vqcodec.truncate(tiny_vqc, max_bytes=least)) == least
    with pytest.raises(TargetError):
        vqcodec.truncate(tiny_vqc, max_bytes=least - 1)


def test_min_quality(tiny_model: str, photo: Image.Image) -> None:
    assert len(vqcodec.encode(photo, tiny_model, min_quality=("psnr", 1.0))) > 0
    with pytest.raises(TargetError, match="reach"):
        vqcodec.encode(photo, tiny_model, min_quality=("psnr", 99.0))
    with pytest.raises(UsageError, match="sharpness"):
        vqcodec.encode(photo, tiny_model, min_quality=("sharpness", 1.0))


def test_previews_end_with_the_full_picture(tiny_model: str, photo: Image.Image) -> None:
    data = vqcodec.encode(photo, tiny_model)
    steps = list(vqcodec.previews(data))
    assert [step.keep for step in steps] == [1, 2, 3, 4]
    assert steps[-1].n_bytes == len(data)
    np.testing.assert_array_equal(np.asarray(steps[-1].image), np.asarray(vqcodec.decode(data)))
    for step in steps:
        shown = vqcodec.decode(data[: step.n_bytes], allow_partial=True)
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(step.image))
    assert [step.keep for step in vqcodec.previews(data, steps=2)] == [1, 4]


def test_every_prefix_decodes_or_is_refused(tiny_model: str) -> None:
    data = vqcodec.encode(picture(70, 50), tiny_model)
    decoded = 0
    for end in range(1, len(data)):
        with pytest.raises(FormatError):
            vqcodec.decode(data[:end])
        try:
            found = vqcodec.decode(data[:end], allow_partial=True)
        except FormatError:
            assert decoded == 0, "once a prefix decodes, all longer ones do"
        else:
            assert found.size == (70, 50)
            decoded += 1
    assert decoded > 0


def test_metadata_alpha_and_grey_survive(tiny_model: str, photo: Image.Image) -> None:
    rgba = photo.copy()
    mask = Image.linear_gradient("L").resize(photo.size)
    rgba.putalpha(mask)
    profile = io.BytesIO()
    photo.save(profile, "PNG")
    exif = Image.Exif()
    exif[0x010E] = "a caption"
    data = vqcodec.encode(rgba, tiny_model)
    found = vqcodec.decode(data)
    assert found.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(found.getchannel("A")), np.asarray(mask))
    part = vqcodec.decode(data, region=(3, 4, 20, 10))
    np.testing.assert_array_equal(np.asarray(part.getchannel("A")), np.asarray(mask)[4:14, 3:23])

    jpeg = io.BytesIO()
    photo.save(jpeg, "JPEG", exif=exif)
    tagged = Image.open(io.BytesIO(jpeg.getvalue()))
    assert vqcodec.decode(vqcodec.encode(tagged, tiny_model)).getexif()[0x010E] == "a caption"
    assert "exif" not in vqcodec.decode(vqcodec.encode(tagged, tiny_model, strip=True)).info
    assert vqcodec.decode(vqcodec.encode(photo.convert("L"), tiny_model)).mode == "L"


def test_indices_do_not_depend_on_threads_process_or_tile_order(tiny_model: str, photo: Image.Image) -> None:
    import torch

    data = vqcodec.encode(photo, tiny_model)
    expected = [plane.tobytes() for plane in vqcodec.decode_tokens(data).planes]
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            assert [plane.tobytes() for plane in vqcodec.decode_tokens(data).planes] == expected
    finally:
        torch.set_num_threads(before)
    code = (
        "import sys, hashlib, vqcodec\n"
        "tokens = vqcodec.decode_tokens(sys.stdin.buffer.read())\n"
        "print(hashlib.sha256(b''.join(p.tobytes() for p in tokens.planes)).hexdigest())\n"
    )
    import hashlib

    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, env=os.environ, check=True)
    assert done.stdout.decode().strip() == hashlib.sha256(b"".join(expected)).hexdigest()


def test_tiles_decode_alone_as_together(tiny_model: str) -> None:
    from vqcodec.geometry.token_layout import access_tiles
    from vqcodec.tokens.reading import read_tokens

    data = vqcodec.encode(picture(1100, 560), tiny_model)
    file = container.read(data)
    model = loading.load_model(tiny_model)
    whole = read_tokens(file, model)
    for tile in access_tiles(file.header, model.config.tokenizer):
        alone = read_tokens(file, model, area=tile.pixels)
        for a, b in zip(alone.planes, whole.planes, strict=True):
            np.testing.assert_array_equal(tile.of(a), tile.of(b))


@pytest.mark.parametrize(
    ("region", "needed"),
    [
        ((200, 200, 40, 30), {0}),
        # Its own tile ends at 512, but what the decoder sees around it does not.
        ((440, 200, 40, 30), {0, 1}),
        ((490, 490, 60, 60), {0, 1, 3, 4}),
        ((1190, 10, 10, 10), {2}),
    ],
)
def test_a_region_reads_only_the_tiles_it_and_its_halo_touch(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch, region: tuple[int, int, int, int], needed: set[int]
) -> None:
    from vqcodec.entropy.tile_segments import decode_tiles
    from vqcodec.tokens import reading

    data = vqcodec.encode(picture(1200, 700), tiny_model)
    layers = container.read(data).segments
    by_tile = {b"".join(segment or b"" for segment in tile): t for t, tile in enumerate(zip(*layers, strict=True))}
    assert len(by_tile) == 6
    x, y, w, h = region
    whole = np.asarray(vqcodec.decode(data), dtype=int)[y : y + h, x : x + w]
    read: list[int] = []

    def spy(model: object, segments: list[list[bytes]], *rest: object) -> object:
        read.extend(by_tile[b"".join(tile)] for tile in segments)
        return decode_tiles(model, segments, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "decode_tiles", spy)
    part = np.asarray(vqcodec.decode(data, region=region), dtype=int)
    assert sorted(read) == sorted(needed)
    assert abs(whole - part).max() <= 1


def test_overhead_is_bounded_and_reported(tiny_model: str) -> None:
    for size in ((1, 1), (640, 427), (1100, 560)):
        info = vqcodec.inspect(vqcodec.encode(picture(*size), tiny_model))
        assert info.overhead_bytes <= 32 + 6 * info.n_tiles * len(info.layers)
        coded = sum(layer.segment_bytes for layer in info.layers)
        assert coded + info.overhead_bytes + info.alpha_bytes + info.chunks_bytes == info.file_bytes
        assert info.model == "tiny"


def test_a_file_of_an_unknown_model_names_it(tiny_vqc: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="not installed"):
        vqcodec.decode(tiny_vqc)
    assert vqcodec.inspect(tiny_vqc).model is None
    assert len(vqcodec.truncate(tiny_vqc, keep=1)) < len(tiny_vqc)


def test_quality_is_monotone(tiny_model: str, photo: Image.Image) -> None:
    tokens = vqcodec.tokenize(photo, tiny_model)
    from vqcodec.models.ladder import step_for_quality

    config = registry.find(tiny_model).config
    keeps = [step_for_quality(config, quality).keep for quality in range(1, 101)]
    assert keeps == sorted(keeps)
    assert keeps[-1] == tokens.n_layers
    with pytest.raises(UsageError, match=r"1\.\.100"):
        step_for_quality(config, 0)


def test_grey_pictures_come_back_grey_in_all_channels(tiny_model: str, photo: Image.Image) -> None:
    from vqcodec.api import decode_picture

    found = decode_picture(vqcodec.encode(photo.convert("L"), tiny_model))
    assert found.grey
    assert (found.pixels == found.pixels[..., :1]).all()


def test_tokens_of_another_picture_are_refused(tiny_model: str, photo: Image.Image) -> None:
    from dataclasses import replace

    tokens = vqcodec.tokenize(photo, tiny_model)
    first = tokens.planes[0]
    for planes, message in (
        (tokens.planes[:-1], "4 planes"),
        ((first[:-1], *tokens.planes[1:]), "plane 0 is"),
        ((np.full_like(first, 16), *tokens.planes[1:]), r"has indices 0\.\.15"),
        ((np.full_like(first, -1), *tokens.planes[1:]), "gaps"),
    ):
        with pytest.raises(UsageError, match=message):
            vqcodec.encode_tokens(replace(tokens, planes=planes))
    with pytest.raises(UsageError, match="has indices"):
        vqcodec.detokenize(replace(tokens, planes=(np.full_like(first, 16), *tokens.planes[1:])))


def test_pictures_of_damaged_files_are_marked_incomplete(tiny_model: str, photo: Image.Image) -> None:
    data = bytearray(vqcodec.encode(photo, tiny_model))
    assert "incomplete" not in vqcodec.decode(bytes(data)).info
    assert all(step.complete for step in vqcodec.previews(bytes(data)))
    data[-3] ^= 1
    with pytest.raises(FormatError):
        vqcodec.decode(bytes(data))
    assert vqcodec.decode(bytes(data), allow_partial=True).info["incomplete"]
    assert not any(step.complete for step in vqcodec.previews(bytes(data)))


def test_a_side_beyond_the_format_is_a_limit(tiny_model: str) -> None:
    from vqcodec.errors import LimitError

    with pytest.raises(LimitError, match="1048577x1"):
        vqcodec.encode(np.zeros((1, 2**20 + 1, 3), np.uint8), tiny_model)


def test_the_smallest_budget_is_the_shortest_file(tiny_model: str, photo: Image.Image) -> None:
    tokens = vqcodec.tokenize(photo, tiny_model)
    smallest = vqcodec.encode_tokens(tokens, keep=1)
    assert vqcodec.encode_tokens(tokens, max_bytes=len(smallest)) == smallest
    with pytest.raises(TargetError, match=f"at least {len(smallest)} bytes"):
        vqcodec.encode_tokens(tokens, max_bytes=len(smallest) - 1)


def test_budgets_between_two_quantization_steps_have_complete_files(photo: Image.Image) -> None:
    """Sizes jump by 2 to 5 % from one step to the next; budgets in such a gap are filled as well as others."""
    sizes = [len(vqcodec.encode(photo, quality=quality, effort=1)) for quality in (30, 70)]
    for budget in np.linspace(*sizes, 14).round().astype(int).tolist():
        data = vqcodec.encode(photo, max_bytes=budget, effort=1)
        assert 0.97 * budget <= len(data) <= budget
        assert not vqcodec.inspect(data).cut, budget
