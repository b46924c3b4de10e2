"""Helpers for tests of commands: contents of folders, pictures, and checks of failures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image

Invoke = Callable[..., tuple[int, str, str]]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def opened(path: str) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def fails(outcome: tuple[int, str, str], code: int, *parts: str) -> None:
    """Exit code, nothing on stdout, one line on stderr that holds `parts`."""
    assert outcome[0] == code, outcome
    assert outcome[1] == ""
    assert re.fullmatch(r"vqcodec: [^\n]+\n", outcome[2]), outcome[2]
    for part in parts:
        assert part in outcome[2]
