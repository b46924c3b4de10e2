"""Order of an epoch: permutations without memory, and shares without repeats."""

from __future__ import annotations

import numpy as np
import pytest

from vqcodec.data.order import Share, draw, shuffled


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_an_epoch_is_a_permutation(n: int) -> None:
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        np.testing.assert_array_equal(np.sort(shuffled(np.arange(n), n, seed, epoch)), np.arange(n))


def test_positions_can_be_computed_alone_and_are_the_same_on_every_machine() -> None:
    whole = shuffled(np.arange(1000), 1000, 7, 3)
    np.testing.assert_array_equal(shuffled(np.array([999, 0, 500]), 1000, 7, 3), whole[[999, 0, 500]])
    assert shuffled(np.array([0, 1, 2]), 10**12, 0, 0).tolist() == GOLDEN


GOLDEN = [123084861995, 95353708744, 327838839821]


def test_permutations_of_epochs_are_not_related() -> None:
    """Few fixed points, few equal neighbours, and no correlation, as of random permutations."""
    n = 10_000
    orders = [shuffled(np.arange(n), n, 0, epoch) for epoch in range(4)]
    for i, one in enumerate(orders):
        assert (one == np.arange(n)).sum() < 10
        assert (np.diff(one) == 1).sum() < 10
        assert abs(np.corrcoef(one, np.arange(n))[0, 1]) < 0.04
        for other in orders[:i]:
            assert (one == other).sum() < 10
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.04


def test_draws_are_uniform() -> None:
    counts = np.bincount(draw(np.arange(60_000), 6, 0, 0, 0), minlength=6)
    assert abs(counts - 10_000).max() < 400
    assert (draw(np.arange(100), 6, 0, 0, 0) != draw(np.arange(100), 6, 0, 0, 1)).any()


@pytest.mark.parametrize("block", [1, 8])
@pytest.mark.parametrize(("world", "workers"), [(1, 1), (1, 3), (2, 2), (5, 4)])
def test_shares_hold_each_position_once(world: int, workers: int, block: int) -> None:
    n, start = 203, 20
    found = [
        Share(n, start, rank, world, worker, workers, block).positions(0, 1000)
        for rank in range(world)
        for worker in range(workers)
    ]
    assert sorted(np.concatenate(found).tolist()) == list(range(start, n))
    parts = Share(n, start, 0, world, 0, workers, block)
    np.testing.assert_array_equal(np.concatenate([parts.positions(i, 4) for i in range(0, 1000, 4)]), found[0])
