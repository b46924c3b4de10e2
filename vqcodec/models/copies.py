"""Copies of models for callers of the library, who may change their tensors."""

from __future__ import annotations

from ..runtime.torch_state import in_codec_modes
from . import loading


@in_codec_modes
def load_model(name: str | None = None, device: str = "cpu") -> loading.Model:
    """Load a copy of the model `name`, a name or a folder; None: the default model.

    The networks of the copy may be converted with `half()`, trained or changed in place: `encode` and `decode` use
    networks of their own. Raises ModelError, and UsageError for a device that is not available.
    """
    return loading.load_model(name, device).copied()
