"""Entropy model of scalar planes: location and scale by an integer context network, residuals by fixed tables.

An index i stands for the value i - LARGEST. For each layer of each tile the encoder selects a mode:

    context    residuals under the networks of scalar_network.py, pass by pass in the order of scalar_order.py
    adaptive   each band by adaptive tables (adaptive_tables.py), where these take fewer bits than the context network
    empty      all values are 0

so no layer takes more bits than adaptive tables and the mode. The quantization step of the file is an input of the
network: `at(step)` is the model of files of one step.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ..config.quantizers import LARGEST, STEPS
from ..planes import MISSING, Layers, Planes
from .adaptive_tables import AdaptiveTables
from .interface import WholeIndexModel
from .rans import Coder
from .scalar_known import KnownValues
from .scalar_network import BandContext, Prediction, digest_of, read_net
from .scalar_order import PARITIES, Band, LayerBands, Pass, layers_of
from .scalar_residuals import FRACTIONS, TOTAL, UNKNOWN, ResidualTables

ALPHABET = 2 * LARGEST + 1
"""Alphabet size of a scalar plane."""
CONTEXT, ADAPTIVE, EMPTY = range(3)
"""Modes of a layer."""
MODES = {
    CONTEXT: np.array([56, 1, 7], np.float32),
    ADAPTIVE: np.array([40, 20, 4], np.float32),
    EMPTY: np.array([7, 1, 56], np.float32),
}
"""Frequencies of the mode of a layer, by the mode of the previous layer."""
CHECK_SHAPE, CHECK_STEPS = (11, 13), (10, 30)
"""Grid and step numbers of the self-test."""
MODEL = "scalar."
"""Prefix of the model's tensor names."""
CHECK = MODEL + "check"
"""Name of the digest of the self-test, uint8 [32]."""


Visit = Callable[[Pass, np.ndarray, np.ndarray], np.ndarray]
"""(pass, location in 1/8 steps, scale class [rows, columns]) -> selected values int32 [rows, columns]."""


class ScalarContext:
    """The model for all quantization steps; see `at`.

    Args:
        levels: wavelet levels within a stride, see `UniformConfig`.
        tensors: the `scalar.*` tensors of a model folder, all integers.

    Raises ValueError for missing, unknown or wrong tensors, and where this machine fails the self-test.
    """

    kind = "scalar"

    def __init__(self, levels: int, tensors: Mapping[str, np.ndarray]) -> None:
        self.layers = layers_of(levels)
        self.starts = np.cumsum([0, *(layer.width for layer in self.layers)]).tolist()
        """First plane of each layer, and the number of planes."""
        self.sizes = (ALPHABET,) * self.starts[-1]
        used: dict[str, np.ndarray] = {}

        def take(name: str, shape: Sequence[int] | None) -> np.ndarray:
            value = tensors.get(MODEL + name)
            if value is None:
                raise ValueError(f"{MODEL}{name}: missing")
            if value.dtype.kind not in "iu" or (shape is not None and value.shape != tuple(shape)):
                wanted = "any" if shape is None else list(shape)
                raise ValueError(f"{MODEL}{name}: integers of shape {wanted} needed, found {value.dtype} {value.shape}")
            used[name] = value
            return value.astype(np.float32)

        lengths = take("table_lengths", None).astype(np.int64)
        flat = take("tables", (int(lengths.sum()),)).astype(np.int64)
        if lengths.ndim != 1 or len(lengths) % FRACTIONS or not len(lengths):
            raise ValueError(f"{MODEL}table_lengths: one for each of {FRACTIONS} fractions of every class needed")
        self.tables = ResidualTables(np.split(flat, np.cumsum(lengths)[:-1]))
        self.nets = []
        """Networks of each layer, by colour."""
        for k, layer in enumerate(self.layers):
            nets = {}
            for colour in layer.colours:
                bias = tensors.get(f"{MODEL}{k}.{colour}.hidden_bias", np.zeros(1, np.int8))
                hidden = bias.size if bias.ndim == 1 else 1

                def take_of_net(name: str, shape: Sequence[int], k: int = k, colour: int = colour) -> np.ndarray:
                    return take(f"{k}.{colour}.{name}", shape)

                nets[colour] = read_net(take_of_net, layer, colour, hidden)
            self.nets.append(nets)
        expected = tensors.get(CHECK)
        if extra := sorted(set(tensors) - {MODEL + name for name in used} - {CHECK}):
            raise ValueError(f"{extra[0]}: unknown")
        self._digest = digest_of(used)
        self.adaptive = AdaptiveTables((ALPHABET,), [_prepared(self.tables)])
        if expected is not None and (expected.dtype != np.uint8 or expected.tobytes() != self.check()):
            raise ValueError(f"{CHECK}: frequencies on this machine differ from those stored with the model")

    def identity(self) -> bytes:
        """4 bytes of SHA-256 over the tensors."""
        return self._digest[:4]

    def check(self) -> bytes:
        """SHA-256 of locations and scale classes for fixed values; FORMAT.md specifies it."""
        digest = hashlib.sha256()
        p = np.arange(CHECK_SHAPE[0] * CHECK_SHAPE[1], dtype=np.int64)
        channels = range(self.starts[-1])
        rows = [((p * p * (2 * c + 3) + 7 * p + c) % 65521 % 9 - 4) / (1 + c // 16) for c in channels]
        values = np.trunc(np.stack(rows)).astype(np.int32).reshape(-1, *CHECK_SHAPE)
        for step in CHECK_STEPS:
            at, known = self.at(step), KnownValues(self.layers, CHECK_SHAPE)
            for k, layer in enumerate(self.layers):
                bands = layer.split(values[self.planes(k)])
                for found in at.select(k, known, lambda part, *_, b=bands: part.of(b[part.band]))[1]:
                    location, scale = found.dense()
                    digest.update(location.astype("<i4").tobytes() + scale.astype("<i4").tobytes())
        return digest.digest()

    def planes(self, k: int) -> slice:
        """Numbers of the planes of layer k."""
        return slice(self.starts[k], self.starts[k + 1])

    def at(self, step: int) -> ScalarContextAt:
        """The model of files with quantization step number `step`. Raises ValueError outside 0..63."""
        return ScalarContextAt(self, step)


class ScalarContextAt(WholeIndexModel):
    """Entropy model (see `EntropyModel`) of files of one quantization step."""

    kind = "scalar"

    def __init__(self, model: ScalarContext, step: int) -> None:
        if not 0 <= step < STEPS:
            raise ValueError(f"step {step}: 0..{STEPS - 1} needed")
        self.model, self.step, self.sizes = model, step, model.sizes

    def identity(self) -> bytes:
        """Identity of the model for all steps, 4 bytes."""
        return self.model.identity()

    def workers(self) -> int:
        """1: a tile uses all threads by itself."""
        return 1

    def code_tiles(self, coders: Sequence[Coder], tiles: Sequence[Planes], layers: Layers) -> None:
        """Code planes int32 [h, w] of the first layers of each tile; decoders fill them in place."""
        for coder, planes in zip(coders, tiles, strict=True):
            self._code_tile(coder, planes, len(layers))

    def _code_tile(self, coder: Coder, planes: Sequence[np.ndarray], n_layers: int) -> None:
        known = KnownValues(self.model.layers, (planes[0].shape[0], planes[0].shape[1]))
        for k in range(n_layers):
            part = planes[self.model.planes(k)]
            values = None
            if coder.encodes:
                given = np.stack(part)
                values = np.where(given < 0, 0, given - LARGEST).astype(np.int32, copy=False)
            found = self.code_layer(coder, k, known, values)
            for plane, row in zip(part, found, strict=True):
                np.add(row, LARGEST, out=plane)
                np.maximum(plane, MISSING, out=plane)  # of UNKNOWN
            coder.end_layer()

    def code_layer(
        self,
        coder: Coder,
        k: int,
        known: KnownValues,
        values: np.ndarray | None,
        predicted: Sequence[Prediction] | None = None,
    ) -> np.ndarray:
        """Code `values` int32 [n, h, w] of layer k, given the layers before it, and add them to `known`.

        Decoders pass None. `predicted` are the predictions of `select`, where it selected the values. Returns the
        values; in a decoder they are UNKNOWN beyond the end of a cut stream.
        """
        layer, tables = self.model.layers[k], self.model.tables
        bands = {} if values is None else layer.split(values)
        coded: list[tuple[Prediction, np.ndarray, np.ndarray]] = []

        def decide() -> int:
            assert values is not None
            if not values.any():
                return EMPTY

            def given(found: Prediction) -> np.ndarray:
                return found.part.of(bands[found.part.band])

            for found in predicted or self._predictions(k, known, given):
                coded.append((found, *_residuals(found, given(found))))
            bits = sum(_bits(tables, *row) for row in coded)
            return ADAPTIVE if _adaptive_wins(self.model.adaptive, list(bands.values()), bits) else CONTEXT

        mode = known.mode = code_mode(coder, known.mode, decide)
        if mode == CONTEXT:
            if values is None:
                return self._decode_context(coder, k, known)
            for found, row, residual in coded:
                tables.code(coder, row, residual, found.at, found.quiet * FRACTIONS)
            return values
        known.begin_layer(layer)
        if mode == ADAPTIVE:
            return self._code_adaptive(coder, layer, known, bands)
        return np.full((layer.width, *known.shape), 0 if mode == EMPTY else UNKNOWN, np.int32)

    def _predictions(
        self, k: int, known: KnownValues, visit: Callable[[Prediction], np.ndarray]
    ) -> Iterator[Prediction]:
        """Predictions of the passes of layer k; `visit` returns the values of each, which are added to `known`."""
        layer = self.model.layers[k]
        known.begin_layer(layer)
        for colour in layer.colours:
            context = BandContext(self.model.nets[k][colour], layer, known, self.step, self.model.tables.classes)
            for part in layer.passes(colour):
                found = context.predict(part)
                known.fill(part, visit(found))
                yield found

    def _decode_context(self, coder: Coder, k: int, known: KnownValues) -> np.ndarray:
        layer, tables = self.model.layers[k], self.model.tables
        planes = np.zeros((layer.width, *known.shape), np.int32)
        places = {band: layer.places(band, known.shape) for band in layer.shapes(known.shape)}

        def decode(found: Prediction) -> np.ndarray:
            values = np.empty(found.shape, np.int32)
            flat = values.reshape(-1)
            tables.code(coder, _rows(found.location, found.scale), flat, found.at, found.quiet * FRACTIONS)
            flat[found.at] = _unmirrored(found.location, flat[found.at])
            other = np.flatnonzero(flat != 0)  # few
            some = np.where(flat[other] == UNKNOWN, UNKNOWN, flat[other].clip(-LARGEST, LARGEST))
            row, column = np.divmod(other, found.shape[1])
            rows, columns = (
                of_axis[parity::2]
                for of_axis, parity in zip(places[found.part.band], PARITIES[found.part.number], strict=True)
            )
            planes.reshape(-1)[rows[row] + columns[column]] = some
            flat[other] = np.where(some == UNKNOWN, 0, some)
            return values

        for _ in self._predictions(k, known, decode):
            pass
        return planes

    def _code_adaptive(
        self, coder: Coder, layer: LayerBands, known: KnownValues, values: Mapping[Band, np.ndarray]
    ) -> np.ndarray:
        bands = {}
        shapes = layer.shapes(known.shape)
        for band in (band for colour in layer.colours for band in layer.bands(colour)):
            # Symbols beyond the end of a cut stream stay MISSING.
            flat = np.full(math.prod(shapes[band]), MISSING, np.int32)
            if coder.encodes:
                flat[:] = values[band].reshape(-1) + LARGEST
            if flat.size:
                self.model.adaptive.code_plane(coder, 0, flat)
            found = np.where(flat < 0, UNKNOWN, flat - LARGEST).reshape(shapes[band])
            known.put(band, np.where(found == UNKNOWN, 0, found))
            bands[band] = found
        return layer.join(bands, known.shape)

    def select(self, k: int, known: KnownValues, visit: Visit) -> tuple[np.ndarray, list[Prediction]]:
        """Values int32 [n, h, w] of layer k, selected by `visit` pass by pass, and their predictions.

        The values are added to `known`.
        """
        layer = self.model.layers[k]
        bands = {band: np.zeros(shape, np.int32) for band, shape in layer.shapes(known.shape).items()}

        def keep(found: Prediction) -> np.ndarray:
            here = found.part.of(bands[found.part.band])
            here[...] = visit(found.part, *found.dense())
            return here

        predictions = list(self._predictions(k, known, keep))
        return layer.join(bands, known.shape), predictions


def code_mode(coder: Coder, before: int, decide: Callable[[], int]) -> int:
    """Code the mode of a layer after one of mode `before`; only encoders call `decide` for it.

    MISSING beyond the end of a cut stream.
    """
    symbol = np.full(1, MISSING, np.int32)
    if coder.encodes:
        symbol[0] = decide()
    coder.code(MODES.get(before, MODES[CONTEXT]), symbol)
    return int(symbol[0])


def mirrored(location: np.ndarray, scale: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of any shape -> row of the residual tables, and residual int32.

    The residual is mirrored where the location is below its rounded value.
    """
    rounded = (location + 4) >> 3
    residual = values - rounded
    residual = np.where(location < 8 * rounded, -residual, residual)
    return _rows(location, scale), residual.astype(np.int32, copy=False)


def _rows(location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Rows of the residual tables."""
    found: np.ndarray = scale.astype(np.int32) * FRACTIONS + np.abs(location - 8 * ((location + 4) >> 3))
    return found


def _unmirrored(location: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """The inverse of `mirrored`: values of residuals; UNKNOWN ones stay."""
    rounded = (location + 4) >> 3
    found = rounded + np.where(location < 8 * rounded, -residual, residual)
    return np.where(residual == UNKNOWN, UNKNOWN, found)


def _residuals(found: Prediction, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of the positions of a pass -> rows int32 of those in `at`, residuals int32 of all, flattened."""
    residual = np.array(values, np.int32).reshape(-1)
    row, residual[found.at] = mirrored(found.location, found.scale, residual[found.at])
    return row, residual


def pass_bits(tables: ResidualTables, found: Prediction, values: np.ndarray) -> float:
    """Bits of the values int32 [rows, columns] of a pass in mode CONTEXT; those of escapes are estimated."""
    return _bits(tables, found, *_residuals(found, values))


def _bits(tables: ResidualTables, found: Prediction, row: np.ndarray, residual: np.ndarray) -> float:
    """Bits of the residuals of a pass."""
    rest = np.array(residual)
    rest[found.at] = 0
    others = rest[rest != 0]
    zeros = len(rest) - len(found.at) - len(others)
    rows = np.full(len(others) + 1, found.quiet * FRACTIONS)
    of_others = tables.bits_of(rows, np.append(others, 0)).astype(np.float64)
    return float(
        tables.bits_of(row, residual[found.at]).sum(dtype=np.float64)
        + of_others @ np.append(np.ones(len(others)), zeros)
    )


def _adaptive_wins(adaptive: AdaptiveTables, bands: Sequence[np.ndarray], bits: float) -> bool:
    """True if adaptive tables take fewer than `bits` for the values int32 [rows, columns] of the bands of a layer."""
    flat = [band.reshape(-1) + LARGEST for band in bands if band.size]
    zero_order = 0.0
    for row in flat:
        counts = np.bincount(row)
        counts = counts[counts > 0]
        zero_order += float((counts * np.log2(len(row) / counts)).sum())
    # Adaptive tables rarely take less than the empirical entropy, which is faster to compute.
    if zero_order >= bits:
        return False
    total = 0.0
    for row in flat:
        total += adaptive.least_bits(0, row)
        if total >= bits:
            return False
    return True


def _prepared(tables: ResidualTables) -> np.ndarray:
    """Prepared adaptive tables int64 [classes, ALPHABET]: the residual tables of location 0, as tables of values."""
    found = np.ones((tables.classes, ALPHABET), np.int64)
    for i in range(tables.classes):
        row = tables.rows[i * FRACTIONS]
        reach = min(len(row) // 2 - 1, LARGEST)
        middle = len(row) // 2 - 1
        part = row[middle - reach : middle + reach + 1]
        share = np.floor(part / part.sum() * (TOTAL - 2 * ALPHABET)).astype(np.int64)
        found[i, LARGEST - reach : LARGEST + reach + 1] += share
        found[i, LARGEST] += TOTAL - found[i].sum()
    return found
