"""Files of index models at any multiplier, budget and least quality."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

import vqcodec
from vqcodec.config.effort import same_files
from vqcodec.encoder.build import encoder_for
from vqcodec.encoder.index_encoder import IndexEncoder
from vqcodec.encoder.ladder_search import CLOSE
from vqcodec.encoder.selectors import IndividualSelector
from vqcodec.errors import TargetError, UsageError
from vqcodec.image.files import as_picture
from vqcodec.inference import networks
from vqcodec.metrics import psnr
from vqcodec.models.loading import load_model
from vqcodec.tokens.tokens import write_tokens
from vqcodec.train.quantization.context_choice import PriorChoice

from ..conftest import write_tiny_model
from ..rated import RATES, rate_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    base = tmp_path_factory.mktemp("rated")
    rate_model(base / "rated", "rated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQCODEC_MODELS", str(base))
        yield "rated"


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    data = pytest.importorskip("skimage.data", reason="the photographs come with scikit-image")
    return Image.fromarray(data.chelsea()).resize((1100, 760), Image.Resampling.LANCZOS)


def encoder_of(picture: Image.Image, name: str, effort: int = 6) -> IndexEncoder:
    encoder = encoder_for(as_picture(picture), name, effort=effort)
    assert isinstance(encoder, IndexEncoder)
    return encoder


@pytest.fixture(scope="module")
def sizes(name: str, picture: Image.Image) -> list[int]:
    encoder = encoder_of(picture, name)
    return [len(encoder.file_at_step(i)) for i in range(len(RATES))]


def test_efforts_of_one_pass_make_the_same_file(name: str, photo: Image.Image) -> None:
    files = {effort: vqcodec.encode(photo, name, effort=effort) for effort in range(1, 10)}
    assert {same_files(effort) for effort in range(1, 6)} == {5}
    assert all(files[effort] == files[same_files(effort)] for effort in files)
    assert [same_files(effort) for effort in range(6, 10)] == [6, 7, 8, 9]


def test_a_smaller_multiplier_makes_a_larger_file(sizes: list[int]) -> None:
    assert sizes == sorted(set(sizes))
    assert sizes[-1] > 1.5 * sizes[0]


@pytest.mark.parametrize("effort", [1, 2, 5, 7])
@pytest.mark.parametrize("keep", [None, 2])
def test_the_file_holds_the_tokens(name: str, photo: Image.Image, effort: int, keep: int | None) -> None:
    encoder = encoder_of(photo, name, effort=effort)
    for lmbda in (0.0, 1.0, 30.0):
        tokens, data = encoder.tokens(lmbda, keep), encoder.file(lmbda, keep)
        assert data == write_tokens(tokens, load_model(name))
        found = vqcodec.decode_tokens(data)
        for ours, theirs in zip(tokens.planes, found.planes, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_at_multiplier_zero_every_effort_selects_the_nearest_codeword(name: str, photo: Image.Image) -> None:
    files = {effort: encoder_of(photo, name, effort=effort).file(0.0) for effort in (1, 5, 9)}
    assert files[1] == files[5] == files[9]


def test_low_efforts_make_the_files_of_one_pass(name: str, photo: Image.Image) -> None:
    assert len({encoder_of(photo, name, effort=effort).file(4.0) for effort in (1, 2, 5)}) == 1


def test_selection_in_context_lowers_the_cost(name: str, picture: Image.Image) -> None:
    """The cost that it minimises: distance in units of the distance per bit, plus bits."""
    encoder = encoder_of(picture, name, effort=5)
    codewords = encoder.final_selector.codewords  # type: ignore[attr-defined]
    individual = IndividualSelector(encoder.model)
    alone = IndexEncoder(
        encoder.picture,
        encoder.model,
        name,
        encoder.latent,
        first_pass_selector=individual,
        draft_selector=individual,
        final_selector=individual,
        passes=0,
    )
    costs = []
    for tried in (alone, encoder):
        cost = 8.0 * len(tried.file(4.0))
        for tile, planes in zip(tried.tiles, tried.tile_planes(tried.tiles, 4.0), strict=True):
            flat, part = [p.reshape(-1) for p in planes], tried.latent.values[:, *tile.slices]
            for s, plane in enumerate(flat):
                distances = codewords.of_plane(s, part, flat)(np.arange(plane.size))
                cost += distances[np.arange(plane.size), plane].sum() / codewords.distance_per_bit(4.0)[s]
        costs.append(cost)
    assert costs[1] < 0.98 * costs[0]


@pytest.mark.slow
@settings(max_examples=3)
@given(share=st.floats(0.02, 1.3))
@example(0.02)
@example(1.3)
def test_budgets_are_kept_and_used(name: str, picture: Image.Image, sizes: list[int], share: float) -> None:
    budget = round(sizes[-1] * share)
    least = len(encoder_of(picture, name).file(RATES[0], 1))
    if budget < least:
        with pytest.raises(TargetError, match=str(least)):
            vqcodec.encode(picture, name, max_bytes=budget)
        return
    data = vqcodec.encode(picture, name, max_bytes=budget)
    assert len(data) <= budget
    if 2000 < budget <= sizes[-1]:
        assert len(data) >= 0.97 * budget
    assert vqcodec.decode(data).size == picture.size


def test_a_budget_runs_the_network_once(name: str, photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = []
    original = networks._latents

    def counted(*args: Any) -> Any:
        windows.append(args)
        return original(*args)

    monkeypatch.setattr(networks, "_latents", counted)
    vqcodec.encode(photo, name, max_bytes=300)
    assert len(windows) == 1


@pytest.mark.parametrize("asked", [{"max_bytes": 9000}, {"min_quality": ("psnr", 11.0)}])
def test_a_search_refines_few_steps_of_the_ladder(
    name: str, picture: Image.Image, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    refined = []
    original = IndexEncoder._refine

    def counted(encoder: IndexEncoder, lmbda: float, layers: Any) -> Any:
        refined.append(lmbda)
        return original(encoder, lmbda, layers)

    monkeypatch.setattr(IndexEncoder, "_refine", counted)
    vqcodec.encode(picture, name, **asked)
    assert 1 <= len(refined) <= 3


def test_the_smallest_file_that_reaches_a_quality(name: str, photo: Image.Image) -> None:
    pixels = np.asarray(photo)

    def reached(data: bytes) -> float:
        return psnr(pixels, np.asarray(vqcodec.decode(data)))

    encoder = encoder_of(photo, name, effort=5)  # refinement has no effect on a decoder of random weights
    scores = [reached(encoder.file_at_step(i)) for i in range(len(RATES))]
    target = max(scores[0], scores[-1] - 0.02)
    data = vqcodec.encode(photo, name, min_quality=("psnr", target), effort=5)
    assert reached(data) >= target
    if target > scores[0]:
        assert len(data) <= len(encoder.file_at_step(len(RATES) - 1))
    with pytest.raises(TargetError, match="ask for less"):
        vqcodec.encode(photo, name, min_quality=("psnr", 90.0))


@pytest.mark.parametrize("effort", [0, 10])
def test_efforts_outside_the_scale_are_refused(name: str, photo: Image.Image, effort: int) -> None:
    with pytest.raises(UsageError, match=r"1\.\.9"):
        vqcodec.encode(photo, name, effort=effort)


def test_budgets_are_filled_as_documented() -> None:
    assert CLOSE >= 0.97


def test_training_selects_as_files_do(name: str, photo: Image.Image) -> None:
    encoder = encoder_of(photo, name, effort=5)
    (tile,) = encoder.tiles
    choose = PriorChoice(name)
    z = torch.from_numpy(encoder.latent.values)[None].repeat(2, 1, 1, 1)
    planes = choose(z, torch.tensor([0.0, 4.0]))
    for sample, lmbda in enumerate((0.0, 4.0)):
        for ours, theirs in zip(planes, encoder.tile_planes([tile], lmbda)[0], strict=True):
            assert (ours[sample].numpy() != theirs).mean() < 0.01  # sums in another order: ties


def test_training_needs_weights_of_bits_and_a_context_model(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "plain")
    with pytest.raises(UsageError, match="no context model"):
        PriorChoice(str(tmp_path / "plain"))
