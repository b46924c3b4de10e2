"""Picture to file by size option: one file of one model, or the search that a budget or a quality needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

from ..config.model import ModelConfig
from ..image.picture import Picture
from ..models.ladder import at_quality, default_step
from ..runtime.progress import Part, working
from .model_search import Encoded, encode_reaching, encode_within
from .size_options import SizeOptions, budget_for_bpp


def encode_picture(
    picture: Picture,
    candidates: Mapping[str, ModelConfig],
    device: str,
    effort: int,
    **size: Unpack[SizeOptions],
) -> Encoded:
    """One .vqc file of `picture`, by at most one of the size options (see `vqcodec.encode`), already checked.

    `candidates` are the models that may make it, by name, smallest files first.
    """
    with working(Part.START_UP):
        from .build import encoder_for  # loads torch

    names = list(candidates)
    if (min_quality := size.get("min_quality")) is not None:
        return encode_reaching(names, picture, *min_quality, device, effort)
    max_bytes = size.get("max_bytes")
    if (bpp := size.get("bpp")) is not None:
        max_bytes = budget_for_bpp(bpp, picture.width, picture.height)
    if max_bytes is not None:
        return encode_within(names, picture, max_bytes, device, effort)
    if (quality := size.get("quality")) is not None:
        name, step = at_quality(candidates, quality)
        return Encoded(encoder_for(picture, name, device, effort).file(step.lmbda, step.keep))
    step = default_step(candidates[names[0]])
    return Encoded(encoder_for(picture, names[0], device, effort).file(step.lmbda, size.get("keep")))
