"""Picture to file by size option: one file at a step of the ladder, or the search that a budget or a quality needs."""

from __future__ import annotations

from typing import Unpack

from ..image.picture import Picture
from ..models.ladder import default_step, step_for_quality
from ..runtime.progress import Part, working
from .bounded_files import Encoded, encode_reaching, encode_within
from .size_options import SizeOptions, budget_for_bpp


def encode_picture(picture: Picture, name: str, device: str, effort: int, **size: Unpack[SizeOptions]) -> Encoded:
    """One .vqc file of `picture` by the model `name`, by at most one of the size options, already checked.

    See `vqcodec.encode` for the options.
    """
    with working(Part.START_UP):
        from .build import encoder_for  # loads torch

    if (min_quality := size.get("min_quality")) is not None:
        return encode_reaching(name, picture, *min_quality, device, effort)
    max_bytes = size.get("max_bytes")
    if (bpp := size.get("bpp")) is not None:
        max_bytes = budget_for_bpp(bpp, picture.width, picture.height)
    if max_bytes is not None:
        return encode_within(name, picture, max_bytes, device, effort)
    encoder = encoder_for(picture, name, device, effort)
    if (quality := size.get("quality")) is not None:
        step = step_for_quality(encoder.model.config, quality)
        return Encoded(encoder.file(step.lmbda, step.keep))
    return Encoded(encoder.file(default_step(encoder.model.config).lmbda, size.get("keep")))
