"""A few mutated inputs of every target, flipped bits, prefixes and bombs; robustness.py runs a million."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

from vqcodec import container
from vqcodec.models import registry

from ..containers import GOLDEN
from . import robustness, targets, vqc_mutation
from .bombs import BOMBS


@pytest.fixture(scope="module", autouse=True)
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The models of the targets are the installed ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "cache_folder", registry.cache_folder)
        patch.setattr(registry, "survey", registry.survey)
        patch.setattr(targets, "scratch", Path())
        targets.setup(tmp_path_factory.mktemp("fuzz"))
        yield
    targets.files.cache_clear()


@pytest.mark.parametrize(
    ("name", "count"),
    [("container", 300), ("tokens", 60), ("arrays", 60), ("checkpoint", 100), ("model", 15), ("decode", 15)],
)
def test_mutated_inputs_are_read_or_refused(name: str, count: int) -> None:
    found = robustness.attack(name, first=10**7, count=count)
    assert not found["failures"]
    assert sum(found["ends"].values()) == count


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(name: str) -> None:
    found = robustness.explode(name, robustness.make_bomb(name))
    assert found["end"] == BOMBS[name].error
    assert found["mb"] < 200
    assert found["ms"] < 1000  # a slow machine; robustness.py measures it


def test_every_flipped_bit_of_a_small_file_is_noticed() -> None:
    data = min(targets.files(), key=len)
    assert robustness.undetected_flips(data, targets.read_whole) == (8 * len(data), 0)


def test_every_prefix_is_decoded_or_refused() -> None:
    data = next(data for data in targets.files() if 300 < len(data) < 1500)
    cuts, decoded = robustness.prefixes(data, targets.read_whole, targets.read_part)
    assert cuts == len(data)
    assert decoded > len(data) // 3


def test_an_unchanged_draft_is_the_file() -> None:
    for data in (GOLDEN, *targets.files()):
        assert vqc_mutation.draft_of(data).write() == data


def test_checksums_are_repaired() -> None:
    data = next(data for data in targets.files() if container.read_head(data).alpha_bytes is not None)
    head, random = container.read_head(data), np.random.default_rng(0)
    damaged = bytearray(data)
    for at in (head.segment_offset(0, 0), head.alpha_offset, head.chunks_offset + 6, head.size - 1):
        damaged[at] ^= random.integers(1, 255)
    with pytest.raises(targets.FormatError):
        container.read(bytes(damaged))
    assert container.read(vqc_mutation.repaired(bytes(damaged))).complete


def test_mutation_depends_on_the_number_alone() -> None:
    target = targets.target("container")
    seeds = target.seeds()
    first = [robustness.input_number(target, seeds, n) for n in range(20)]
    assert first == [robustness.input_number(target, seeds, n) for n in range(20)]
    assert len(set(first)) == 20
    assert all(first != second for first, second in zip(first, first[1:], strict=False))
    assert target.mutated(seeds[0], Random(1)) == target.mutated(seeds[0], Random(1))
