"""Alignment losses by hand and through their heads; missing teachers; refused recipes."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.errors import InputError, UsageError
from vqcodec.train.alignment import teachers
from vqcodec.train.alignment.losses import Alignments, FeaturePredictor
from vqcodec.train.alignment.measures import contrastive, cosine, prediction, repeated, resized
from vqcodec.train.alignment.teachers import TEACHERS, Features, load_teacher, source_of
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.recipe.schema import AlignmentRecipe, AlignRecipe

from ..teachers import SmallTeacher


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def log_softmax(row: list[float], place: int) -> float:
    return row[place] - math.log(sum(math.exp(v) for v in row))


# Formulas


def test_contrastive_by_hand() -> None:
    student, teacher = torch.tensor([[[1.0, 0]], [[0, 2]]]), torch.tensor([[[3.0, 1]], [[0, 1]]])
    likeness = [[3.0, 0.0], [2.0, 2.0]]
    rows = -(log_softmax(likeness[0], 0) + log_softmax(likeness[1], 1)) / 2
    columns = -(log_softmax([3.0, 2.0], 0) + log_softmax([0.0, 2.0], 1)) / 2
    assert contrastive(student, teacher).item() == pytest.approx((rows + columns) / 2)
    torch.testing.assert_close(contrastive(student, teacher), contrastive(teacher, student))
    assert contrastive(student, teacher, scale=50.0).item() > 0


def test_contrastive_over_places_is_their_mean_likeness() -> None:
    student, teacher = random(3, 4, 5), random(3, 4, 5, seed=1)
    flat = contrastive(student.flatten(1)[:, None] / 2, teacher.flatten(1)[:, None] / 2)
    torch.testing.assert_close(contrastive(student, teacher), flat)


def test_samples_can_be_left_out_of_the_contrast() -> None:
    student, teacher = random(4, 1, 5), random(4, 1, 5, seed=1)
    included = torch.tensor([True, False, True, True])
    torch.testing.assert_close(
        contrastive(student, teacher, included=included), contrastive(student[included], teacher[included])
    )
    assert contrastive(student, teacher, included=torch.zeros(4, dtype=torch.bool)).item() == 0


def test_prediction_by_hand() -> None:
    predicted, target = torch.tensor([[2.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [3, 3]])
    half = math.sqrt(0.5)
    expected = -(log_softmax([1.0, half], 0) + log_softmax([0.0, half], 1)) / 2
    assert prediction(predicted, target).item() == pytest.approx(expected)
    assert prediction(predicted[:1], target[:1]).item() == 0


def test_cosine_by_hand() -> None:
    student = torch.tensor([[[1.0, 0], [0, 2]]])
    assert cosine(student, torch.tensor([[[5.0, 0], [1, 1]]])).item() == pytest.approx(-(1 + math.sqrt(0.5)) / 2)


def test_latents_are_repeated_in_runs() -> None:
    tokens = torch.arange(3.0)[None, :, None]
    assert repeated(tokens, 6)[0, :, 0].tolist() == [0, 0, 1, 1, 2, 2]
    assert repeated(tokens, 7)[0, :, 0].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert repeated(tokens, 3) is not None
    assert torch.equal(repeated(tokens, 3), tokens)


def test_places_are_resized_as_a_grid() -> None:
    places = torch.arange(16.0).reshape(1, 16, 1)
    assert resized(places, (4, 4)) is places
    small = resized(places, (2, 2))
    assert small.shape == (1, 4, 1)
    assert small.mean().item() == pytest.approx(7.5)
    assert small[0, 1, 0] - small[0, 0, 0] < small[0, 2, 0] - small[0, 0, 0]


# With heads


PARTS = {
    "contrastive": AlignmentRecipe(objective="contrastive"),
    "contrastive places": AlignmentRecipe(objective="contrastive", level="places", unit_length=True),
    "contrastive pooled": AlignmentRecipe(objective="contrastive", level="pooled", unit_length=True, scale_end=100.0),
    "prediction": AlignmentRecipe(objective="prediction", width=16, layers=1),
    "cosine": AlignmentRecipe(objective="cosine", level="places", width=16),
    "cosine of the picture": AlignmentRecipe(objective="cosine", width=16),
    "cosine pooled": AlignmentRecipe(objective="cosine", level="pooled", width=16),
}


def alignments(part: AlignmentRecipe, shape: tuple[int, int, int] = (1, 4, 6)) -> Alignments:
    torch.manual_seed(0)
    recipe = AlignRecipe(semantic=part)
    return Alignments(recipe, {"align/semantic": torch.Size(shape)}, teachers={"align/semantic": SmallTeacher()})


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_every_kind_trains_tokens_and_head(name: str, batch: int) -> None:
    subject = alignments(PARTS[name])
    tokens, x = random(batch, 4, 6).requires_grad_(), random(batch, 3, 20, 20).clamp(-1, 1)
    loss = subject([tokens], x)["align/semantic"]
    assert loss.shape == ()
    loss.backward()
    assert tokens.grad is not None
    assert bool(tokens.grad.isfinite().all())
    # The loss has no gradient if all pictures are equal.
    assert (tokens.grad.abs().max() > 0) == (batch > 1 or "cosine" in name)
    assert all(value.grad is not None for value in subject.parameters())
    assert not any("teacher" in key for key in subject.state_dict())


@pytest.mark.parametrize("name", PARTS)
def test_descent_aligns(name: str) -> None:
    subject = alignments(PARTS[name])
    tokens, x = random(4, 4, 6).requires_grad_(), random(4, 3, 16, 16).clamp(-1, 1)
    optimizer = torch.optim.Adam([tokens, *subject.parameters()], lr=0.03)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = subject([tokens], x)["align/semantic"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


def test_the_branch_asked_for_is_taken_and_teachers_are_shared() -> None:
    teacher = SmallTeacher()
    recipe = AlignRecipe(
        semantic=AlignmentRecipe(objective="cosine", width=8),
        detail=AlignmentRecipe(objective="cosine", width=8, branch=0),
    )
    shapes = {"align/semantic": torch.Size((1, 4, 6)), "align/detail": torch.Size((1, 4, 5))}
    subject = Alignments(recipe, shapes, teachers=dict.fromkeys(shapes, teacher))
    first, last = random(2, 4, 5).requires_grad_(), random(2, 4, 6).requires_grad_()
    losses = subject([first, last], random(2, 3, 16, 16))
    assert set(losses) == set(shapes)
    assert teacher.calls == 1
    assert torch.autograd.grad(losses["align/semantic"], first, allow_unused=True, retain_graph=True)[0] is None
    assert torch.autograd.grad(losses["align/detail"], first)[0].abs().max() > 0


def test_scale_rises_over_the_run() -> None:
    part = AlignmentRecipe(scale=1.0, scale_end=100.0, unit_length=True)
    subject = alignments(part)
    tokens, x = random(3, 4, 6), random(3, 3, 16, 16)
    student = F.normalize(tokens.mean(1, keepdim=True), dim=-1)
    teacher = subject.teachers["align/semantic"](x).picture[:, None]
    features = F.normalize(subject.heads["align_semantic"](teacher), dim=-1)
    for progress, scale in ((0.0, 1.0), (0.5, 50.5), (1.0, 100.0)):
        torch.testing.assert_close(
            subject([tokens], x, progress)["align/semantic"], contrastive(student, features, scale)
        )


class TwoSided(SmallTeacher):
    """The class token is independent of the patches."""

    def forward(self, x: Tensor) -> Features:
        _, places = super().forward(x)
        return Features(places[:, 0].flip(1), places)


@pytest.mark.parametrize("unit_length", [False, True])
def test_pooled_places_are_not_the_class_token(unit_length: bool) -> None:
    losses = {}
    tokens, x = random(3, 4, 6), random(3, 3, 16, 16)
    for level in ("picture", "pooled"):
        part = AlignmentRecipe(level=level, unit_length=unit_length)
        torch.manual_seed(0)
        subject = Alignments(
            AlignRecipe(semantic=part),
            {"align/semantic": torch.Size((1, 4, 6))},
            teachers={"align/semantic": TwoSided()},
        )
        losses[level] = subject([tokens], x)["align/semantic"]
        picture, places = TwoSided()(x)
        student, target = tokens.mean(1), picture if level == "picture" else places.mean(1)
        features = subject.heads["align_semantic"](target)
        if unit_length:
            student, features = F.normalize(student, dim=-1), F.normalize(features, dim=-1)
        torch.testing.assert_close(losses[level], contrastive(student[:, None], features[:, None]))
    assert abs(losses["picture"] - losses["pooled"]) > 1e-3


def test_the_predictor_knows_places() -> None:
    torch.manual_seed(0)
    head = FeaturePredictor(6, 16, 1, 4, 9)
    tokens = random(2, 4, 6)
    assert head(tokens).shape == (2, 9)
    assert not torch.allclose(head(tokens), head(tokens.flip(1)))


# Teachers


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "open_clip:ViT-B-32/laion2b", *TEACHERS])
def test_names_of_teachers(name: str) -> None:
    assert source_of(name, "here").package in ("timm", "open_clip")


@pytest.mark.parametrize("name", ["", "dino", "timm:", "open_clip:ViT-B-32", "torch:hub", "open_clip:/x"])
def test_what_is_no_teacher(name: str) -> None:
    with pytest.raises(UsageError, match=r"^here: .* is not one of dino-small"):
        source_of(name, "here")


def test_a_teacher_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("No module named 'timm'")

    monkeypatch.setattr(teachers, "import_torchvision", missing)
    with pytest.raises(InputError) as caught:
        load_teacher("dinov2-small", "align/semantic", "align.semantic.weights")
    assert str(caught.value) == (
        "align/semantic needs more packages: pip install 'vqcodec[alignment]' (No module named 'timm'), "
        "or leave align/semantic out: --set losses.align/semantic=0"
    )


def test_weights_out_of_reach_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_reach(*_: object, **options: object) -> None:
        raise OSError("no\nroute")

    monkeypatch.setattr(teachers, "_import", lambda *_: SimpleNamespace(create_model=out_of_reach))
    monkeypatch.setattr(teachers, "_reachable", lambda _: False)
    with pytest.raises(InputError) as caught:
        load_teacher("dinov2-small", "align/semantic", "align.semantic.weights")
    assert "not available (no route)" in str(caught.value)
    assert "--set align.semantic.weights=FILE, or leave align/semantic out" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"w\.pt: no such file"):
        load_teacher("dinov2-small", "align/semantic", "align.semantic.weights", str(tmp_path / "w.pt"))


@pytest.mark.skipif(find_spec("timm") is None, reason="the extra `alignment`")
def test_a_vision_transformer_of_timm() -> None:
    timm = teachers._import("timm", "align/semantic", "")
    with teachers._quiet():
        torch.manual_seed(0)
        sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 4, "num_heads": 2, "num_classes": 0}
        network: nn.Module = timm.models.VisionTransformer(**sizes)
    teacher = teachers.VitTeacher(network, 32, teachers.IMAGENET).train()
    x = random(2, 3, 48, 48).clamp(-1, 1).requires_grad_()
    features = teacher(x)
    assert features.picture.shape == (2, 12)
    assert features.places.shape == (2, 16, 12)
    depths = teacher.depths(x, (0, 1, 4))
    assert [d.shape for d in depths] == [(2, 16, 12)] * 3
    # The last block is followed by one norm, then by the output of forward.
    torch.testing.assert_close(
        features.places + features.picture[:, None], _normed(network, teacher, x), atol=1e-4, rtol=1e-4
    )
    (gradient,) = torch.autograd.grad(depths[2].sum(), x)
    assert gradient.abs().max() > 0
    assert not network.training


def _normed(network: nn.Module, teacher: teachers.VitTeacher, x: Tensor) -> Tensor:
    """Features of places plus that of the picture, by timm's own intermediate outputs."""
    places, picture = network.forward_intermediates(  # type: ignore[operator]
        teacher._scaled(x), indices=[3], return_prefix_tokens=True, norm=True, output_fmt="NLC", intermediates_only=True
    )[0]
    return places + picture[:, :1]


# Recipes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["teacher=dinov3"], r"align\.semantic\.teacher: 'dinov3'"),
        (["objective=mse"], r"objective: 'mse' is not one of contrastive, cosine, prediction"),
        (["level=patch"], "level: 'patch'"),
        (["branch=4"], "branch: the quantizer has 4"),
        (["branch=-5"], "branch"),
        (["objective=prediction", "width=12"], "width: a multiple of 8"),
        (["objective=prediction", "level=places"], "prediction is for the level picture only"),
        (["objective=prediction", "level=pooled"], "prediction is for the level picture only"),
        (["scale=0.0"], "scale"),
        (["layers=0"], "layers"),
        (["shared=true"], "shared: only for"),
    ],
)
def test_alignments_out_of_range_are_refused(changes: list[str], message: str) -> None:
    settings = [f"align.semantic.{change}" for change in changes]
    with pytest.raises(UsageError, match=message):
        load_recipe("tiny", ["losses.align/semantic=0.1", *settings])
