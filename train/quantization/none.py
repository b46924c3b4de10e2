"""Stands in for codebooks.py where there is no choice of a nearest codeword: binary, scalar and soft quantizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class NoCodebooks:
    """Answers what Codebooks answers: there is nothing to start, to revive or to weigh."""

    def started(self, step: int) -> bool:
        """Every step quantizes."""
        return True

    def before_step(self, step: int, batches: Callable[[int], Tensor]) -> None:
        """Nothing."""

    def after_step(self, step: int, z: Tensor, generator: torch.Generator) -> None:
        """Nothing."""

    def draw_rate(self, batch: int, generator: torch.Generator) -> Tensor | None:
        """No rate."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""
