"""Settings of options for the whole process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class State:
    """Settings that the options of a command make."""

    debug: bool = False
    """Print tracebacks of errors."""


state = State()
