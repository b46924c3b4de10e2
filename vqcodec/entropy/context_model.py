"""Context model in integers: the frequencies of an index from its neighbours and from earlier planes.

Each symbol plane has a small network. Its inputs are the symbols at 3x3 positions of the planes before it (of planes
further back, if the model says so, only those at the position itself) and at the 5x5 positions around in its own plane,
where already coded. A plane is coded in passes (index_order.py) over one or more grids; the 5x5 positions are those of
the pass's grid, whose spacing is 1, 2, 4, ...:

    e  = embeddings of the inputs                       int8, EMBEDDING values each
    h1 = clip(floor((e . W1 + b1) * s1), 0, 127)
    h2 = clip(h1 + floor((h1 . W2 + b2) * s2), 0, 127)
    l  = floor((h2 . W3 + b3) * s3)                     logits in 1/16 bit
    f  = lut[min(max(l) - l, 255)]                      frequencies, lut[i] about lut[0] * 2^(-i / 16)

Weights W are int8, scales s powers of two, b1 and b3 differ from pass to pass. Every partial sum stays below 2**24, so
float32 is exact in any order of summation, and every machine, thread count and batch size gives the same frequencies.
Contexts end at the border of a tile. Only frequencies of integers enter the coder; the float network that they were
rounded from is train/prior/network.py.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..planes import Layers, Planes
from ..runtime.backend import has_openvino
from .alphabet_split import AlphabetSplit, whole_alphabet
from .context_inputs import EMBEDDING, OWN, KnownEmbeddings, inputs_from_earlier, inputs_of, with_margins
from .context_kernels import LOOKUP, ExactKernel, Kernel, PlaneNet
from .index_order import MOST_GRIDS, passes, scan
from .rans import Coder

EXACT = 2**24
"""Integers up to it are exact in float32."""
WORKERS = 2
"""Threads that coding gains from: the rANS coder runs in one at a time."""
MANY = 2**16
"""Positions of index planes, coded in this process, from which on compiled kernels save more time than they take."""
TOGETHER = 2**15
"""Positions with margins of tiles that are coded together, each counted as the largest, or one tile of more; bounds
memory and changes no frequency."""
CHECK_SHAPE = (11, 13)
"""Grid of the planes of the self-test, see `ContextModel.check`."""


class ContextModel:
    """Entropy model of planes of alphabets `sizes`, from the `prior.*` tensors of a model folder, all integers.

    Raises ValueError for missing tensors, wrong shapes, sums beyond the exact range, and where this machine fails the
    self-test.
    """

    kind = "context"

    def __init__(self, sizes: Sequence[int], tensors: Mapping[str, np.ndarray]) -> None:
        self.sizes = tuple(sizes)
        self._digest = hashlib.sha256(f"{self.kind} {self.sizes}".encode())
        self.lut = self._take(tensors, "prior.lut", (LOOKUP,)).astype(np.float32)
        self.splits = self._splits(tensors)
        self.coded_sizes = tuple(size for split in self.splits for size in split.sizes)
        """Alphabet sizes of the symbol planes: large alphabets are coded as two."""
        if self.lut.min() < 1 or self.lut.max() * max(self.coded_sizes) > EXACT:
            raise ValueError(f"prior.lut: entries must be 1..{EXACT // max(self.coded_sizes)}")
        self.near = len(self.coded_sizes)
        """Planes before a plane of which it sees 3x3 positions; of those further back it sees the position itself."""
        if "prior.near" in tensors:
            self.near = int(self._take(tensors, "prior.near", (1,))[0])
            if self.near < 0:
                raise ValueError(f"prior.near: {self.near} is below 0")
        self.grids = 1
        """Grids that each plane is coded over."""
        if "prior.grids" in tensors:
            self.grids = int(self._take(tensors, "prior.grids", (1,))[0])
            if not 1 <= self.grids <= MOST_GRIDS:
                raise ValueError(f"prior.grids: {self.grids} is outside of 1..{MOST_GRIDS}")
        self.passes = passes(self.grids)
        self.nets = [self._net(tensors, s) for s in range(len(self.coded_sizes))]
        self.kernels: Sequence[Sequence[Kernel]] = [
            [ExactKernel(net, self.lut, own) for own in net.own] for net in self.nets
        ]
        """Kernels of each plane: one for all grids, or one for each, finest first."""
        self._lock, self.is_chosen, self._coded = threading.Lock(), False, 0
        """True once `kernels` are final; positions coded before."""
        if "prior.check" in tensors:
            expected = np.asarray(tensors["prior.check"])
            if expected.shape != (32,) or expected.dtype != np.uint8 or expected.tobytes() != self.check():
                raise ValueError("prior.check: frequencies on this machine differ from those stored with the model")

    def identity(self) -> bytes:
        """4 bytes of SHA-256 over sizes and tensors."""
        return self._digest.digest()[:4]

    def _take(self, tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in tensors:
            raise ValueError(f"{name}: missing")
        value = tensors[name]
        if value.shape != shape or value.dtype.kind not in "iu":
            raise ValueError(f"{name}: integers of shape {list(shape)} needed, found {value.dtype} {list(value.shape)}")
        self._digest.update(name.encode() + np.ascontiguousarray(value, dtype="<i4").tobytes())
        return value.astype(np.int64)

    def _splits(self, tensors: Mapping[str, np.ndarray]) -> list[AlphabetSplit]:
        if "prior.split" not in tensors:
            return [whole_alphabet(size) for size in self.sizes]
        lows = self._take(tensors, "prior.split", (len(self.sizes),)).tolist()
        splits = []
        for s, (size, low) in enumerate(zip(self.sizes, lows, strict=True)):
            if low and not 2 <= low < size:
                raise ValueError(f"prior.split: {low} for an alphabet of {size}; 0 or 2..{size - 1} needed")
            rank = self._take(tensors, f"prior.rank.{s}", (size,)) if low else np.arange(size)
            if (np.sort(rank) != np.arange(size)).any():
                raise ValueError(f"prior.rank.{s}: not a permutation of 0..{size - 1}")
            splits.append(AlphabetSplit(rank, low))
        return splits

    def _net(self, tensors: Mapping[str, np.ndarray], s: int) -> PlaneNet:
        size = self.coded_sizes[s]
        units = tensors[f"prior.{s}.bias2"].shape[0] if f"prior.{s}.bias2" in tensors else 0

        def take(name: str, *shape: int) -> np.ndarray:
            return self._take(tensors, f"prior.{s}.{name}", shape)

        embedding = take("embedding", size + 2, EMBEDDING)
        around = take("around", EMBEDDING * len(inputs_from_earlier(s, self.near)), units)
        own = self._own(tensors, s, units)
        bias1, shift1 = take("bias1", len(self.passes), units), take("shift1", units)
        hidden, bias2, shift2 = take("hidden", units, units), take("bias2", units), take("shift2", units)
        out, bias3, shift3 = take("out", units, size), take("bias3", len(self.passes), size), take("shift3", size)
        seen = (abs(around).sum(0) + abs(own).sum(1).max(0)) * 127
        for name, bound in (
            ("first layer", seen + abs(bias1).max(0)),
            ("hidden layer", abs(hidden).sum(0) * 127 + abs(bias2)),
            ("output layer", abs(out).sum(0) * 127 + abs(bias3).max(0)),
        ):
            if bound.max(initial=0) >= EXACT:
                raise ValueError(f"prior.{s}, {name}: sums up to {bound.max()} are beyond the exact {EXACT}")
        shifts = np.concatenate([shift1, shift2, shift3])
        if abs(embedding).max() > 127 or shifts.min(initial=0) < 0 or shifts.max(initial=0) > 24:
            raise ValueError(f"prior.{s}: an embedding beyond 127 or a shift beyond 0..24")
        scales = [np.ldexp(np.float32(1), -shift.astype(np.int32)) for shift in (shift1, shift2, shift3)]
        exact = [
            np.ascontiguousarray(value, dtype=np.float32)
            for value in (embedding, around, own, bias1, scales[0], hidden, bias2, scales[1], out, bias3, scales[2])
        ]
        return PlaneNet(*exact)

    def _own(self, tensors: Mapping[str, np.ndarray], s: int, units: int) -> np.ndarray:
        """Weights of the surroundings in plane s: int64 [1 or grids, 192, units]."""
        name, rows = f"prior.{s}.own", len(OWN) * EMBEDDING
        sets = self.grids if name in tensors and tensors[name].shape[:1] == (self.grids * rows,) else 1
        return self._take(tensors, name, (sets * rows, units)).reshape(sets, rows, units)

    def workers(self) -> int:
        """Threads that coding gains from."""
        return WORKERS

    def order(self, shape: tuple[int, ...]) -> np.ndarray:
        """Flat positions int64 of a plane of `shape` in coding order; a sequence is a grid of one row."""
        return scan(shape if len(shape) == 2 else (1, *shape), self.grids)

    def split(self, s: int) -> AlphabetSplit:
        """Symbols of the indices of plane s."""
        return self.splits[s]

    def check(self, kernels: Sequence[Sequence[Kernel]] | None = None) -> bytes:
        """SHA-256 of all frequencies for fixed planes, as 32-bit little-endian integers in coding order.

        `kernels` default to those in use.
        """
        recorder, n = _Recorder(), np.arange(CHECK_SHAPE[0] * CHECK_SHAPE[1])
        planes = [
            ((n * n * (2 * s + 3) + 7 * n + s) % 65521 % size).reshape(CHECK_SHAPE).astype(np.int32)
            for s, size in enumerate(self.coded_sizes)
        ]
        self._code([recorder], [planes], [range(len(planes))], self.kernels if kernels is None else kernels)
        return recorder.digest.digest()

    def choose_kernels(self, positions: int) -> None:
        """Use compiled kernels from MANY positions on, where their frequencies are equal to those of numpy.

        `positions` are to be coded next. A thread that finds another one compiling goes on with the kernels in use.
        """
        if self.is_chosen or not self._lock.acquire(blocking=False):
            return
        try:
            self._coded += positions
            if self._coded < MANY:
                return
            self.is_chosen = True
            if compiled := self._compiled_kernels():
                self.kernels = compiled
        finally:
            self._lock.release()

    def _compiled_kernels(self) -> list[list[Kernel]]:
        """Compiled kernels of all planes; empty where they are not installed, not exact or not for this processor."""
        if not has_openvino():
            return []
        from .compiled_kernels import Int8Kernel, check_inputs, int8_is_exact  # loads OpenVINO

        if not int8_is_exact():
            return []
        kernels: list[list[Kernel]] = []
        for net, exact in zip(self.nets, self.kernels, strict=True):
            try:
                compiled = [Int8Kernel(net, self.lut, own) for own in net.own]
            except RuntimeError:
                return []
            for one, other, own in zip(compiled, exact, net.own, strict=True):
                inputs = check_inputs(net, own)
                if any(not np.array_equal(one.rows(inputs, p), other.rows(inputs, p)) for p in range(len(self.passes))):
                    return []
            kernels.append([*compiled])
        return kernels

    def code_tiles(self, coders: Sequence[Coder], tiles: Sequence[Planes], layers: Layers) -> None:
        """Code the planes (int32 [h, w] or [L]) of `layers` of each tile; decoders fill them in place."""
        self.choose_kernels(sum(planes[0].size for planes in tiles))
        if not any(split.low for split in self.splits):
            self._code(coders, tiles, layers, self.kernels)
            return
        starts = np.cumsum([0, *(len(split.sizes) for split in self.splits)]).tolist()
        parts = [
            [part for split, plane in zip(self.splits, planes, strict=True) for part in split.divide(plane)]
            for planes in tiles
        ]
        coded = [[v for s in layer for v in range(starts[s], starts[s + 1])] for layer in layers]
        self._code(coders, parts, coded, self.kernels)
        for planes, of_tile in zip(tiles, parts, strict=True):
            for s, split in enumerate(self.splits):
                if split.low:
                    planes[s][...] = split.join(*of_tile[starts[s] : starts[s + 1]])

    def _code(
        self,
        coders: Sequence[Coder],
        tiles: Sequence[Sequence[np.ndarray]],
        layers: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[Kernel]],
    ) -> None:
        tiles = [[np.atleast_2d(plane) for plane in planes] for planes in tiles]
        h, w = with_margins([plane.shape for planes in tiles for plane in planes], self.grids)
        if len(tiles) > (most := max(1, TOGETHER // (h * w))):
            for start in range(0, len(tiles), most):
                part = slice(start, start + most)
                self._code(coders[part], tiles[part], layers, kernels)
            return
        known = KnownEmbeddings([[p.shape for p in planes[: sum(map(len, layers))]] for planes in tiles], self.grids)
        for layer in layers:
            for s in layer:
                self._code_plane(coders, [planes[s] for planes in tiles], s, known, kernels[s])
            for coder in coders:
                coder.end_layer()

    def _code_plane(
        self,
        coders: Sequence[Coder],
        planes: Sequence[np.ndarray],
        s: int,
        known: KnownEmbeddings,
        kernels: Sequence[Kernel],
    ) -> None:
        """Code symbol plane s of all tiles, given those before it in `known`, and add it there."""
        size = self.coded_sizes[s]
        embedding = np.ascontiguousarray(self.nets[s].embedding.astype(np.int8)).view(np.int64)[:, 0]
        known.start(s, unknown=embedding[size], outside=embedding[size + 1])
        for p, of_pass in enumerate(self.passes):
            wanted = inputs_of(s, self.near, of_pass.spacing)
            kernel = kernels[min(of_pass.grid, len(kernels) - 1)]
            positions = known.positions(s, of_pass)
            parts = [plane[of_pass.positions] for plane in planes]
            symbols = np.concatenate([part.reshape(-1) for part in parts])
            for strip, of_tiles in positions.strips():
                rows = kernel.rows(known.surroundings(positions, strip, wanted), p)
                for tile, here in of_tiles:
                    coders[tile].code_rows(rows[here.start - strip.start : here.stop - strip.start], symbols[here])
            for part, end in zip(parts, positions.ends, strict=True):
                part[...] = symbols[end - part.size : end].reshape(part.shape)
            # After the whole pass: its positions do not see each other, however it is cut into strips.
            # A cut stream leaves MISSING: such symbols stay unknown.
            known.add(s, positions, embedding[np.where(symbols < 0, size, symbols)])


class _Recorder:
    """A coder that hashes the frequencies."""

    encodes = True

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def code_rows(self, rows: np.ndarray, symbols: np.ndarray) -> None:
        self.digest.update(rows.astype("<i4").tobytes())

    def code(self, table: np.ndarray, symbols: np.ndarray) -> None:
        self.code_rows(table, symbols)

    def code_choice(self, options: int, decide: Callable[[], int]) -> int:
        return decide()

    def end_layer(self) -> None:
        """Do nothing: the digest does not depend on layers."""


def lookup_table(size: int) -> np.ndarray:
    """Frequencies int64 [256] of logits 0, 1, ... sixteenths of a bit below the largest, for alphabets up to `size`.

    A row of `size` frequencies sums to at most EXACT.
    """
    top = EXACT // size
    return np.maximum(1, np.round(top * 2.0 ** (-np.arange(LOOKUP) / 16))).astype(np.int64)
