"""Entropy model of scalar planes: location and scale by an integer context network, residuals by fixed tables.

An index i stands for the value i - LARGEST. For each layer of each tile the encoder selects a mode:

    context    residuals under the network of scalar_network.py, pass by pass in the order of scalar_order.py
    adaptive   each plane by adaptive tables (adaptive_tables.py), where these take fewer bits than the context network
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
from .scalar_network import KnownValues, LayerContext, digest_of, layer_passes, read_layer
from .scalar_order import Pass
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
CHECK_SHAPE, CHECK_STEPS = (11, 13), (20, 45)
"""Grid and step numbers of the self-test."""
MODEL = "scalar."
"""Prefix of the model's tensor names."""
CHECK = MODEL + "check"
"""Name of the digest of the self-test, uint8 [32]."""


Prediction = tuple[Pass, np.ndarray, np.ndarray]
"""A pass, with location in 1/8 steps and scale class int64 [n, N] of its positions."""


Visit = Callable[[Pass, np.ndarray, np.ndarray], np.ndarray]
"""(pass, location in 1/8 steps, scale class int64 [n, N]) -> selected values int32 [n, N]."""


class ScalarContext:
    """The model for all quantization steps; see `at`.

    Args:
        widths: channels of each layer.
        tensors: the `scalar.*` tensors of a model folder, all integers.
        lifted: first channels that hold wavelet coefficients, whole layers of them, coded in pyramid order.

    Raises ValueError for missing, unknown or wrong tensors, and where this machine fails the self-test.
    """

    kind = "scalar"

    def __init__(self, widths: Sequence[int], tensors: Mapping[str, np.ndarray], lifted: int = 0) -> None:
        self.widths = tuple(widths)
        self.sizes = (ALPHABET,) * sum(widths)
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
        for k in range(len(widths)):
            bias = tensors.get(f"{MODEL}{k}.hidden_bias", np.zeros(1, np.int8))
            hidden = bias.size if bias.ndim == 1 else 1

            def take_of_layer(name: str, shape: Sequence[int], k: int = k) -> np.ndarray:
                return take(f"{k}.{name}", shape)

            self.nets.append(read_layer(take_of_layer, widths, k, sum(widths[: k + 1]) <= lifted, hidden))
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
        channels = range(sum(self.widths))
        rows = [((p * p * (2 * c + 3) + 7 * p + c) % 65521 % 9 - 4) / (1 + c // 16) for c in channels]
        values = np.trunc(np.stack(rows)).astype(np.int32)
        for step in CHECK_STEPS:
            at, known = self.at(step), KnownValues(self.widths, CHECK_SHAPE)
            for k, net in enumerate(self.nets):
                given = values[net.start : net.start + net.width]
                _, predicted = at.select(k, known, lambda part, *_, given=given: given[:, part.positions])
                for _, location, scale in predicted:
                    digest.update(location.astype("<i4").tobytes() + scale.astype("<i4").tobytes())
                known.end_layer(k)
        return digest.digest()

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
        shape = planes[0].shape
        known = KnownValues(self.model.widths, (shape[0], shape[1]))
        for k in range(n_layers):
            net = self.model.nets[k]
            part = planes[net.start : net.start + net.width]
            given = np.stack([plane.reshape(-1) for plane in part])
            values = np.where(given < 0, 0, given - LARGEST).astype(np.int32)
            found = self.code_layer(coder, k, known, values)
            for plane, row in zip(part, found, strict=True):
                plane[...] = np.where(row == UNKNOWN, MISSING, row + LARGEST).reshape(shape)
            coder.end_layer()

    def code_layer(
        self,
        coder: Coder,
        k: int,
        known: KnownValues,
        values: np.ndarray,
        predicted: Sequence[Prediction] | None = None,
    ) -> np.ndarray:
        """Code `values` int32 [n, h * w] of layer k, given the layers before it, and add them to `known`.

        `predicted` are the predictions of `select`, where it selected the values. Returns the values; in a decoder
        they are UNKNOWN beyond the end of a cut stream.
        """
        net = self.model.nets[k]
        own = slice(net.start, net.start + net.width)
        locations = list(predicted or ())

        def decide() -> int:
            if not values.any():
                return EMPTY
            known.values[own] = values
            if not locations:
                locations.extend(self._predictions(k, known, lambda *_: None))
            bits = 0.0
            for part, location, scale in locations:
                row, residual = mirrored(location, scale, values[:, part.positions])
                bits += float(self.model.tables.bits_of(row, residual).sum(dtype=np.float64))
            return ADAPTIVE if _adaptive_wins(self.model.adaptive, values, bits) else CONTEXT

        mode = known.mode = code_mode(coder, known.mode, decide)
        found = values if mode == CONTEXT else np.zeros_like(values)
        if mode == ADAPTIVE:
            found = self._code_adaptive(coder, values)
        elif mode == CONTEXT:
            found = self._code_context(coder, k, known, values, locations)
        elif mode != EMPTY:
            found = np.full_like(values, UNKNOWN)
        known.values[own] = np.where(found == UNKNOWN, 0, found)
        known.end_layer(k)
        return found

    def _predictions(
        self, k: int, known: KnownValues, fill: Callable[[Pass, np.ndarray, np.ndarray], None]
    ) -> Iterator[Prediction]:
        """Predictions of the passes of layer k; `fill` adds the values of each pass to `known` before the next."""
        net = self.model.nets[k]
        context = LayerContext(net, known, self.step)
        for part in layer_passes(net, known.shape):
            location, scale = context.predict(part)
            scale = scale.clip(0, self.model.tables.classes - 1)
            fill(part, location, scale)
            yield part, location, scale

    def _code_context(
        self,
        coder: Coder,
        k: int,
        known: KnownValues,
        values: np.ndarray,
        predictions: Sequence[Prediction],
    ) -> np.ndarray:
        net, tables = self.model.nets[k], self.model.tables
        found = values.copy()

        def code(part: Pass, location: np.ndarray, scale: np.ndarray) -> None:
            row, residual = mirrored(location, scale, found[:, part.positions])
            flat = residual.reshape(-1)
            tables.code(coder, row.reshape(-1), flat)
            residual = flat.reshape(residual.shape)
            value = np.where(residual == UNKNOWN, UNKNOWN, _unmirrored(location, residual).clip(-LARGEST, LARGEST))
            found[:, part.positions] = value
            known.values[net.start : net.start + net.width, part.positions] = np.where(value == UNKNOWN, 0, value)

        if predictions:  # encoders have them already
            for part, location, scale in predictions:
                code(part, location, scale)
        else:
            for _ in self._predictions(k, known, code):
                pass
        return found

    def _code_adaptive(self, coder: Coder, values: np.ndarray) -> np.ndarray:
        # Symbols beyond the end of a cut stream stay MISSING.
        planes = [np.array(row + LARGEST if coder.encodes else np.full_like(row, MISSING), np.int32) for row in values]
        for plane in planes:
            self.model.adaptive.code_plane(coder, 0, plane)
        stacked = np.stack(planes)
        found: np.ndarray = np.where(stacked < 0, UNKNOWN, stacked - LARGEST).astype(np.int32)
        return found

    def select(self, k: int, known: KnownValues, visit: Visit) -> tuple[np.ndarray, list[Prediction]]:
        """Values int32 [n, h * w] of layer k, selected by `visit` pass by pass, and their predictions.

        The layer is complete in `known` only after `code_layer`, or after `known.end_layer`.
        """
        net = self.model.nets[k]
        values = np.zeros((net.width, known.shape[0] * known.shape[1]), np.int32)
        own = slice(net.start, net.start + net.width)
        known.values[own] = 0

        def fill(part: Pass, location: np.ndarray, scale: np.ndarray) -> None:
            values[:, part.positions] = visit(part, location, scale)
            known.values[own, part.positions] = values[:, part.positions]

        return values, list(self._predictions(k, known, fill))


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
    """Values [n, N] -> row of the residual tables int64 [n, N], and residual int32 [n, N].

    The residual is mirrored where the location is below its rounded value.
    """
    rounded = (location + 4) >> 3
    fraction = location - 8 * rounded
    residual = values - rounded
    row = scale * FRACTIONS + np.abs(fraction)
    return row, np.where(fraction < 0, -residual, residual).astype(np.int32)


def _unmirrored(location: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """The inverse of `mirrored`: values of residuals."""
    rounded = (location + 4) >> 3
    found: np.ndarray = rounded + np.where(location - 8 * rounded < 0, -residual, residual)
    return found


def _adaptive_wins(adaptive: AdaptiveTables, values: np.ndarray, bits: float) -> bool:
    """True if adaptive tables take fewer than `bits` for `values` int32 [n, h * w] of a layer."""
    n = values.shape[1]
    zero_order = 0.0
    for row in values:
        counts = np.unique(row, return_counts=True)[1]
        zero_order += float((counts * np.log2(n / counts)).sum())
    # Adaptive tables rarely take less than the empirical entropy, which is faster to compute.
    if zero_order >= bits:
        return False
    total = 0.0
    for row in values:
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
