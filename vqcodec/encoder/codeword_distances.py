"""How far a latent is from the codewords of each plane, given what is chosen of those before it.

What the encoder and the trainer put into `entropy.choose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

from ..quantizers.product import ProductVQ


class CodewordDistances:
    """Of the codebooks of `quantizer`: planes of groups, then those that refine what groups leave over."""

    def __init__(self, quantizer: ProductVQ) -> None:
        books = quantizer.codebooks.float().cpu().numpy()
        widths = quantizer.widths
        self.spans = [slice(a, b) for a, b in pairwise((0, *accumulate(widths)))]
        self.codebooks = [book[:, :width] for book, width in zip(books, widths, strict=True)]
        scales = [np.ones(width, np.float32) for width in widths]
        if (refinements := quantizer.refinements) is not None:
            scale = quantizer.importance().sqrt().float().cpu().numpy()
            self.spans += refinements.spans
            self.codebooks += [
                book[:, :width]
                for book, width in zip(refinements.codebooks.float().cpu().numpy(), refinements.widths, strict=True)
            ]
            scales += [scale[span] for span in refinements.spans]
        self.scales = scales
        self.scaled = [book * scale for book, scale in zip(self.codebooks, scales, strict=True)]
        self.lengths = [np.square(book).sum(1) for book in self.scaled]
        self.below = [
            [(t, *_overlap(span, self.spans[t])) for t in range(s) if _touch(span, self.spans[t])]
            for s, span in enumerate(self.spans)
        ]
        """(plane, its part of this plane's channels, of its own) of those that this plane refines."""

    def measure(self, s: int, latent: np.ndarray, positions: np.ndarray, chosen: Sequence[np.ndarray]) -> np.ndarray:
        """Squared distances float32 [n, K] of a latent [D, h, w] at flat `positions` [n] from the codewords of plane s.

        `chosen[t]` [h * w] are the codes of the planes before it.
        """
        part = latent[self.spans[s]]
        rows = part.reshape(len(part), -1)[:, positions].T.astype(np.float32)
        for t, here, there in self.below[s]:
            rows[:, here] -= self.codebooks[t][chosen[t][positions], there]
        rows *= self.scales[s]
        found: np.ndarray = rows @ (-2 * self.scaled[s].T)
        found += self.lengths[s]
        found += np.square(rows).sum(1)[:, None]
        return found


def _touch(a: slice, b: slice) -> bool:
    return bool(max(a.start, b.start) < min(a.stop, b.stop))


def _overlap(a: slice, b: slice) -> tuple[slice, slice]:
    """The channels that both have, counted from the start of each."""
    start, stop = max(a.start, b.start), min(a.stop, b.stop)
    return slice(start - a.start, stop - a.start), slice(start - b.start, stop - b.start)
