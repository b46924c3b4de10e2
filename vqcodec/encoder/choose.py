"""The encoder that a model's quantizer needs."""

from __future__ import annotations

from .. import registry
from ..encoding import Encoding
from ..image import Picture
from ..tokens import has_step
from .scalar_encoder import ScalarEncoder

Encoder = Encoding | ScalarEncoder


def encoder_of(picture: Picture, name: str, device: str, effort: int) -> Encoder:
    """The encoder of `picture` by model `name`. Raises ModelError, LimitError."""
    kind = ScalarEncoder if has_step(registry.find(name).config) else Encoding
    return kind(picture, name, device, effort)
