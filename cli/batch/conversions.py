"""Conversions of a batch by format: bytes of a source to bytes of a target, in three stages.

A conversion reads the bytes and returns the second stage, which runs the model and returns the third, which writes the
bytes of the target. The first and the last need no model and run beside the second one of other files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..messages import refuse_losses
from .settings import Settings


@dataclass(frozen=True)
class Converted:
    """Bytes of a target with what its record states."""

    data: bytes
    coded: bytes
    """The .vqc file, source or target."""
    warnings: tuple[str, ...] = ()


Pack = Callable[[], Converted]
"""Third stage."""
Code = Callable[[], Pack]
"""Second stage."""
Conversion = Callable[[bytes, Settings], Code]
"""First stage; raises VqcError, as the others do."""


def encoding(data: bytes, settings: Settings) -> Code:
    """Image file to .vqc file."""
    from vqcodec import api
    from vqcodec.image.files import read_picture
    from vqcodec.image.picture import strip

    picture = read_picture(data, settings.max_pixels)
    picture = strip(picture) if settings.strip else picture
    refuse_losses(picture.warnings, settings.strict)

    def code() -> Pack:
        coded = api.encode(picture, settings.model, effort=settings.effort, device=settings.device, **settings.rate)
        return lambda: Converted(coded, coded, picture.warnings)

    return code


def decoding(data: bytes, settings: Settings) -> Code:
    """.vqc file to image file."""
    from vqcodec import api
    from vqcodec.image.files import write_picture

    def code() -> Pack:
        picture = api.decode_picture(data, device=settings.device, max_pixels=settings.max_pixels)

        def pack() -> Converted:
            written, lost = write_picture(picture, settings.to, settings.rate["quality"])
            warnings = (*picture.warnings, *lost)
            refuse_losses(warnings, settings.strict)
            return Converted(written, data, warnings)

        return pack

    return code


def to_arrays(data: bytes, settings: Settings) -> Code:
    """.vqc file to index planes as .npz; no network runs."""
    from vqcodec import api
    from vqcodec.tokens.npz import write_arrays

    def code() -> Pack:
        tokens = api.decode_tokens(data, max_pixels=settings.max_pixels)
        return lambda: Converted(write_arrays(tokens), data, tokens.warnings)

    return code


CONVERSIONS: dict[str, Conversion] = {
    "vqc": encoding,
    **dict.fromkeys(("png", "jpg", "webp", "avif", "tiff"), decoding),
    "npz": to_arrays,
}
"""Format of the targets -> conversion."""
