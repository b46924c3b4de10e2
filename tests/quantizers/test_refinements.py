"""Refinements: planes that add to the codewords of groups, in the quantizer, in files and in the trainer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec import structs
from PIL import Image
from safetensors.numpy import load_file

import vqcodec
from vqcodec.config.model import LadderStep
from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.encoder.base import PictureEncoder
from vqcodec.encoder.build import encoder_for
from vqcodec.encoder.codeword_distances import CodewordDistances
from vqcodec.encoder.index_encoder import IndexEncoder
from vqcodec.encoder.ladder_search import encode_at_least, encode_near
from vqcodec.errors import ModelError, UsageError
from vqcodec.image.files import as_picture
from vqcodec.models.identity import CODEBOOKS, REFINEMENTS
from vqcodec.models.loading import load_model, write_model
from vqcodec.models.registry import WEIGHTS, read_config
from vqcodec.planes import MISSING
from vqcodec.quantizers.product import ProductVQ
from vqcodec.train.data.pictures import scan
from vqcodec.train.prior.data import Collection
from vqcodec.train.prior.network import Prior
from vqcodec.train.prior.train_prior import collect_tiles
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.train_tokenizer import train_tokenizer

from ..conftest import write_tiny_model

CONFIG = ProductVQConfig(groups=3, codebook_size=8, dim=3, dims=(1, 2, 3), refinements=(4, 2))


def quantizer(seed: int = 0) -> ProductVQ:
    made = ProductVQ(CONFIG).eval()
    generator = torch.Generator().manual_seed(seed)
    made.bank.codebooks.normal_(generator=generator)
    made.bank.codebooks[0, :, 1:], made.bank.codebooks[1, :, 2:] = 0, 0
    assert made.refinements is not None
    made.refinements.codebooks.copy_(0.3 * torch.randn((2, 8, 4), generator=generator))
    made.refinements.codebooks[:, 0] = 0
    made.refinements.codebooks[1, :, 2:] = 0
    made.lambda_weights.copy_(torch.tensor([0.1, 0.2, 0.4, 0.2, 0.2]))
    made.bit_costs.copy_(torch.rand((5, 8), generator=generator))
    return made


def latent(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn((2, 6, *shape), generator=torch.Generator().manual_seed(seed))


def test_a_refinement_takes_what_the_groups_leave_over() -> None:
    made, z = quantizer(), latent(5, 4)
    planes = made.quantize(z, 0.0)
    assert [plane.shape for plane in planes] == [(2, 5, 4)] * 5
    whole, kept = made.dequantize(planes)
    coarse, _ = made.dequantize([*planes[:3], *(torch.full_like(plane, MISSING) for plane in planes[3:])])
    assert kept.shape == (2, 3, 5, 4)
    assert bool(kept.all())
    added = whole - coarse
    books = made.refinements.codebooks
    torch.testing.assert_close(added[:, :4], books[0][planes[3]].permute(0, 3, 1, 2))
    torch.testing.assert_close(added[:, 4:], books[1][planes[4]][..., :2].permute(0, 3, 1, 2))
    # Index 0 is no refinement, so that the nearest can only do better, in the measure it is chosen by.
    weight = made.importance()[None, :, None, None]
    assert (weight * (z - whole).square()).sum() < (weight * (z - coarse).square()).sum()


def test_a_refinement_without_its_group_is_nothing() -> None:
    made = quantizer()
    planes = made.quantize(latent(3, 3), 0.0)
    planes[2] = torch.full_like(planes[2], MISSING)
    z_q, kept = made.dequantize(planes)
    assert made.fill is not None
    torch.testing.assert_close(z_q[:, 3:], made.fill[2, :3].reshape(1, 3, 1, 1).expand(2, 3, 3, 3))
    assert not kept[:, 2].any()


def test_a_training_pass_sees_what_a_file_holds() -> None:
    made, z = quantizer(), latent(4, 4)
    made.estimate = lambda rows, code, noise: code
    rates = torch.tensor([0.5, 2.0])
    found = made(z, torch.zeros_like(z), rates)
    torch.testing.assert_close(found.z_q, made.dequantize(found.indices)[0])
    for i, rate in enumerate(rates.tolist()):
        alone = made.quantize(z[i : i + 1], rate)
        assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, found.indices, strict=True))


def test_measured_distances_are_those_of_the_quantizer() -> None:
    made, z = quantizer(), latent(5, 4)[:1]
    made.bit_costs.zero_()
    planes = made.quantize(z, 0.0)
    codewords, positions = CodewordDistances(made.arrays()), np.arange(20)
    chosen: list[np.ndarray] = []
    for s, plane in enumerate(planes):
        found = codewords.of_plane(s, z[0].numpy(), chosen)(positions)
        np.testing.assert_array_equal(found.argmin(1), plane[0].flatten().numpy())
        chosen.append(found.argmin(1))
    groups, _ = made.dequantize([*planes[:3], *(torch.full_like(p, MISSING) for p in planes[3:])])
    rest = ((z - groups) * made.importance().sqrt()[None, :, None, None])[0, 4:]
    book = made.refinements.codebooks[1, :, :2] * made.importance().sqrt()[4:]
    wanted = (rest.flatten(1).T[:, None] - book[None]).square().sum(2).detach()
    np.testing.assert_allclose(codewords.of_plane(4, z[0].numpy(), chosen)(positions), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"refinements": (4, 3)}, "6 channels in all"),
        ({"normalised": True}, "length 1"),
        ({"groups": 255, "dims": (1,) * 255, "refinements": (128, 127)}, "at most 256 planes"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, object], problem: str) -> None:
    assert any(problem in said for said in structs.replace(CONFIG, **changes).problems())  # type: ignore[arg-type]


def refined_model(folder: Path, name: str) -> None:
    """A tiny model of random weights with refinements, a rate term and a context model."""
    write_tiny_model(folder, name, groups=2, ladder=((1, 1), (50, 2)))
    config, tensors = read_config(folder), load_file(folder / WEIGHTS)
    tensors = {key: value for key, value in tensors.items() if not key.startswith("entropy.")}
    books = tensors[CODEBOOKS].astype(np.float32)
    rng = np.random.default_rng(0)
    refined = rng.normal(size=(3, 16, 4)) * books.std() / 3
    refined[:, 0], refined[1:, :, 2:] = 0, 0
    tensors[REFINEMENTS] = refined.astype(np.float16)
    tensors["quantizer.prices"] = np.full(5, 0.02 * books.var(), np.float32)
    tensors["quantizer.costs"] = np.full((5, 16), 0.08 * books.var(), np.float16)
    tensors["quantizer.caps"] = np.full(5, 1e4, np.float16)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        prior = Prior((16,) * 5, units=8)
        for net in prior.planes:
            net.out.mul_(60)
        tensors |= prior.tensors()
    quantizer = structs.replace(config.tokenizer.quantizer, refinements=(4, 2, 2))
    ladder = [
        LadderStep(1 + 20 * i, keep, rate) for i, (keep, rate) in enumerate([(2, 30.0), (2, 5.0), (4, 1), (4, 0.1)])
    ]
    config = structs.replace(
        config,
        tokenizer=structs.replace(config.tokenizer, quantizer=quantizer),
        layers=((0,), (1,), (2,), (3, 4)),
        ladder=tuple(ladder),
    )
    write_model(folder, config, tensors)


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    base = tmp_path_factory.mktemp("refined")
    refined_model(base / "refined", "refined")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQCODEC_MODELS", str(base))
        yield "refined"


def test_files_hold_what_was_chosen(name: str, photo: Image.Image) -> None:
    encoder = encoder_for(as_picture(np.asarray(photo)), name)
    for step in encoder.ladder:
        file, tokens = encoder.file(step.lmbda, step.keep), encoder.tokens(step.lmbda, step.keep)
        found = vqcodec.decode_tokens(file)
        shown = [s for layer in encoder.model.layers[: step.keep] for s in layer]
        assert all(np.array_equal(found.planes[s], tokens.planes[s]) for s in shown)
        assert len(found.layers) == step.keep


def test_budgets_between_steps_of_other_layers_are_used(name: str, photo: Image.Image) -> None:
    encoder = encoder_for(as_picture(np.asarray(photo)), name)
    small, large = len(encoder.file_at_step(1)), len(encoder.file_at_step(2))
    assert small < large
    for budget in np.linspace(small, large, 5).astype(int)[1:-1]:
        under, _ = encode_near(encoder, int(budget))
        assert under is not None
        assert small <= len(under) <= budget
    made = [len(encode_near(encoder, int(b))[0] or b"") for b in np.linspace(small, large, 5)]
    assert len(set(made)) > 2


def test_a_prior_learns_from_what_files_hold(name: str, photo: Image.Image, tmp_path: Path) -> None:
    for number in range(8):
        photo.rotate(90 * number).save(tmp_path / f"{number}.png")
    model = load_model(name)
    held = {sum(map(len, model.layers[: step.keep])) for step in model.config.ladder}
    tiles = collect_tiles(model, scan((str(tmp_path),), model.stride), 32)
    assert {len(tile) for tile in tiles} == held
    assert len(held) > 1
    for planes in tiles:
        assert all(p.min() >= MISSING and p.max() < size for p, size in zip(planes, model.entropy.sizes, strict=False))


def test_collections_hold_so_many_tiles_of_each_picture_and_copy(name: str, photo: Image.Image, tmp_path: Path) -> None:
    photo.save(tmp_path / "x.png")
    model = load_model(name)
    pictures = scan((str(tmp_path),), model.stride)
    few = collect_tiles(model, pictures, 2, Collection(most_tiles=3, effort=5))
    assert len(few) == 3
    more = collect_tiles(model, pictures, 2, Collection(most_tiles=3, copies=2, effort=5))
    assert len(more) == 9
    for one, other in zip(few, more, strict=False):
        np.testing.assert_array_equal(one, other)
    assert any(not np.array_equal(one, other) for one, other in zip(few, more[3:], strict=False))
    [whole, again] = collect_tiles(model, pictures, 10**4, Collection(rates=2, most_tiles=1))
    assert whole.shape[1:] == again.shape[1:]


def test_a_quality_below_the_ladder_takes_fewer_layers(name: str, photo: Image.Image) -> None:
    encoder = encoder_for(as_picture(np.asarray(photo)), name)
    found = encode_at_least(encoder, lambda _, rate, keep: keep + 1 / (1 + rate), 1.0)
    assert found is not None
    assert found.data == encoder.file(encoder.ladder[0].lmbda, 1)


@pytest.mark.parametrize("quality", [0.2, 0.5, 0.8])
def test_a_quality_between_steps_of_other_layers_is_reached(name: str, photo: Image.Image, quality: float) -> None:
    encoder = encoder_for(as_picture(np.asarray(photo)), name, effort=5)  # which is by the error of the latent
    assert isinstance(encoder, IndexEncoder)
    z = torch.from_numpy(encoder.latent.values.astype(np.float32))[None]

    def measured(encoder: PictureEncoder, rate: float, keep: int) -> float:
        made = encoder.model.tokenizer.quantizer
        planes = [torch.from_numpy(p.astype(np.int64))[None] for p in encoder.tokens(rate, keep).planes]
        return -float((z - made.dequantize(planes)[0]).square().mean())

    ends = [measured(encoder, step.lmbda, step.keep) for step in encoder.ladder[1:3]]
    target = ends[0] + quality * (ends[1] - ends[0])
    found = encode_at_least(encoder, measured, target)
    assert found is not None
    assert len(found.data) <= len(encoder.file_at_step(2))


def test_identity_is_of_the_refinements_too(name: str, tmp_path: Path) -> None:
    folder = load_model(name).entry.folder
    config, tensors = read_config(folder), load_file(folder / WEIGHTS)
    moved = {**tensors, REFINEMENTS: tensors[REFINEMENTS] * np.float16(1.5)}
    assert write_model(tmp_path / "a", config, moved).token_id != config.token_id
    assert write_model(tmp_path / "b", config, tensors).token_id == config.token_id


def test_a_model_without_its_refinements_is_refused(name: str, tmp_path: Path) -> None:
    folder = load_model(name).entry.folder
    config, tensors = read_config(folder), load_file(folder / WEIGHTS)
    plain = structs.replace(config.tokenizer.quantizer, refinements=())
    without = structs.replace(config, tokenizer=structs.replace(config.tokenizer, quantizer=plain))
    del tensors[REFINEMENTS]
    sizes = {key: value for key, value in tensors.items() if not key.startswith("prior.")}
    write_model(tmp_path / "a", structs.replace(without, layers=((0,), (1,))), sizes)
    text = (tmp_path / "a" / "config.json").read_text().replace('"refinements": []', '"refinements": [4, 2, 2]')
    text = text.replace("[\n   1\n  ]", "[1], [2], [3, 4]")
    (tmp_path / "a" / "config.json").write_text(text)
    with pytest.raises(ModelError, match=REFINEMENTS):
        load_model(str(tmp_path / "a"))


@pytest.fixture
def changes(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(3)
    (tmp_path / "pictures").mkdir()
    for i in range(8):
        small = Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8))
        small.resize((96, 96), Image.Resampling.BICUBIC).save(tmp_path / "pictures" / f"{i}.png")
    source = f'["{tmp_path / "pictures"}"]'
    return [
        f"data.train={source}",
        f"data.val={source}",
        "data.crop=64",
        "data.batch=4",
        "run.val_images=1",
        "run.tensorboard=false",
        "tokenizer.quantizer.groups=2",
        "tokenizer.quantizer.dims=[2,6]",
        "tokenizer.quantizer.codebook_size=16",
        "optimizer.decay=0",
        "codebook.rate=0.05",
    ]


REFINED = (
    "tokenizer.quantizer.refinements=[4,4]",
    'codebook.refit=["refinements"]',
    'optimizer.frozen=["encoder","quantizer"]',
    "optimizer.estimator=codewords",
    "codebook.kmeans_at=0",
    "optimizer.steps=2",
)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["run", "model"])
def test_a_finished_tokenizer_gets_refinements(
    changes: list[str], tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqcodec.train.export import export_run

    steps = ["optimizer.steps=30", "codebook.kmeans_at=5", "codebook.rate_ramp=1"]
    first = train_tokenizer(load_recipe("tiny", [*changes, *steps]), tmp_path / "run", report=lambda _: None)
    export_run(tmp_path / "run", tmp_path / "model", report=lambda _: None)
    more = [*changes, *REFINED, f"start_from={tmp_path / source}", "export.layers=[1,1,2]", "export.refine_below=2"]
    more += ['export.packed=["encoder"]']
    second = train_tokenizer(load_recipe("tiny", more), tmp_path / "refined", report=lambda _: None)
    tolerance = 0 if source == "run" else 2e-3  # a model has its numbers in 16 bits
    torch.testing.assert_close(second.model.codebooks, first.model.codebooks, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(
        second.model.quantizer.lambda_weights[:2], first.model.quantizer.lambda_weights, atol=tolerance, rtol=tolerance
    )
    x = torch.cat([second.batches(i) for i in range(8)]).float() / 127.5 - 1
    with torch.no_grad():
        made = second.model.eval().quantizer
        z = second.model.encoder(x)
        planes = made.quantize(z, 0.01)
        whole, coarse = made.dequantize(planes)[0], made._code(torch.stack(planes[:2]))
    assert (z - whole).square().mean() < 0.8 * (z - coarse).square().mean()
    assert second.recipe.export.packed == ("encoder",)
    config = export_run(tmp_path / "refined", tmp_path / "exported", report=lambda _: None)
    assert config.layers == ((0,), (1,), (2, 3))
    assert {step.keep for step in config.ladder if step.lmbda > 2} == {2}
    assert {step.keep for step in config.ladder if step.lmbda <= 2} == {3}
    picture = np.asarray(Image.open(next((tmp_path / "pictures").iterdir())))
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path))
    assert vqcodec.decode(vqcodec.encode(picture, model=str(tmp_path / "exported"))).size == (96, 96)


@pytest.mark.slow
def test_a_new_network_starts_from_a_refined_model(changes: list[str], tmp_path: Path) -> None:
    from vqcodec.train.export import export_run

    steps = ["optimizer.steps=8", "codebook.kmeans_at=4", "codebook.rate_ramp=1"]
    train_tokenizer(load_recipe("tiny", [*changes, *steps]), tmp_path / "run", report=lambda _: None)
    more = [*changes, *REFINED, f"start_from={tmp_path / 'run'}"]
    train_tokenizer(load_recipe("tiny", more), tmp_path / "refined", report=lambda _: None)
    export_run(tmp_path / "refined", tmp_path / "model", report=lambda _: None)
    wider = [*changes, *steps, "tokenizer.quantizer.dims=[4,6]", f"start_from={tmp_path / 'model'}"]
    run = train_tokenizer(load_recipe("tiny", wider), tmp_path / "wider", report=lambda _: None)
    assert run.model.channels == 10


def test_prices_of_some_planes_alone_are_refused(name: str, tmp_path: Path) -> None:
    folder = load_model(name).entry.folder
    config, tensors = read_config(folder), load_file(folder / WEIGHTS)
    for i, value in enumerate((0.0, -1.0)):
        tensors["quantizer.prices"] = tensors["quantizer.prices"].copy()
        tensors["quantizer.prices"][1] = value
        write_model(tmp_path / str(i), config, tensors)
        with pytest.raises(ModelError, match="prices"):
            _ = load_model(str(tmp_path / str(i))).tokenizer


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (['codebook.refit=["refinements"]'], "has no refinements"),
        (["tokenizer.quantizer.refinements=[4,4]"], "need optimizer.frozen"),
        (['codebook.refit=["all"]'], "balance, groups, refinements"),
        (["export.layers=[1,2]"], "2 planes in all"),
        (["export.refine_below=2"], "and refinements whose"),
    ],
)
def test_recipes_that_cannot_be(changes: list[str], more: list[str], problem: str) -> None:
    frozen = ['optimizer.frozen=["encoder","quantizer"]', "optimizer.estimator=codewords", "start_from=runs/x"]
    with pytest.raises(UsageError, match=problem):
        load_recipe("tiny", [*changes, *more, *(frozen if "refit" in more[0] else [])])


def test_a_model_of_another_architecture_is_no_start(changes: list[str], tmp_path: Path, name: str) -> None:
    recipe = load_recipe("tiny", [*changes, *REFINED, f"start_from={name}"])
    with pytest.raises(UsageError, match="of the recipe's architecture"):
        train_tokenizer(recipe, tmp_path / "run", report=lambda _: None)
