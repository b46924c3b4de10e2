"""Models for callers of the library, with tensors and networks of their own."""

from __future__ import annotations

from ..runtime.torch_state import in_codec_modes
from . import loading


@in_codec_modes
def load_model(name: str | None = None, device: str = "cpu") -> loading.Model:
    """Load a copy of the model called `name`, or in the folder `name`; without a name the first installed of FAMILY.

    The networks of the copy may be converted with `half()`, trained or changed in place: `encode` and `decode` use
    networks of their own. Raises ModelError, and UsageError for a device that is not available.
    """
    return loading.load_model(name, device).copied()
