"""Planes that a data set of tokens gives: their numbers, layers and alphabets."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from ..planes import Layers


@dataclass(frozen=True)
class TokenSpace:
    """Planes of the files of one model."""

    model: str
    """Name of the model; not compared."""
    identity: str
    """Token identity as hexadecimal digits."""
    sizes: tuple[int, ...]
    """Alphabet size of each plane of the model."""
    layers: Layers
    """Planes of each layer that is given, coarse to fine."""

    @property
    def planes(self) -> tuple[int, ...]:
        """Numbers of the planes that are given."""
        return tuple(s for layer in self.layers for s in layer)

    @property
    def vocabulary(self) -> tuple[int, ...]:
        """Alphabet size of each plane that is given."""
        return tuple(self.sizes[s] for s in self.planes)

    def kept(self, layers: int | None) -> TokenSpace:
        """The first `layers` layers; all for None. Raises UsageError out of range."""
        if layers is None:
            return self
        if not 1 <= layers <= len(self.layers):
            raise UsageError(f"layers {layers}: 1..{len(self.layers)} needed, for files of model '{self.model}'")
        return TokenSpace(self.model, self.identity, self.sizes, self.layers[:layers])
