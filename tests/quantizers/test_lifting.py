"""The wavelet over the grid: exact inverse, nearly orthonormal, and few coefficients for smooth latents."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.config.quantizers import LOW_LEVELS
from vqcodec.transforms.lifting import lift, unlift
from vqcodec.transforms.lifting_steps import REACH


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_inverse(h: int, w: int, seed: int) -> None:
    z = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(unlift(lift(z)), z, atol=1e-4)


def test_errors_keep_their_size() -> None:
    error = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    assert float(unlift(error).square().mean()) == pytest.approx(1, abs=0.12)


def test_a_ramp_takes_few_coefficients() -> None:
    z = torch.arange(64.0)[None, None, None].expand(1, 1, 48, 64).contiguous()
    large = lift(z).abs() > 1
    places = large[0, 0].nonzero()
    inner = places[(places[:, 1] > 8) & (places[:, 1] < 48)]
    # The border of a grid that small reaches the coarsest level.
    assert (inner % 2 ** (LOW_LEVELS - 1) == 0).all()


def test_values_depend_on_no_more_than_the_reach() -> None:
    z = torch.zeros(1, 1, 1, 401)
    z[..., 200] = 1
    for found in (lift(z), unlift(z)):
        places = found[0, 0, 0].nonzero().flatten()
        assert 200 - REACH <= int(places.min()) <= int(places.max()) <= 200 + REACH
