"""The list of dependencies without torch follows pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
OF_TORCH = {"torch", "pytorch-msssim"}


def test_the_list_without_torch_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = (ROOT / "docs" / "requirements-without-torch.txt").read_text().splitlines()
    wanted = [line for line in project["dependencies"] if line.partition(">")[0] not in OF_TORCH]
    assert [line for line in listed if not line.startswith("#")] == wanted
