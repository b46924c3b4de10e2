"""The encoder that a model's quantizer needs."""

from __future__ import annotations

from ..image.picture import Picture
from ..models import registry
from ..tokens.tokens import has_step
from .index_encoder import Encoding
from .scalar_encoder import ScalarEncoder

Encoder = Encoding | ScalarEncoder


def encoder_of(picture: Picture, name: str, device: str, effort: int) -> Encoder:
    """The encoder of `picture` by model `name`. Raises ModelError, LimitError."""
    kind = ScalarEncoder if has_step(registry.find(name).config) else Encoding
    return kind(picture, name, device, effort)
