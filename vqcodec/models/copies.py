"""Models for callers: their networks are copies, so that no experiment changes what the codec writes.

Differs from registry.py, whose models are the codec's own and shared by all its calls.
"""

from __future__ import annotations

from ..runtime.torch_state import in_codec_modes
from . import registry


@in_codec_modes
def load_model(name: str | None = None, device: str = "cpu") -> registry.Model:
    """A copy of the model called `name`, or in the folder `name`; without one the first of the family.

    Each call gives networks of its own: `half()`, training and changes in place do not reach `encode` and `decode`.
    Raises ModelError, and UsageError for a device that is not there.
    """
    return registry.load_model(name, device).copied()
