"""The alignment losses of every bundled recipe against those of the papers and the released trainers.

Each row names the source of its settings: systems.md, with facts read from the released code, or a paper. Where those
texts are available, the quoted words are looked up in the section that is named.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from vqcodec.train.alignment.losses import ALIGNMENTS
from vqcodec.train.alignment.teachers import TEACHERS
from vqcodec.train.losses.names import active
from vqcodec.train.recipe.load import RECIPES, load_recipe, read_tree
from vqcodec.train.recipe.schema import AlignmentRecipe
from vqcodec.train.stepped.recipe import is_stepped

from ..reference import REFERENCE, referenced


@dataclass(frozen=True)
class Source:
    """Words of a section of a text."""

    text: str
    section: str
    words: str


@dataclass(frozen=True)
class Published:
    """The losses align/NAME of one or several recipes: name -> (weight, settings), and their source."""

    losses: dict[str, tuple[float, AlignmentRecipe]]
    sources: tuple[Source, ...]


SYSTEMS = "reference/systems.md"
XQ_GAN, FQGAN, SOFTVQ = (f"papers/{name}.txt" for name in ("xq-gan", "fqgan", "softvq-vae"))

OURS = Published({}, ())
"""Recipes of this project: a product VQ model, and small examples that download nothing."""
MGVQ = Published(
    {}, (Source(SYSTEMS, "1.4", "L2 weight 2, Charbonnier weight 1, commit 0.25, VQ 1, GAN 0.5, LPIPS 1"),)
)

DINO = AlignmentRecipe("dinov2-base-p16", objective="contrastive", level="picture", branch=-1, shared=True)
DINO_SOURCES = (
    Source(
        SYSTEMS,
        "2.4",
        "mean-pooled quantised **last** branch and the DINOv2 CLS feature passed through the **same quant_conv**; "
        "logit scale 1",
    ),
    Source(SYSTEMS, "2.4", "semantic(0.1)"),
    Source(SYSTEMS, "2.1", "DINOv2 ViT-B/14 weights resized to patch 16"),
    Source(
        XQ_GAN, "6.2", "CLIP loss performs semantic regularization between semantic tokens and the pre-trained DINOv2"
    ),
    Source(XQ_GAN, "7.2", "when the tokenizer distills only DINO's features within a single quantization branch"),
    Source(XQ_GAN, "5", "are pooled to"),
)
XQ_DINO = Published({"align/semantic": (0.1, DINO)}, DINO_SOURCES)

RAMP = {"unit_length": True, "scale": 1.0, "scale_end": 100.0}
XQ_DINO_CLIP = Published(
    {
        "align/semantic": (0.1, AlignmentRecipe("dinov2-base-p16", objective="contrastive", shared=True, **RAMP)),
        "align/detail": (
            0.1,
            AlignmentRecipe("clip-base", objective="contrastive", level="pooled", branch=0, shared=True, **RAMP),
        ),
    },
    (
        *DINO_SOURCES[:3],
        Source(
            SYSTEMS, "2.3", "`detail_guide: sam` actually loads OpenAI CLIP ViT-B/16 and asserts guide_type_2=='patch'"
        ),
        Source(SYSTEMS, "2.4", "with clip_norm, ramps 1→100 over 200 epochs on normalised features"),
        Source(SYSTEMS, "2.4", "Detail loss = same on first branch with CLIP patch features"),
        Source(SYSTEMS, "2.4", "detail(0.1)"),
        Source(XQ_GAN, "7.2", "distilling DINO and SAM features into separate quantization branches"),
    ),
)

FQGAN_SOURCES = (
    Source(SYSTEMS, "3", "MLP 8→w→w (ReLU), cls token, positions, 3 layers 8 heads, width w"),
    Source(SYSTEMS, "3", "(cosine, temperature 1, no gather), weight 0.5 each"),
    Source(FQGAN, "4.1", "are empirically set to 0.1 and 0.5"),
)


def predicted(teacher: str, width: int, branch: int) -> tuple[float, AlignmentRecipe]:
    return 0.5, AlignmentRecipe(teacher, objective="prediction", branch=branch, width=width, layers=3)


FQGAN_DUAL = Published(
    {"align/semantic": predicted("clip-large", 1024, -1)},
    (Source(SYSTEMS, "3", "dual w=1024 vs CLIP ViT-L/14"), *FQGAN_SOURCES),
)
FQGAN_TRIPLE = Published(
    {"align/middle": predicted("dinov2-small", 384, 1), "align/semantic": predicted("clip-base", 768, -1)},
    (Source(SYSTEMS, "3", "triple w=384 vs DINOv2-small (mid), 768 vs CLIP ViT-B/16 (high)"), *FQGAN_SOURCES),
)


def softvq(teacher: str, *sources: Source) -> Published:
    part = AlignmentRecipe(teacher, objective="cosine", level="places", width=1024)
    return Published(
        {"align/semantic": (0.1, part)},
        (
            Source(SYSTEMS, "4", "projector Linear-SiLU-Linear-SiLU-Linear (32→1024→1024→dim) on z_q"),
            Source(
                SYSTEMS,
                "4",
                "each latent repeated N/L times to match N=256 DINOv2 patch tokens; loss = −mean cosine ×0.1",
            ),
            Source(SOFTVQ, "3.3", "we replicate each latent token by N/L times"),
            *sources,
        ),
    )


SOFTVQ_L = softvq("dinov2-large-p16")
"""The teacher is that of the published configuration, see the manifest of softvq-l-64."""
SOFTVQ_B = softvq("dinov2-base-p16", Source(SOFTVQ, "4.4", "DINOv2-B [79]	DINOv2-B [79]	0.88"))

SOFTVQ_S, XQ_VARIANT = (Published(row.losses, ()) for row in (SOFTVQ_L, XQ_DINO))
"""Sizes and quantizers without published settings: they align as the recipes they derive from."""

TABLE: dict[str, Published] = {
    **dict.fromkeys(("softvq-l-32-512",), SOFTVQ_L),
    **dict.fromkeys(("softvq-bl-32", "softvq-b-32", "softvq-bl-64-512"), SOFTVQ_B),
    **dict.fromkeys(("softvq-s-64", "softvq-s-32", "softvq-gmm-s-64", "softvq-rq2-s-64", "softvq-pq2-s-64"), SOFTVQ_S),
    **dict.fromkeys(("xqgan-rq4-4096", "xqgan-lfq-65536"), XQ_VARIANT),
    **dict.fromkeys(("xqgan-cnn-p2-16384",), OURS),
    **dict.fromkeys(("xqgan-vq-4096", "xqgan-vq-8192", "xqgan-robusttok"), XQ_DINO),
    **dict.fromkeys(("xqgan-vp2-4096", "xqgan-vp2-16384"), XQ_DINO),
    **dict.fromkeys(("xqgan-msvr10p2-4096", "xqgan-msvr10p2-8192", "xqgan-msvr10p2-16384"), XQ_DINO),
    **dict.fromkeys(("xqgan-msbr10p2-4096", "xqgan-msbr10p2-16384"), XQ_DINO_CLIP),
    **dict.fromkeys(("fqgan-dual-8", "fqgan-dual-16"), FQGAN_DUAL),
    **dict.fromkeys(("fqgan-triple-8", "fqgan-triple-16"), FQGAN_TRIPLE),
    **dict.fromkeys(("softvq-l-64", "softvq-l-32"), SOFTVQ_L),
    **dict.fromkeys(("softvq-bl-64", "softvq-b-64"), SOFTVQ_B),
    **dict.fromkeys(("mgvq-f16-g4", "mgvq-f16-g4-mix", "mgvq-f16-g8", "mgvq-f32-g8", "mgvq-f8-g4", "mgvq-f8-g8"), MGVQ),
    **dict.fromkeys(("product-vq", "product-vq-refined", "tiny", "tiny-mgvq"), OURS),
    **dict.fromkeys(("tiny-xqgan-vq", "tiny-xqgan-vp2", "tiny-xqgan-msvr", "tiny-xqgan-bsq"), OURS),
    **dict.fromkeys(("tiny-fqgan", "tiny-softvq"), OURS),
}
RECIPE_NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))
PRIORS = {name for name in RECIPE_NAMES if "tokenizer" not in read_tree(name) or is_stepped(read_tree(name))}
"""Recipes of context models and of models with a quantization step, which have no such losses."""


def test_every_recipe_is_in_the_table() -> None:
    assert set(TABLE) == set(RECIPE_NAMES) - PRIORS
    assert all("align" not in json.dumps(read_tree(name)) for name in PRIORS)


@pytest.mark.parametrize("name", TABLE)
def test_alignment_is_as_published(name: str) -> None:
    recipe = load_recipe(name)
    losses = sorted(active(recipe.losses) & set(ALIGNMENTS))
    assert {loss: (recipe.losses[loss], recipe.align.of(loss)) for loss in losses} == TABLE[name].losses


SOURCES = sorted({source for row in TABLE.values() for source in row.sources}, key=str)


@referenced
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: f"{Path(source.text).name} {source.section}")
def test_sources_say_so(source: Source) -> None:
    text = (REFERENCE.parent / source.text).read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(source.section)}\.? .*?(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    assert source.words in found[0].replace("’", "'")


@referenced
@pytest.mark.parametrize("name", ["softvq-l-64", "softvq-bl-64", "softvq-b-64"])
def test_teachers_of_softvq_are_those_of_the_manifests(name: str) -> None:
    """The teacher of softvq-l-64 is published; the others are inferred from the model names."""
    config = json.loads((REFERENCE / "manifests" / f"{name}.json").read_text())["config"]
    ((_, part),) = TABLE[name].losses.values()
    teacher = TEACHERS[part.teacher]
    assert (teacher.name, teacher.patch) == (config["repa_model"], config["repa_patch_size"])
    assert (part.width, config["repa_align"]) == (config["repa_proj_dim"], "repeat")
    # Equal numbers of patches in teacher and encoder: no interpolation.
    assert teacher.px // teacher.patch == load_recipe(name).data.crop // teacher.patch == 16
