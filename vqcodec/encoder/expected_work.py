"""Work that an encoder is expected to do, announced to the observers of progress before it begins."""

from __future__ import annotations

from ..geometry.token_layout import plane_shapes
from ..image.picture import Picture
from ..models.loading import Model
from ..planes import indices_in
from ..runtime.progress import Part, expect

SEARCH_FILES = 3
"""Files that a search over the ladder usually makes beyond the first one; drafts aside."""


def expect_file(picture: Picture, model: Model, passes: int, drafts: int | None = None) -> None:
    """Announce one file: the encoder network, `passes` of latent refinement, and a selection.

    There are as many selections more as `drafts`; None: one for each pass.
    """
    pixels = picture.width * picture.height
    expect(Part.ENCODER, pixels)
    expect(Part.REFINEMENT, passes * pixels)
    expect(Part.SELECTION, (1 + (passes if drafts is None else drafts)) * _indices(picture, model))


def expect_search(picture: Picture, model: Model, steps: int, passes: int, decoded: bool) -> None:
    """Announce the usual work of a search over `steps` of the ladder, beyond that of one file.

    `decoded`: each file is decoded, to measure its quality.
    """
    drafts, pixels = steps.bit_length(), picture.width * picture.height
    expect(Part.REFINEMENT, passes * pixels)
    expect(Part.SELECTION, (drafts + passes + SEARCH_FILES) * _indices(picture, model))
    if decoded:
        expect(Part.DECODER, (drafts + SEARCH_FILES + 1) * pixels)


def _indices(picture: Picture, model: Model) -> int:
    return indices_in([plane_shapes(model.config.tokenizer, picture.width, picture.height)], model.layers)
