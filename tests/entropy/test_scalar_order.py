"""Coding order of scalar planes: each position once, inputs coded before, bands put together as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.config.quantizers import UniformConfig
from vqcodec.entropy.scalar_order import DETAILS, PARITIES, Band, LayerBands, inputs, layers_of, own_inputs
from vqcodec.train.stepped.context import join, split
from vqcodec.transforms.lifting import lift

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=60)
@given(SHAPES, st.integers(0, 6))
def test_bands_hold_each_value_once(shape: tuple[int, int], number: int) -> None:
    layer = layers_of(3)[number]
    planes = np.arange(layer.width * shape[0] * shape[1]).reshape(layer.width, *shape)
    bands = layer.split(planes)
    assert (np.sort(np.concatenate([band.ravel() for band in bands.values()])) == planes.ravel()).all()
    assert (layer.join(bands, shape) == planes).all()
    assert layer.shapes(shape) == {band: part.shape for band, part in bands.items()}
    for band, part in bands.items():
        rows, columns = layer.places(band, shape)
        assert (planes.reshape(-1)[rows[:, None] + columns] == part).all()
    tensors = split(layer, torch.from_numpy(planes)[None])
    assert tensors.keys() == bands.keys()
    assert all((tensors[band][0].numpy() == part).all() for band, part in bands.items())
    assert (join(layer, tensors, shape)[0].numpy() == planes).all()


@settings(max_examples=8)
@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(2, 3))
def test_each_position_once_and_inputs_before(shape: tuple[int, int], levels: int) -> None:
    done: dict[Band, np.ndarray] = {}
    for layer in layers_of(levels):
        bands = layer.split(np.zeros((layer.width, *shape), np.int8))
        done |= {band: np.zeros(part.shape, bool) for band, part in bands.items()}
        for colour in layer.colours:
            for part in layer.passes(colour):
                py, px = PARITIES[part.number]
                for source in inputs(colour, part.band.name, part.number):
                    band = Band(colour - source.back, part.band.level + source.up, source.name)
                    if band not in done:
                        assert layer.low
                        assert band.level == levels + 4
                        continue
                    scale = 1 if source.up else 2
                    rows, columns = part.of(done[part.band]).shape
                    for y, x in np.ndindex(rows, columns):
                        at = (scale * y + source.dy + py * (scale - 1), scale * x + source.dx + px * (scale - 1))
                        if all(0 <= a < n for a, n in zip(at, done[band].shape, strict=True)):
                            assert done[band][at]
                assert not part.of(done[part.band]).any()
                part.of(done[part.band])[...] = True
        assert all(done[band].all() for band in bands)


@pytest.mark.parametrize(("number", "count"), [(0, 0), (1, 4), (2, 12), (3, 16)])
def test_neighbours_in_the_band_itself(number: int, count: int) -> None:
    assert len(own_inputs("h", number)) == count
    for name in (*DETAILS, "low"):
        assert inputs(0, name, number)[:count] == own_inputs(name, number)


@pytest.mark.parametrize("levels", [2, 3])
def test_layers_are_those_of_the_configuration(levels: int) -> None:
    layers = layers_of(levels)
    assert tuple(layer.width for layer in layers) == UniformConfig(levels).widths
    assert [layer.colours for layer in layers] == [(0, 1, 2), *[(0,), (1, 2)] * levels]


def test_a_band_is_where_the_wavelet_puts_it() -> None:
    """A vertical edge gives coefficients that are high along rows, `h`, in the in-place transform of the low band."""
    picture = torch.zeros(1, 3, 32, 32)
    picture[:, 0, :, 17:] = 1
    layer = LayerBands(3, 0)
    bands = layer.split(lift(picture)[0].numpy())
    finest = [np.abs(bands[Band(0, 3, name)]).max() for name in DETAILS]
    assert finest[0] > 0.1
    assert max(finest[1:]) < 1e-5
