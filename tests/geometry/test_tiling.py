"""Access tiles and compute windows: partitions, halos and padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.geometry.rectangles import Rect, grid_size, read_padded, split, windows

sides = st.integers(1, 60)


@given(sides, sides, st.integers(1, 20))
def test_split_is_a_partition(h: int, w: int, side_steps: int) -> None:
    seen = np.zeros((h, w), int)
    for rect in split(Rect(0, h, 0, w), side_steps):
        assert rect.shape[0] <= side_steps
        assert rect.shape[1] <= side_steps
        seen[rect.slices] += 1
    assert (seen == 1).all()


@given(sides, sides, st.integers(1, 20), st.integers(0, 9), st.data())
def test_windows_cover_an_area_once_with_their_halo(
    h: int, w: int, side_steps: int, halo: int, data: st.DataObject
) -> None:
    y0, x0 = data.draw(st.integers(0, h - 1)), data.draw(st.integers(0, w - 1))
    area = Rect(y0, data.draw(st.integers(y0 + 1, h)), x0, data.draw(st.integers(x0 + 1, w)))
    seen, shapes = np.zeros((h, w), int), set()
    for window in windows(area, (h, w), side_steps, halo):
        seen[window.inner.slices] += 1
        assert window.outer.y0 <= max(window.inner.y0 - halo, 0)
        assert window.outer.x1 >= min(window.inner.x1 + halo, w)
        assert window.inner.shape[0] * window.inner.shape[1] <= side_steps**2
        assert window.outer.shape[0] * window.outer.shape[1] <= (side_steps + 2 * halo) ** 2
        shapes.add(window.outer.shape)
        inside = window.inner.inside(window.outer)
        assert inside.shape == window.inner.shape
        assert inside.y0 + window.outer.y0 == window.inner.y0
    assert len(shapes) == 1
    assert (seen[area.slices] == 1).all()
    assert seen.sum() == area.shape[0] * area.shape[1]


@pytest.mark.parametrize(("width", "height", "grid"), [(1, 1, (1, 1)), (16, 17, (2, 1)), (481, 321, (21, 31))])
def test_grid_covers_the_picture(width: int, height: int, grid: tuple[int, int]) -> None:
    assert grid_size(width, height, 16) == grid


def test_padding_repeats_the_edge() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    padded = read_padded(pixels, Rect(1, 4, 1, 5))
    assert padded.shape == (3, 4, 3)
    np.testing.assert_array_equal(padded[0, :2], pixels[1, 1:])
    np.testing.assert_array_equal(padded[2, 3], pixels[1, 2])
