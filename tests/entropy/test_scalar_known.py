"""Inputs of the scalar context network: positions with inputs other than 0, their values, sizes and slopes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vqcodec.config.quantizers import LARGEST
from vqcodec.entropy.scalar_known import SIZE, KnownValues, log_size
from vqcodec.entropy.scalar_network import ROWS, largest_of
from vqcodec.entropy.scalar_order import AROUND, DETAILS, PARITIES, Band, Pass, inputs, layers_of
from vqcodec.train.stepped.context_inputs import KnownBatch

LAYERS = layers_of(2)


def sparse(shape: tuple[int, int], seed: int, share: float) -> dict[Band, np.ndarray]:
    """Values of all bands, some bands empty."""
    rng, found = np.random.default_rng(seed), {}
    for layer in LAYERS:
        for band, size in layer.shapes(shape).items():
            values = rng.integers(-LARGEST, LARGEST + 1, size) * (rng.random(size) < share)
            found[band] = (values * (rng.random() < 0.7)).astype(np.int32)
    return found


def window(bands: dict[Band, np.ndarray], band: Band, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Values at rows and columns, 0 outside the band and in bands that do not exist."""
    plane = np.pad(bands.get(band, np.zeros((50, 50), np.int32)), 5)
    return plane[5 + rows[:, None], 5 + columns]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (9, 14), (33, 20)])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3])
def test_active_positions_and_inputs_are_those_of_single_values(shape: tuple[int, int], share: float) -> None:
    whole = sparse(shape, 5, share)
    known, coded = KnownValues(LAYERS, shape), {band: np.zeros_like(part) for band, part in whole.items()}
    for layer in LAYERS:
        known.begin_layer(layer)
        for part in (part for colour in layer.colours for part in layer.passes(colour)):
            (rows, columns), (py, px) = known.positions(part), PARITIES[part.number]
            assert (rows, columns) == part.of(whole[part.band]).shape
            sources = inputs(part.band.colour, part.band.name, part.number)
            expected = np.zeros((len(sources), rows, columns), np.int64)
            for i, source in enumerate(sources):
                y, x = 2 * np.arange(rows) + py, 2 * np.arange(columns) + px
                if source.up:
                    y, x = y // 2, x // 2
                expected[i] = window(coded, source.band_of(part.band), y + source.dy, x + source.dx)
            if part.band.name != "low":
                active = np.flatnonzero(expected.any(0))
                assert (known.active(part) == active).all()
                sizes = np.zeros((len(sources), len(active)), np.float32)
                values = np.zeros((len(sources) + len(AROUND), len(active)), np.float32)
                if len(active):
                    known.gather(part, active, values, sizes)
                flat = expected.reshape(len(sources), -1)[:, active]
                assert (values[: len(sources)] == flat).all()
                assert (sizes == log_size(flat) * SIZE).all()
            part.of(coded[part.band])[...] = part.of(whole[part.band])
            known.fill(part, np.ascontiguousarray(part.of(whole[part.band])))


@pytest.mark.parametrize("shape", [(1, 9), (7, 1), (9, 14), (33, 20)])
def test_the_float_network_sees_the_same(shape: tuple[int, int]) -> None:
    whole = sparse(shape, 11, 0.05)
    batch = KnownBatch({band: torch.from_numpy(np.stack([part, part])).float() for band, part in whole.items()})
    known = KnownValues(LAYERS, shape)
    for layer in LAYERS:
        known.begin_layer(layer)
        for part in (part for colour in layer.colours for part in layer.passes(colour)):
            if part.band.name != "low":
                active = known.active(part)
                at, values, sizes = batch.active(part)
                n, columns = len(active), known.positions(part)[1]
                assert at[0].tolist() == [0] * n + [1] * n
                assert ((at[1] * columns + at[2]).numpy().reshape(2, n) == active).all()
                if n:
                    found = np.zeros((values.shape[1] + len(AROUND), n), np.float32)
                    of_found = np.zeros((values.shape[1], n), np.float32)
                    known.gather(part, active, found, of_found)
                    assert (found == torch.cat([values, batch.slopes(part, at)], 1)[n:].numpy().T).all()
                    assert (of_found == sizes[n:].numpy().T * SIZE).all()
            known.fill(part, np.ascontiguousarray(part.of(whole[part.band])))


def test_a_layer_can_begin_again() -> None:
    """Encoders code a layer after a search: values of the search leave nothing behind."""
    shape, first, second = (9, 14), sparse((9, 14), 1, 0.3), sparse((9, 14), 2, 0.1)
    fresh, again = KnownValues(LAYERS, shape), KnownValues(LAYERS, shape)
    for layer in LAYERS:
        for known, rounds in ((fresh, (second,)), (again, (first, second, first, second))):
            for bands in rounds:
                known.begin_layer(layer)
                for part in (part for colour in layer.colours for part in layer.passes(colour)):
                    inputs_of(known, part)
                    known.fill(part, np.ascontiguousarray(part.of(bands[part.band])))
        for part in (part for colour in layer.colours for part in layer.passes(colour)):
            expected, found = inputs_of(fresh, part), inputs_of(again, part)
            assert all((a == b).all() for a, b in zip(expected, found, strict=True))


def inputs_of(known: KnownValues, part: Pass) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n_inputs = len(inputs(part.band.colour, part.band.name, part.number))
    at = np.zeros(0, np.int64) if part.band.name == "low" else known.active(part)
    values, sizes = np.zeros((n_inputs + len(AROUND), len(at)), np.float32), np.zeros((n_inputs, len(at)), np.float32)
    if len(at):
        known.gather(part, at, values, sizes)
    return at, values, sizes


def test_keys_have_room_for_all_inputs() -> None:
    counts = [len(inputs(colour, name, number)) for colour in range(3) for name in DETAILS for number in range(4)]
    assert max(counts) + len(AROUND) <= ROWS


@pytest.mark.parametrize("largest", [1, 3, 4095, 2**17 - 1, 2**17, 2**19])
def test_the_first_largest_value_gives_the_sign(largest: int) -> None:
    x = np.random.default_rng(largest).integers(-min(largest, 3), min(largest, 3) + 1, (91, 300)).astype(np.float32)
    x[np.random.default_rng(0).random(x.shape) < 0.02] *= largest // 3 or 1
    x[0, x.any(0) == 0] = -largest
    most, negative = largest_of(x, np.empty_like(x))
    assert (most == np.abs(x).max(0)).all()
    first = np.abs(x).argmax(0)
    assert (negative == (x[first, np.arange(x.shape[1])] < 0)).all()
