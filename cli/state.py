"""Settings of options for the whole process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class State:
    """What the options of a command have set."""

    debug: bool = False
    """Print tracebacks of errors."""


state = State()
