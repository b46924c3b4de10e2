"""Interface of several training processes, as accelerate's Accelerator implements it, and their common end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from accelerate import Accelerator


class Processes(Protocol):
    """Methods of accelerate's Accelerator that the parts of a run use."""

    @property
    def num_processes(self) -> int:
        """Number of processes."""

    @property
    def process_index(self) -> int:
        """Number of this process, from 0."""

    @property
    def device(self) -> torch.device:
        """Device of this process."""

    @property
    def sync_gradients(self) -> bool:
        """True if the present batch completes a step: False for all but the last of accumulated batches."""

    def prepare(self, *parts: Any) -> Any:
        """Networks and optimizers, wrapped for all processes."""

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients."""

    def reduce(self, tensor: Any, reduction: str) -> Any:
        """`tensor` reduced over the processes by `reduction` ("mean" or "sum")."""


class OneProcess:
    """Processes where there is only one."""

    num_processes = 1
    process_index = 0
    sync_gradients = True

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)

    def prepare(self, *parts: Any) -> Any:
        """`parts` as they are."""
        return parts

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the scalar `loss`."""
        loss.backward()

    def reduce(self, tensor: Any, reduction: str) -> Any:
        """`tensor` as it is."""
        return tensor


def end_together(accelerator: Accelerator) -> None:
    """Wait for the other processes, then end the communication with them.

    A process that exits while others use their connections to it may abort, and the whole launch then counts as failed.
    """
    accelerator.wait_for_everyone()
    accelerator.end_training()
