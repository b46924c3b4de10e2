"""Interface of the networks of a model over one window: arrays in, arrays out, whatever library runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Networks(Protocol):
    """Encoder, quantizer and decoder of a model. Sides of windows are multiples of the stride."""

    encoder_halo: int | None
    """Pixels around a window that its latent depends on; None: the whole picture."""
    decoder_halo: int | None
    """Pixels around a window that its pixels depend on; None: the whole picture."""

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 [H, W, 3] -> latent float32 [D, h, w]."""

    def quantize(self, z: np.ndarray, lmbda: float) -> list[np.ndarray]:
        """Latent float32 [D, h, w] -> planes int32 [h, w], each index selected by itself at the multiplier `lmbda`."""

    def dequantize(
        self, planes: Sequence[np.ndarray], step: int | None = None, lifted: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Planes as for `decode` -> the decoder's input: z_q float32 [D, h, w] and keep map float32 [G, h, w]."""

    def decode(
        self, planes: Sequence[np.ndarray], step: int | None = None, lifted: np.ndarray | None = None
    ) -> np.ndarray:
        """Planes int32 [h, w] -> pixels uint8 [H, W, 3].

        Args:
            planes: indices, MISSING where unknown.
            step: number of the quantization step, for models with a uniform quantizer.
            lifted: the part in the window of `lifted_channels`, float32 [lifted, h, w].
        """

    def prepare_decoder(self, grid: tuple[int, int]) -> None:
        """Make `decode` ready for planes of the shape `grid`, where that takes time."""

    def release(self) -> None:
        """Free the memory of intermediate results after the last window of a picture; small amounts are kept."""
