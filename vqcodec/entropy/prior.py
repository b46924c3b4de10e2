"""A context model in integers: the frequencies of a sub-token from its neighbours and from the planes before it.

For each plane a small network sees 3x3 positions of every earlier plane and the 5x5 already coded around the position
in its own, in four passes over a quarter of the grid each (scan.PASSES):

    codes -> embeddings -> 128 -> 128 (residual) -> K logits in 1/16 bit -> table look-up -> frequencies

Differs from tables.py: trained, and what is coded of one position depends on others. Weights are int8, activations
0..127, shifts powers of two, and every partial sum stays below 2**24: exact in float32 in any order of summation, so
every machine, thread count and batch gives the same frequencies. Contexts stop at the border of a tile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .coder import Coder
from .scan import PASSES

EMBEDDING = 8
"""Values per code."""
EXACT = 2**24
"""Integers below this are exact in float32."""
AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
"""Offsets seen in earlier planes."""
OWN = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if (dy, dx) != (0, 0)]
"""Offsets seen in the plane itself, where already coded."""
MARGIN = 2
STRIP = 2**12
"""Positions whose frequencies are computed together; bounds memory for tiles of any size, never changes a byte."""
LOOKUP = 256
"""Entries of the table from logit difference (1/16 bit) to frequency."""


@dataclass(frozen=True)
class PlaneNet:
    """The network of one plane, as float32 arrays that hold integers. H hidden units, K codes, s earlier planes."""

    embedding: np.ndarray
    """[K + 2, 8]; row K stands for a code that is not known yet, row K + 1 for a position outside of the tile."""
    around: np.ndarray
    """[9 * 8 * s, H]."""
    own: np.ndarray
    """[24 * 8, H]."""
    bias1: np.ndarray
    """[4, H], a row for each pass."""
    scale1: np.ndarray
    """[H], powers of two, as all scales."""
    hidden: np.ndarray
    """[H, H]."""
    bias2: np.ndarray
    scale2: np.ndarray
    out: np.ndarray
    """[H, K]."""
    bias3: np.ndarray
    """[4, K]."""
    scale3: np.ndarray


class ContextModel:
    """The prior of a model; `tensors` are its `prior.*` tensors, integers all of them."""

    kind = "context"

    def __init__(self, sizes: Sequence[int], tensors: Mapping[str, np.ndarray]) -> None:
        self.sizes = tuple(sizes)
        self._digest = hashlib.sha256(f"{self.kind} {self.sizes}".encode())
        self.lut = self._take(tensors, "prior.lut", (LOOKUP,)).astype(np.float32)
        if self.lut.min() < 1 or self.lut.max() * max(sizes) > EXACT:
            raise ValueError(f"prior.lut: entries must be 1..{EXACT // max(sizes)}")
        self.nets = [self._net(tensors, s) for s in range(len(sizes))]

    def identity(self) -> bytes:
        """4 bytes that differ when the frequencies could."""
        return self._digest.digest()[:4]

    def _take(self, tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in tensors:
            raise ValueError(f"{name}: missing")
        value = tensors[name]
        if value.shape != shape or value.dtype.kind not in "iu":
            raise ValueError(f"{name}: integers of shape {list(shape)} needed, found {value.dtype} {list(value.shape)}")
        self._digest.update(name.encode() + np.ascontiguousarray(value, dtype="<i4").tobytes())
        return value.astype(np.int64)

    def _net(self, tensors: Mapping[str, np.ndarray], s: int) -> PlaneNet:
        size = self.sizes[s]
        units = tensors[f"prior.{s}.bias2"].shape[0] if f"prior.{s}.bias2" in tensors else 0

        def take(name: str, *shape: int) -> np.ndarray:
            return self._take(tensors, f"prior.{s}.{name}", shape)

        embedding = take("embedding", size + 2, EMBEDDING)
        around, own = take("around", len(AROUND) * EMBEDDING * s, units), take("own", len(OWN) * EMBEDDING, units)
        bias1, shift1 = take("bias1", len(PASSES), units), take("shift1", units)
        hidden, bias2, shift2 = take("hidden", units, units), take("bias2", units), take("shift2", units)
        out, bias3, shift3 = take("out", units, size), take("bias3", len(PASSES), size), take("shift3", size)
        seen = abs(np.concatenate([around, own])).sum(0) * 127
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

    def code_tiles(
        self,
        coders: Sequence[Coder],
        tiles: Sequence[Sequence[np.ndarray]],
        layers: Sequence[Sequence[int]],
    ) -> None:
        """Code the planes (int32 [h, w], all of one shape) of `layers` of each tile; decoders fill them in place."""
        h, w = tiles[0][0].shape
        n_planes = sum(map(len, layers))
        # Embeddings of the planes coded before, side by side.
        seen = np.empty((len(tiles), h + 2 * MARGIN, w + 2 * MARGIN, EMBEDDING * n_planes), np.int8)
        for layer in layers:
            for s in layer:
                codes = self._code_plane(coders, [planes[s] for planes in tiles], s, seen[..., : EMBEDDING * s])
                seen[..., EMBEDDING * s : EMBEDDING * (s + 1)] = self.nets[s].embedding.astype(np.int8)[codes]
            for coder in coders:
                coder.end_layer()

    def _code_plane(
        self, coders: Sequence[Coder], planes: Sequence[np.ndarray], s: int, seen: np.ndarray
    ) -> np.ndarray:
        """Code plane s of all tiles; `seen` is int8 [n, h + 4, w + 4, 8 * s]. Returns its codes [n, h + 4, w + 4]."""
        (h, w), net, size = planes[0].shape, self.nets[s], self.sizes[s]
        codes = np.full((len(planes), h + 2 * MARGIN, w + 2 * MARGIN), size + 1, np.int32)
        inside = codes[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        inside[...] = size
        for p, (y, x) in enumerate(PASSES):
            for strip in _strips(h, w, y, x, len(planes)):
                around = strip.with_margin
                total = _context(net.embedding[codes[:, *around]], OWN) @ net.own + net.bias1[p]
                if s:
                    total += _context(seen[:, *around], AROUND).astype(net.around.dtype) @ net.around
                rows = self._frequencies(net, p, total).reshape(len(planes), -1, size)
                for i, (coder, plane) in enumerate(zip(coders, planes, strict=True)):
                    symbols = np.ascontiguousarray(plane[strip.positions])
                    coder.code_rows(rows[i], symbols.reshape(-1))
                    plane[strip.positions] = symbols
            # Only now: the codes of a pass do not see each other, however it is cut into strips.
            for known, plane in zip(inside, planes, strict=True):
                # A cut stream leaves MISSING behind: such codes stay unknown.
                known[y::2, x::2] = np.where(plane[y::2, x::2] < 0, size, plane[y::2, x::2])
        return codes

    def _frequencies(self, net: PlaneNet, p: int, total: np.ndarray) -> np.ndarray:
        """Sums of the first layer [..., H] -> integer frequencies [..., K], float32."""
        h1 = np.clip(np.floor(total * net.scale1), 0, 127)
        h2 = np.clip(h1 + np.floor((h1 @ net.hidden + net.bias2) * net.scale2), 0, 127)
        logits = np.floor((h2 @ net.out + net.bias3[p]) * net.scale3)
        below = np.minimum(logits.max(-1, keepdims=True) - logits, LOOKUP - 1)
        return self.lut[below.astype(np.uint8)]


def lookup_table(size: int) -> np.ndarray:
    """Frequencies int64 [256] for logits 0, 1, ... sixteenths of a bit below the largest, alphabets up to `size`."""
    top = EXACT // size
    return np.maximum(1, np.round(top * 2.0 ** (-np.arange(LOOKUP) / 16))).astype(np.int64)


@dataclass(frozen=True)
class Strip:
    """Some rows and columns of the positions of one pass, within a tile."""

    positions: tuple[slice, slice]
    """In the plane: every second row and column."""
    with_margin: tuple[slice, slice]
    """In a padded plane: the positions, those between them, and MARGIN around."""


def _strips(h: int, w: int, y: int, x: int, n_tiles: int) -> Iterator[Strip]:
    """The positions of pass (y, x) in coding order, at most STRIP a time over all tiles, at least one of each."""
    columns = max(1, min(len(range(x, w, 2)), STRIP // n_tiles))
    rows = max(1, STRIP // n_tiles // columns)
    for top in range(y, h, 2 * rows):
        for left in range(x, w, 2 * columns):
            bottom, right = min(top + 2 * rows - 1, h), min(left + 2 * columns - 1, w)
            yield Strip(
                (slice(top, bottom, 2), slice(left, right, 2)),
                (slice(top, bottom + 2 * MARGIN), slice(left, right + 2 * MARGIN)),
            )


def _context(padded: np.ndarray, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Surroundings of every second position: [n, h + 4, w + 4, C] -> [positions, len(offsets) * C]."""
    h, w = padded.shape[1] - 2 * MARGIN, padded.shape[2] - 2 * MARGIN
    parts = [padded[:, MARGIN + dy : MARGIN + h + dy : 2, MARGIN + dx : MARGIN + w + dx : 2] for dy, dx in offsets]
    found = np.concatenate(parts, -1)
    return found.reshape(-1, found.shape[-1])
