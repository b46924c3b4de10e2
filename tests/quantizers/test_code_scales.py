"""Multi-scale residual quantizer against its definition in numpy loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from vqcodec.config.quantizers import BinaryConfig, MultiScaleConfig
from vqcodec.quantizers.build import build_quantizer

from ..codes import VQ, built


def enlarged(plane: np.ndarray, side: int) -> np.ndarray:
    """Bicubic interpolation with a = -0.75 and borders repeated, [h, h] -> [side, side], by its definition."""

    def weight(x: float) -> float:
        x, a = abs(x), -0.75
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    n = len(plane)
    matrix = np.zeros((side, n))
    for i in range(side):
        at = (i + 0.5) * n / side - 0.5
        for tap in range(math.floor(at) - 1, math.floor(at) + 3):
            matrix[i, min(max(tap, 0), n - 1)] += weight(at - tap)
    return matrix @ plane @ matrix.T


def shrunk(plane: np.ndarray, n: int) -> np.ndarray:
    """Mean over the area under each of n x n cells."""
    side = len(plane)
    cuts = [(i * side // n, -(-(i + 1) * side // n)) for i in range(n)]
    return np.array([[plane[a:b, c:d].mean() for c, d in cuts] for a, b in cuts])


def convolved(planes: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    side = planes.shape[1]
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
    found = np.zeros_like(planes)
    for dy in range(3):
        for dx in range(3):
            found += np.einsum("oc,chw->ohw", weight[:, :, dy, dx], padded[:, dy : dy + side, dx : dx + side])
    return found + bias[:, None, None]


@pytest.mark.parametrize("base", [VQ, BinaryConfig(4)], ids=["vq", "binary"])
def test_scales_by_their_definition(base: Any) -> None:
    """Reference in numpy: downsample, quantize, upsample, convolve, subtract, at each scale."""
    scales = (1, 2, 3, 5)
    torch.manual_seed(3)
    quantizer: Any = build_quantizer(MultiScaleConfig(scales, base)).eval()
    z = torch.randn(1, 4, 5, 5)
    planes = quantizer.quantize(z)
    rest, total = z[0].double().numpy(), np.zeros((4, 5, 5))
    for stage, (side, mend) in enumerate(zip(scales, (0, 1, 2, 3), strict=True)):
        low = rest if side == 5 else np.stack([shrunk(plane, side) for plane in rest])
        rows = low.reshape(4, -1).T
        if isinstance(base, BinaryConfig):
            index = ((rows > 0) * 2 ** np.arange(4)).sum(1)
            words = np.where(rows > 0, 1.0, -1.0)
        else:
            book = quantizer.codes[0].bank.codebooks[0].double().numpy()
            index = (rows @ (book / np.linalg.norm(book, axis=1, keepdims=True)).T).argmax(1)
            words = book[index]
        assert planes[stage].flatten().tolist() == index.tolist()
        wide = words.T.reshape(4, side, side)
        wide = wide if side == 5 else np.stack([enlarged(plane, 5) for plane in wide])
        conv = quantizer.mends[mend]
        wide = 0.5 * wide + 0.5 * convolved(wide, conv.weight.detach().double().numpy(), conv.bias.detach().numpy())
        rest, total = rest - wide, total + wide
    torch.testing.assert_close(quantizer.dequantize(planes)[0][0].double(), torch.from_numpy(total), atol=1e-4, rtol=0)


def test_scales_of_grids_that_are_not_square() -> None:
    config = MultiScaleConfig((1, 2, 4), VQ)
    assert config.shapes((8, 6)) == ((2, 2), (4, 3), (8, 6))
    assert config.shapes((9,)) == ((2,), (5,), (9,))
    quantizer, _ = built(config)
    z = torch.randn(1, 4, 9)
    planes = quantizer.quantize(z)
    assert quantizer.dequantize(planes)[0].shape == z.shape


def test_four_convolutions_over_ten_scales() -> None:
    quantizer: Any = build_quantizer(MultiScaleConfig((1, 1, 2, 3, 3, 4, 5, 6, 8, 11), VQ))
    assert quantizer.mend_of == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
