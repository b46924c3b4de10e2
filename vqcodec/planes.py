"""Index planes and the types that describe them.

A quantizer turns a latent into S index planes, coarse to fine. A layer is a run of planes that a file stores together.
Importing this module loads neither torch nor numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np

MISSING = -1
"""Index of a sub-token that is not known: masked, left out of the file, or lost."""

Grid: TypeAlias = tuple[int, ...]
"""Shape of a plane or latent: (h, w), or (L,) for a sequence of L tokens."""
Shapes: TypeAlias = tuple[Grid, ...]
"""Shape of each plane."""
Layers: TypeAlias = tuple[tuple[int, ...], ...]
"""Numbers of the planes in each layer, coarse to fine."""
Planes: TypeAlias = "list[np.ndarray]"
"""Index planes int32, coarse to fine; entries 0..K-1, or MISSING."""
Maps: TypeAlias = "Sequence[np.ndarray]"
"""One map per tile: the number of layers kept in each block, int32 [rows, columns]; see entropy/layer_map.py."""


def indices_in(tiles: Sequence[Sequence[Grid]], layers: Layers) -> int:
    """Number of indices in the planes of `layers`, over tiles with planes of such shapes."""
    return sum(math.prod(shapes[s]) for shapes in tiles for layer in layers for s in layer)


def blank_planes(shapes: Sequence[Grid], value: int = MISSING) -> Planes:
    """One plane int32 of `value` for each shape."""
    import numpy as np

    return [np.full(shape, value, np.int32) for shape in shapes]
