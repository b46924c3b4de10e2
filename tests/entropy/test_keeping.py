"""Files that keep different numbers of layers from place to place: the map, its coder, and what encoders leave out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vqcodec
from vqcodec import container
from vqcodec.encoder.adaptive_layers import maps_of
from vqcodec.encoder.index_encoder import Encoding
from vqcodec.encoder.index_selection import Choice, choose_tiles
from vqcodec.encoder.latent_refinement import Errors, errors_of
from vqcodec.entropy.coder import TileDecoder, TileEncoder
from vqcodec.entropy.context_model import ContextModel
from vqcodec.entropy.layer_map import code_map, everything, map_bits, map_of, map_shape, positions
from vqcodec.entropy.tiles import decode_tiles, encode_tiles
from vqcodec.errors import FormatError, UsageError
from vqcodec.geometry.rectangles import Rect
from vqcodec.image.picture import as_picture
from vqcodec.models.registry import BUNDLED, read_config
from vqcodec.planes import MISSING
from vqcodec.tokens.tokens import write_tokens

from .test_prior import SIZES, a_prior, some_tiles

LAYERS = [[0], [1, 2]]
SAMPLE = Path(__file__).parents[2] / "samples" / "still_life.png"


@pytest.fixture(scope="module")
def model() -> ContextModel:
    return ContextModel(SIZES, a_prior(spread=0.3).tensors())


def some_map(rng: np.random.Generator, shape: tuple[int, int], most: int = 2) -> np.ndarray:
    return rng.integers(0, most + 1, map_shape(shape)).astype(np.int32)


def dropped(planes: list[np.ndarray], kept: np.ndarray) -> list[np.ndarray]:
    """`planes` without what the map leaves out."""
    layer = {s: k for k, layer in enumerate(LAYERS) for s in layer}
    return [np.where(positions(kept, p.shape) > layer[s], p, MISSING).astype(np.int32) for s, p in enumerate(planes)]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 13), width=st.integers(1, 13))
def test_maps_and_what_they_keep_come_back(model: ContextModel, seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (height, width)
    maps = [some_map(rng, shape), some_map(rng, shape), everything(shape)]
    tiles = [dropped(planes, kept) for planes, kept in zip(some_tiles(seed, [shape] * 3), maps, strict=True)]
    segments = encode_tiles(model, tiles, LAYERS, maps)
    for keep in (1, 2):
        ending = "complete" if keep == 2 else "layer"
        given = [segment[:keep] for segment in segments]
        found = decode_tiles(model, given, [(shape,) * 3] * 3, LAYERS, ending, mapped=True)
        for ours, theirs in zip(tiles, found, strict=True):
            for s in (s for layer in LAYERS[:keep] for s in layer):
                np.testing.assert_array_equal(ours[s], theirs[s])
    for planes, kept in zip(tiles, maps, strict=True):
        seen = map_of(planes, LAYERS)
        np.testing.assert_array_equal(np.minimum(kept, 2), 2 if seen is None else seen)


def test_what_is_left_out_takes_nothing(model: ContextModel) -> None:
    [planes] = some_tiles(1, [(12, 12)])
    nothing = np.zeros((3, 3), np.int32)
    [segments] = encode_tiles(model, [dropped(planes, nothing)], LAYERS, [nothing])
    assert sum(map(len, segments)) <= 8  # nine entries alike
    [whole] = encode_tiles(model, [planes], LAYERS)
    assert sum(map(len, whole)) > 100


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_a_cut_stream_gives_its_first_indices(model: ContextModel, seed: int, share: float) -> None:
    kept = some_map(np.random.default_rng(seed), (9, 10))
    [planes] = some_tiles(seed, [(9, 10)])
    tile = dropped(planes, kept)
    [segments] = encode_tiles(model, [tile], LAYERS, [kept])
    data = b"".join(segments)
    cut = [data[: 4 * int(share * len(data) / 4)], b""]
    [found] = decode_tiles(model, [cut], [((9, 10),) * 3], LAYERS, "cut", mapped=True)
    order = model.order((9, 10))
    ours, theirs = (np.concatenate([p.reshape(-1)[order] for p in planes]) for planes in (tile, found))
    there = ours != MISSING
    n_known = int((theirs != MISSING).sum())
    assert n_known >= share * there.sum() - 60  # the map, and what the state holds
    np.testing.assert_array_equal(theirs[there][:n_known], ours[there][:n_known])
    assert (theirs[there][n_known:] == MISSING).all()


def test_bits_of_a_map_are_those_of_its_stream() -> None:
    kept = np.repeat(np.repeat(some_map(np.random.default_rng(1), (40, 40), 16), 5, 0), 4, 1)
    coder = TileEncoder()
    code_map(coder, kept.copy())
    [segment] = coder.segments()
    assert abs(8 * len(segment) - map_bits(kept)) < 64
    found = np.full_like(kept, MISSING)
    code_map(TileDecoder([segment], cut=False), found)
    np.testing.assert_array_equal(found, kept)
    assert map_bits(kept) < map_bits(np.random.default_rng(2).permutation(kept.ravel()).reshape(kept.shape))


GOLDEN = [[0, 0, 0, 3, 3, 2, 0], [5, 1, 3, 15, 3, 4, 0], [3, 1, 4, 6, 0, 4, 0], [1, 5, 4, 12, 9, 3, 0]]


def test_a_map_is_always_the_same_bytes() -> None:
    coder = TileEncoder()
    code_map(coder, np.array(GOLDEN, np.int32))
    assert coder.segments()[0].hex() == "88b93603e23f0ee0d3ad666494bec2ce"


def test_its_tables_are_as_format_md_says() -> None:
    """The frequencies that each entry is coded by, from the text of FORMAT.md."""

    class Recorder(TileEncoder):
        def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
            seen.append([int(f) for f in table])

    seen: list[list[int]] = []
    code_map(Recorder(), np.array(GOLDEN, np.int32))
    expected = []
    for y, row in enumerate(GOLDEN):
        for x in range(len(row)):
            before = [v for line in GOLDEN[:y] for v in line] + row[:x]
            near = ([GOLDEN[y - 1][x]] if y else []) + ([row[x - 1]] if x else [])
            expected.append([1 + 4 * before.count(v) + 12 * near.count(v) for v in range(17)])
    assert seen == expected


def test_gaps_of_other_shapes_are_no_maps(model: ContextModel) -> None:
    [planes] = some_tiles(1, [(9, 10)])
    assert map_of(planes, LAYERS) is None
    for s, place in ((1, np.s_[0:4, 0:4]), (0, np.s_[0:4, 0:4]), (2, np.s_[3, 3])):
        broken = [plane.copy() for plane in planes]
        broken[s][place] = MISSING
        with pytest.raises(ValueError, match="whole blocks"):
            map_of(broken, LAYERS)


def test_choosing_with_a_map_is_coding_what_was_chosen(model: ContextModel) -> None:
    rng = np.random.default_rng(3)
    shapes, kept = [((9, 10),) * 3] * 2, [some_map(rng, (9, 10)), np.zeros((3, 3), np.int32)]
    latent = rng.random((2, 3, 90, max(SIZES)), np.float32)

    def distances(tile: int, s: int, at: np.ndarray, chosen: object) -> np.ndarray:
        found: np.ndarray = latent[tile, s, at, : SIZES[s]]
        return found

    found = choose_tiles(model, distances, np.full(3, 0.05), shapes, LAYERS, coded=True, maps=kept, itemised=True)
    segments = encode_tiles(model, [choice.planes for choice in found], LAYERS, kept)
    assert [choice.segments for choice in found] == segments
    for choice, of_tile in zip(found, kept, strict=True):
        for s, plane in enumerate(choice.planes):
            gone = positions(of_tile, (9, 10)) <= (s > 0)
            np.testing.assert_array_equal(plane == MISSING, gone)
            assert not choice.spent[s][gone].any()


def test_blocks_keep_what_is_worth_its_bits() -> None:
    cost = np.full((3, 8, 8), 9.0)
    cost[1, :, :4] = 1
    cost[2, :, 4:] = 1
    [kept] = maps_of([cost], 0.01) or [None]
    assert kept is not None
    assert kept.tolist() == [[1] * 4 + [16] * 4] * 8
    assert maps_of([cost], 100.0) is None  # the map costs more than it saves


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    with Image.open(SAMPLE) as image:
        return image.convert("RGB").crop((0, 0, 600, 300))


@pytest.fixture(scope="module")
def mapped(picture: Image.Image) -> bytes:
    """A small file with maps, of two tiles."""
    quality = read_config(BUNDLED / "photo").ladder[1].quality
    data = vqcodec.encode(picture, "photo", quality=quality, effort=7)
    assert container.read(data).header.mapped
    return data


def test_files_with_maps(picture: Image.Image, mapped: bytes, tmp_path: Path) -> None:
    encoding = Encoding(as_picture(picture), "photo", effort=7)
    step = encoding.ladder[1]
    tokens = encoding.tokens(step.rate, step.keep)
    found = vqcodec.decode_tokens(mapped)
    assert any((plane == MISSING).any() for plane in tokens.planes)
    for ours, theirs in zip(tokens.planes, found.planes, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert mapped == write_tokens(found, encoding.model)
    whole = np.asarray(vqcodec.decode(mapped))
    part = np.asarray(vqcodec.decode(mapped, region=(470, 100, 90, 80)))
    assert np.abs(whole[100:180, 470:560].astype(int) - part).max() <= 1
    for keep in (1, 3):
        cut = vqcodec.truncate(mapped, keep=keep)
        np.testing.assert_array_equal(np.asarray(vqcodec.decode(cut)), np.asarray(vqcodec.decode(mapped, keep=keep)))
    assert len(vqcodec.truncate(mapped, max_bytes=len(mapped) - 60)) <= len(mapped) - 60
    vqcodec.verify(mapped)


def test_they_are_the_better_ones(picture: Image.Image) -> None:
    """By the decoder's error and the bits of the whole picture."""
    encoding = Encoding(as_picture(picture), "photo", effort=7)
    latent = encoding._target(24.0, encoding.model.layers[:8])
    tiles = encoding.tiles()
    found, is_mapped = encoding._dropping(latent, tiles, 24.0, encoding.model.layers[:8], True)
    plain = latent.choose(tiles, 24.0, encoding.model.layers[:8], True)
    assert is_mapped
    costs = []
    [beside] = errors(encoding, plain)
    for choices in (plain, found):
        [error] = errors(encoding, choices)
        n_bytes = sum(len(s) for c in choices for s in c.segments)
        costs.append(error.beside(beside) + latent.bit_error * 24.0 * 8 * n_bytes)
    assert costs[1] < costs[0]


def errors(encoding: Encoding, choices: list[Choice]) -> list[Errors]:
    """Of the whole picture."""
    pixels = encoding.picture.pixels
    planes = encoding._assembled(encoding.tiles(), [c.planes for c in choices], encoding.model.layers[:8])
    return errors_of(encoding.model, pixels, planes, [Rect(0, pixels.shape[0], 0, pixels.shape[1])])


def test_models_without_a_context_model_have_none(tiny_model: str, photo: Image.Image, mapped: bytes) -> None:
    tokens = vqcodec.tokenize(photo, tiny_model)
    planes = [plane.copy() for plane in tokens.planes]
    planes[-1][:4, :4] = MISSING
    with pytest.raises(UsageError, match="gaps"):
        vqcodec.encode_tokens(replace(tokens, planes=tuple(planes)))
    file = container.read(vqcodec.encode_tokens(tokens))
    header = replace(file.header, mapped=True)
    segments = [[segment or b"" for segment in layer] for layer in file.segments]
    with pytest.raises(FormatError, match="flags"):
        vqcodec.decode(container.write(header, segments))
