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
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from ..config.quantizers import LARGEST, STEPS
from ..planes import MISSING, Layers, Planes
from .adaptive_tables import AdaptiveTables
from .interface import WholeIndexModel
from .rans import Coder
from .scalar_network import BandContext, KnownValues, digest_of, read_net
from .scalar_order import LayerBands, Pass, layers_of
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


Prediction = tuple[Pass, np.ndarray, np.ndarray]
"""A pass, with location in 1/8 steps int32 and scale class int16 [rows, columns] of its positions."""


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
            at, known = self.at(step), KnownValues(CHECK_SHAPE)
            for k, layer in enumerate(self.layers):
                bands = layer.split(values[self.planes(k)])
                for _, location, scale in at.select(k, known, lambda part, *_, b=bands: part.of(b[part.band]))[1]:
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
        """2: most of the time is spent in matrix products, which release Python's lock."""
        return 2

    def code_tiles(self, coders: Sequence[Coder], tiles: Sequence[Planes], layers: Layers) -> None:
        """Code planes int32 [h, w] of the first layers of each tile; decoders fill them in place."""
        for coder, planes in zip(coders, tiles, strict=True):
            self._code_tile(coder, planes, len(layers))

    def _code_tile(self, coder: Coder, planes: Sequence[np.ndarray], n_layers: int) -> None:
        known = KnownValues((planes[0].shape[0], planes[0].shape[1]))
        for k in range(n_layers):
            part = planes[self.model.planes(k)]
            given = np.stack(part)
            values = np.where(given < 0, 0, given - LARGEST).astype(np.int32)
            found = self.code_layer(coder, k, known, values)
            for plane, row in zip(part, found, strict=True):
                plane[...] = np.where(row == UNKNOWN, MISSING, row + LARGEST)
            coder.end_layer()

    def code_layer(
        self,
        coder: Coder,
        k: int,
        known: KnownValues,
        values: np.ndarray,
        predicted: Sequence[Prediction] | None = None,
    ) -> np.ndarray:
        """Code `values` int32 [n, h, w] of layer k, given the layers before it, and add them to `known`.

        `predicted` are the predictions of `select`, where it selected the values. Returns the values; in a decoder
        they are UNKNOWN beyond the end of a cut stream.
        """
        layer, tables = self.model.layers[k], self.model.tables
        predictions = list(predicted or ())

        def decide() -> int:
            if not values.any():
                return EMPTY
            bands = layer.split(values)
            if not predictions:
                predictions.extend(self._predictions(k, known, lambda part, *_: part.of(bands[part.band])))
            bits = 0.0
            for part, location, scale in predictions:
                row, residual = mirrored(location, scale, part.of(bands[part.band]))
                bits += float(tables.bits_of(row, residual).sum(dtype=np.float64))
            return ADAPTIVE if _adaptive_wins(self.model.adaptive, list(bands.values()), bits) else CONTEXT

        mode = known.mode = code_mode(coder, known.mode, decide)
        if mode == CONTEXT:
            return self._code_context(coder, k, known, values, predictions)
        found = np.zeros_like(values)
        if mode == ADAPTIVE:
            found = self._code_adaptive(coder, layer, values)
        elif mode != EMPTY:
            found = np.full_like(values, UNKNOWN)
        known.end_layer(layer, np.where(found == UNKNOWN, 0, found))
        return found

    def _predictions(self, k: int, known: KnownValues, visit: Visit) -> Iterator[Prediction]:
        """Predictions of the passes of layer k; `visit` returns the values of each pass, which are added to `known`."""
        layer = self.model.layers[k]
        known.begin_layer(layer)
        for colour in layer.colours:
            context = BandContext(self.model.nets[k][colour], layer, known, self.step)
            for part in layer.passes(colour):
                location, scale = context.predict(part)
                scale = scale.clip(0, self.model.tables.classes - 1)
                known.canvases[part.band].fill(part.number, visit(part, location, scale))
                yield part, location, scale

    def _code_context(
        self,
        coder: Coder,
        k: int,
        known: KnownValues,
        values: np.ndarray,
        predictions: Sequence[Prediction],
    ) -> np.ndarray:
        layer, tables = self.model.layers[k], self.model.tables
        bands = {band: part.copy() for band, part in layer.split(values).items()}

        def code(part: Pass, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
            here = part.of(bands[part.band])
            row, residual = mirrored(location, scale, here)
            flat = residual.reshape(-1)
            tables.code(coder, row.reshape(-1), flat)
            residual = flat.reshape(residual.shape)
            value = np.where(residual == UNKNOWN, UNKNOWN, _unmirrored(location, residual).clip(-LARGEST, LARGEST))
            here[...] = value
            return np.where(value == UNKNOWN, 0, value)

        if predictions:  # encoders have them already
            for part, location, scale in predictions:
                code(part, location, scale)
        else:
            for _ in self._predictions(k, known, code):
                pass
        return layer.join(bands, known.shape)

    def _code_adaptive(self, coder: Coder, layer: LayerBands, values: np.ndarray) -> np.ndarray:
        bands = layer.split(values)
        for band in (band for colour in layer.colours for band in layer.bands(colour) if bands[band].size):
            # Symbols beyond the end of a cut stream stay MISSING.
            given = bands[band] + LARGEST if coder.encodes else np.full_like(bands[band], MISSING)
            flat = np.array(given.reshape(-1), np.int32)
            self.model.adaptive.code_plane(coder, 0, flat)
            bands[band] = np.where(flat < 0, UNKNOWN, flat - LARGEST).astype(np.int32).reshape(given.shape)
        return layer.join(bands, values.shape[1:])

    def select(self, k: int, known: KnownValues, visit: Visit) -> tuple[np.ndarray, list[Prediction]]:
        """Values int32 [n, h, w] of layer k, selected by `visit` pass by pass, and their predictions.

        The values are added to `known`.
        """
        layer = self.model.layers[k]
        values = np.zeros((layer.width, *known.shape), np.int32)
        bands = {band: part.copy() for band, part in layer.split(values).items()}

        def keep(part: Pass, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
            here = part.of(bands[part.band])
            here[...] = visit(part, location, scale)
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
    """Values of any shape -> row of the residual tables int64, and residual int32.

    The residual is mirrored where the location is below its rounded value.
    """
    rounded = (location + 4) >> 3
    fraction = location - 8 * rounded
    residual = values - rounded
    row = scale.astype(np.int64) * FRACTIONS + np.abs(fraction)
    return row, np.where(fraction < 0, -residual, residual).astype(np.int32)


def _unmirrored(location: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """The inverse of `mirrored`: values of residuals."""
    rounded = (location + 4) >> 3
    found: np.ndarray = rounded + np.where(location - 8 * rounded < 0, -residual, residual)
    return found


def _adaptive_wins(adaptive: AdaptiveTables, bands: Sequence[np.ndarray], bits: float) -> bool:
    """True if adaptive tables take fewer than `bits` for the values int32 [rows, columns] of the bands of a layer."""
    flat = [band.reshape(-1) for band in bands if band.size]
    zero_order = 0.0
    for row in flat:
        counts = np.unique(row, return_counts=True)[1]
        zero_order += float((counts * np.log2(len(row) / counts)).sum())
    # Adaptive tables rarely take less than the empirical entropy, which is faster to compute.
    if zero_order >= bits:
        return False
    total = 0.0
    for row in flat:
        total += adaptive.least_bits(0, row + LARGEST)
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
