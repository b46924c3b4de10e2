"""Scalar context model: exact, equal to its float network, at most the bits of adaptive tables, bad tensors refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from vqcodec.config.quantizers import LARGEST
from vqcodec.entropy import scalar_network
from vqcodec.entropy.rans import TileEncoder
from vqcodec.entropy.scalar_context import ADAPTIVE, CONTEXT, EMPTY, MODEL, ScalarContext, mirrored, pass_bits
from vqcodec.entropy.scalar_known import KnownValues
from vqcodec.entropy.scalar_order import PARITIES
from vqcodec.entropy.tile_segments import decode_tile, encode_tile
from vqcodec.runtime import threads
from vqcodec.sampling.draw import Drawer

from ..rans import AnsDecoder, decode_adaptive_plane
from ..scalar_reference import Reader
from ..stepped import LEVELS, WIDTHS

ENDS = np.cumsum([0, *WIDTHS]).tolist()
LAYERS = [list(range(a, b)) for a, b in itertools.pairwise(ENDS)]
D = ENDS[-1]


@pytest.fixture(scope="module")
def tensors(stepped_folder: Path) -> dict[str, np.ndarray]:
    found = load_file(stepped_folder / "model.safetensors")
    return {name: value for name, value in found.items() if name.startswith(MODEL)}


@pytest.fixture(scope="module")
def model(tensors: dict[str, np.ndarray]) -> ScalarContext:
    return ScalarContext(LEVELS, tensors)


def values(shape: tuple[int, int], seed: int = 0, size: float = 3.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scale = size / (1 + np.arange(D))[:, None, None]
    found = np.round(rng.laplace(size=(D, *shape)) * scale)
    found[0] += np.round(np.add.outer(np.arange(shape[0]), np.arange(shape[1])) * size / 4)
    result: np.ndarray = found.clip(-LARGEST, LARGEST).astype(np.int32)
    return result


def typical(model: ScalarContext, shape: tuple[int, int], step: int, seed: int = 0) -> np.ndarray:
    """Values drawn from the model, so that contexts save bits."""
    planes = [np.full(shape, -1, np.int32) for _ in range(D)]
    model.at(step).code_tiles([Drawer(np.random.default_rng(seed))], [planes], LAYERS)
    return np.stack(planes) - LARGEST


def planes_of(found: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(plane + LARGEST) for plane in found]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (12, 17), (33, 20)])
@pytest.mark.parametrize("step", [0, 30, 63])
def test_round_trip_of_every_prefix(model: ScalarContext, shape: tuple[int, int], step: int) -> None:
    planes = planes_of(values(shape, step, 0.1 if step == 63 else 40.0))
    at = model.at(step)
    segments = encode_tile(at, planes, LAYERS)
    for keep in range(1, 6):
        found = decode_tile(at, segments[:keep], [shape] * D, LAYERS, "complete" if keep == 5 else "layer")
        there = {s for layer in LAYERS[:keep] for s in layer}
        for s, (plane, back) in enumerate(zip(planes, found, strict=True)):
            assert (back == (plane if s in there else -1)).all()


def test_cut_streams_hold_their_first_values(model: ScalarContext) -> None:
    planes = planes_of(values((16, 16)))
    at = model.at(20)
    segments = encode_tile(at, planes, LAYERS)
    known = 0
    for words in range(len(segments[1]) // 4 + 1):
        parts = [segments[0], segments[1][: 4 * words]]
        found = decode_tile(at, parts, [(16, 16)] * D, LAYERS, "cut")
        for plane, back in zip(planes, found, strict=True):
            assert ((back == plane) | (back == -1)).all()
        now = sum(int((back >= 0).sum()) for back in found[:6])
        assert now >= known
        known = now
    assert known == 6 * 256


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_of_a_pass_do_not_change_the_stream(
    model: ScalarContext, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes, at = planes_of(values((33, 20))), model.at(20)
    expected = encode_tile(at, planes, LAYERS)
    monkeypatch.setattr(scalar_network, "CHUNK", 7)
    monkeypatch.setattr(scalar_network, "LEAST", 2)
    monkeypatch.setattr(threads, "_count", count)
    assert encode_tile(at, planes, LAYERS) == expected
    found = decode_tile(at, expected, [(33, 20)] * D, LAYERS)
    assert all((a == b).all() for a, b in zip(found, planes, strict=True))


@pytest.mark.parametrize(
    ("n", "count", "parts"),
    [(0, 2, 0), (1, 2, 1), (2047, 2, 1), (2048, 2, 2), (8193, 1, 2), (20_000, 2, 4), (20_000, 3, 3), (5000, 8, 4)],
)
def test_number_of_parts(n: int, count: int, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_count", count)
    assert scalar_network.parts_of(n) == parts


def test_bits_depend_on_the_step(model: ScalarContext) -> None:
    planes = planes_of(typical(model, (16, 16), 5))
    assert encode_tile(model.at(5), planes, LAYERS) != encode_tile(model.at(45), planes, LAYERS)
    with pytest.raises(ValueError, match="step 64"):
        model.at(64)


def test_values_of_the_model_are_coded_in_context(model: ScalarContext) -> None:
    given = typical(model, (17, 21), 30)
    coder = _Modes()
    model.at(30).code_tiles([coder], [planes_of(given)], LAYERS)
    assert CONTEXT in coder.modes
    found = decode_tile(model.at(30), coder.segments(), [(17, 21)] * D, LAYERS)
    assert all((a == b).all() for a, b in zip(found, planes_of(given), strict=True))


def test_bits_of_passes_are_those_of_the_stream(model: ScalarContext) -> None:
    shape = (40, 48)
    given = typical(model, shape, 20)
    coder = _Modes()
    model.at(20).code_tiles([coder], [planes_of(given)], LAYERS)
    known, compared = KnownValues(model.layers, shape), 0
    for k, (layer, segment) in enumerate(zip(model.layers, coder.segments(), strict=True)):
        bands = layer.split(given[model.planes(k)])
        _, predicted = model.at(20).select(k, known, lambda part, *_, bands=bands: part.of(bands[part.band]))
        bits = sum(pass_bits(model.tables, found, found.part.of(bands[found.part.band])) for found in predicted)
        if coder.modes[k] == CONTEXT:
            assert 8 * len(segment) == pytest.approx(bits, rel=0.01, abs=64)
            compared += bits > 1000
    assert compared


def test_float_network_predicts_the_same(model: ScalarContext, stepped_folder: Path) -> None:
    """Locations and scales differ by the rounding of activations; bits of the planes agree to about 1 %."""
    from vqcodec.train.stepped.context import ContextNet

    given = values((20, 24), 3, 0.4)
    net = ContextNet(LEVELS)
    net.load_state_dict(_float_state(net, load_file(stepped_folder / "model.safetensors")))
    with torch.no_grad():
        inputs = (torch.from_numpy(given)[None].float(), torch.tensor([20.0]))
        expected = net(*inputs)[0].sum((1, 2)).numpy()
        locations, scales = (part[0].numpy() for part in net.predict(*inputs))
    at, known = model.at(20), KnownValues(model.layers, (20, 24))
    found = []
    for k, layer in enumerate(model.layers):
        bands = layer.split(given[model.planes(k)])
        bits = {band: np.zeros(part.shape, np.float32) for band, part in bands.items()}
        chosen, predicted = at.select(k, known, lambda part, *_, bands=bands: part.of(bands[part.band]))
        assert (chosen == given[model.planes(k)]).all()
        wanted = [layer.split(part[model.planes(k)]) for part in (locations, scales)]
        for prediction in predicted:
            part, (location, scale) = prediction.part, prediction.dense()
            assert part.of(wanted[0][part.band]) == pytest.approx(location / 8, rel=0.05, abs=0.25)
            assert part.of(wanted[1][part.band]).clip(0, model.tables.classes - 1) == pytest.approx(scale, abs=1)
            row, residual = mirrored(location, scale, part.of(bands[part.band]))
            part.of(bits[part.band])[...] = model.tables.bits_of(row, residual)
        found += layer.join(bits, (20, 24)).sum((1, 2)).tolist()
    assert found == pytest.approx(expected, rel=0.06, abs=20)


def _float_state(net: torch.nn.Module, tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Float weights whose rounded values are the integer tensors, without the tables of the mixture."""
    from vqcodec.train.stepped.start import context_weights

    return {**context_weights(tensors, net), "mixture": net.state_dict()["mixture"]}  # type: ignore[arg-type]


class _Modes(TileEncoder):
    """An encoder that stores the modes of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[int] = []

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        if len(table) == 3 and len(symbols) == 1 and table.sum() == 64:
            self.modes.append(int(symbols[0]))
        super().code(table, symbols)


def test_a_layer_never_costs_more_than_adaptive_tables(model: ScalarContext) -> None:
    """Values that the network gives low probability: constant, far from 0, in a layer of weak channels."""
    given = np.zeros((D, 24, 24), np.int32)
    given[24:] = 77
    coder = _Modes()
    model.at(10).code_tiles([coder], [planes_of(given)], LAYERS)
    assert coder.modes == [EMPTY] * 4 + [ADAPTIVE]
    coded = 8 * sum(map(len, coder.segments()))
    bands = model.layers[4].split(given[24:]).values()
    adaptive = sum(model.adaptive.least_bits(0, band.reshape(-1) + LARGEST) for band in bands)
    assert coded <= adaptive + 16 + 64
    found = decode_tile(model.at(10), coder.segments(), [(24, 24)] * D, LAYERS)
    assert all((a == b).all() for a, b in zip(found, planes_of(given), strict=True))


def test_empty_layers_take_few_bits(model: ScalarContext) -> None:
    segments = encode_tile(model.at(10), planes_of(np.zeros((D, 32, 32), np.int32)), LAYERS)
    assert sum(map(len, segments)) <= 8


def test_frequencies_do_not_depend_on_blas_or_order(model: ScalarContext) -> None:
    """All sums are integers below 2**24, so float64 gives the same frequencies."""
    first = model.nets[2][2].first["d3"]
    assert 127 * np.abs(first).sum(0).max() < 2**24
    inputs = np.random.default_rng(0).integers(-127, 128, (50, len(first))).astype(np.float32)
    assert ((inputs @ first) == (inputs.astype(np.float64) @ first.astype(np.float64))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("scalar.0.0.scale"), "scalar.0.0.scale: missing"),
        (lambda t: t.pop("scalar.0.0.hidden_bias"), "integers of shape"),
        (lambda t: t.update({"scalar.0.0.hidden": np.int8([3])[0]}), "integers of shape"),
        (lambda t: t.update({"scalar.0.0.level": t["scalar.0.0.level"].astype(np.float32)}), "integers of shape"),
        (lambda t: t.update({"scalar.0.2.first.h1": t["scalar.0.2.first.h1"][:-1]}), "integers of shape"),
        (lambda t: t.update({"scalar.other": np.zeros(1, np.int8)}), "scalar.other: unknown"),
        (lambda t: t.update({"scalar.0.0.bias.low0": np.full(32, 2**24, np.int32)}), "beyond the exact"),
        (lambda t: t.update({"scalar.tables": t["scalar.tables"] * 2}), "residual table 0"),
        (lambda t: t.pop("scalar.1.0.shape_location.d3"), "scalar.1.0.shape_location.d3: missing"),
        (lambda t: t.update({"scalar.0.0.shape_first.low1": np.zeros((12, 32), np.int8)}), "low1: unknown"),
        (lambda t: t.update({"scalar.1.0.shape_first.h1": t["scalar.1.0.shape_first.h1"][:-8]}), "integers of shape"),
        *(
            (lambda t, name=name: t.update({name: np.full_like(t[name], 4300, np.int16)}), message)
            for name, message in (
                ("scalar.1.0.shape_first.h1", "first layer of the shape: sums"),
                ("scalar.1.0.shape_gate", "first layer of the shape: sums"),
                ("scalar.1.0.shape_hidden", "hidden layer of the shape: sums"),
                ("scalar.1.0.shape_location.v2", "location of the shape: sums"),
                ("scalar.1.0.shape_scale", "hidden layer: sums"),
            )
        ),
        (lambda t: t.update({"scalar.1.0.shape_bias.d0": np.full(32, -(2**24), np.int32)}), "of the shape: sums"),
        (lambda t: t.update({"scalar.1.0.shape_hidden_bias": np.full(32, 2**24, np.int32)}), "of the shape: sums"),
    ],
)
def test_bad_tensors_are_refused(tensors: dict[str, np.ndarray], change: object, message: str) -> None:
    broken = dict(tensors)
    change(broken)  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        ScalarContext(LEVELS, broken)


def test_identity_depends_on_the_tensors(tensors: dict[str, np.ndarray], model: ScalarContext) -> None:
    same = {name: value.astype(np.int32) for name, value in tensors.items() if name != "scalar.check"}
    assert ScalarContext(LEVELS, same).identity() == model.identity()
    tensors = {name: value for name, value in tensors.items() if name != "scalar.check"}
    other = {**tensors, "scalar.0.0.scale": tensors["scalar.0.0.scale"] + 1}
    assert ScalarContext(LEVELS, other).identity() != model.identity()


@pytest.mark.parametrize(
    ("shape", "step", "size"),
    [
        ((18, 19), 12, 0.0),
        ((3, 5), 50, 30.0),
        ((1, 9), 30, 0.0),
        ((7, 1), 30, 0.0),
        ((1, 1), 12, 0.0),
        ((33, 20), 5, 0.0),
    ],
)
def test_an_independent_decoder_agrees(
    model: ScalarContext, tensors: dict[str, np.ndarray], shape: tuple[int, int], step: int, size: float
) -> None:
    """tests/scalar_reference.py follows FORMAT.md in plain integers."""
    given = values(shape, 9, size) if size else typical(model, shape, step)
    coder = _Modes()
    model.at(step).code_tiles([coder], [planes_of(given)], LAYERS)
    stream = AnsDecoder(b"".join(coder.segments()))
    reader = Reader(LEVELS, {k: v for k, v in tensors.items() if not k.endswith("check")}, *shape, step)
    assert (CONTEXT if not size else ADAPTIVE) in coder.modes
    before, modes = 0, {0: [56, 1, 7], 1: [40, 20, 4], 2: [7, 1, 56]}
    prepared = model.adaptive.prepared[0].tolist()
    for k in range(len(LAYERS)):
        before = stream.decode(modes[before])
        if before == 0:
            reader.read_context_layer(k, stream.decode)
        elif before == 1:
            for colour, level, band, number in reader.passes(k):
                places = reader.places(colour, level, band)
                if number == 0 and places:
                    for (plane, y, x), symbol in zip(
                        places, decode_adaptive_plane(stream, prepared, len(places)), strict=True
                    ):
                        reader.values[plane][y][x] = symbol - LARGEST
    assert (np.array(reader.values) == given).all()
    assert not stream.words
    assert stream.state == 0


@pytest.mark.parametrize(("shape", "size"), [((9, 14), 1.0), ((17, 6), 60.0), ((8, 11), 1e5), ((1, 5), 1e5)])
def test_predictions_are_those_of_an_independent_reader(
    model: ScalarContext, tensors: dict[str, np.ndarray], shape: tuple[int, int], size: float
) -> None:
    """The same as above for any values, also the largest, in all layers."""
    given = values(shape, 1, size)
    given[-1] = 0
    at, known = model.at(33), KnownValues(model.layers, shape)
    reader = Reader(LEVELS, {k: v for k, v in tensors.items() if not k.endswith("check")}, *shape, 33)
    for k, layer in enumerate(model.layers):
        bands = layer.split(given[model.planes(k)])
        _, predicted = at.select(k, known, lambda part, *_, bands=bands: part.of(bands[part.band]))
        for prediction in predicted:
            band, number = prediction.part.band, prediction.part.number
            (py, px), (rows, columns) = PARITIES[number], prediction.shape
            places = [(py + 2 * y, px + 2 * x) for y in range(rows) for x in range(columns)]
            found = [reader.predict(k, band.colour, band.level, band.name, number, y, x) for y, x in places]
            location, scale = prediction.dense()
            assert found == list(zip(location.ravel().tolist(), scale.ravel().tolist(), strict=True))
            for y, x in places:
                place = reader.place(band.colour, band.level, band.name, y, x)
                assert place is not None
                reader.values[place[0]][place[1]][place[2]] = int(given[place])


def test_the_self_test_refuses_other_frequencies(tensors: dict[str, np.ndarray]) -> None:
    bias = tensors["scalar.0.2.scale_step"].astype(np.int32) + 4096
    with pytest.raises(ValueError, match=r"scalar\.check: frequencies on this machine"):
        ScalarContext(LEVELS, {**tensors, "scalar.0.2.scale_step": bias})
