"""README.md: its length, its first two blocks, and its Python example, which runs on small samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vqcodec.models import registry

from .pages import blocks, command_names, lines, read, write_small_samples

README = read("README.md")
MOST_LINES = 200


def test_length() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_the_first_two_blocks() -> None:
    """.ci/run executes the second one."""
    first, second = blocks(README, "bash")[:2]
    assert lines(first)[0] == "pip install -e ."
    assert lines(second) == ['pip install -e ".[dev]"', "python -m pytest -n auto"]


def test_the_table_has_every_command() -> None:
    groups = {name.split()[1] for name in command_names()}
    table = {line.split("`")[1] for line in README.splitlines() if line.startswith("| `")}
    assert groups == table


@pytest.mark.slow
@pytest.mark.skipif(not (registry.BUNDLED / registry.DEFAULT_MODEL).is_dir(), reason="no bundled model")
def test_the_python_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small_samples(tmp_path)
    monkeypatch.chdir(tmp_path)
    (example,) = blocks(README, "python")
    assert len(example.splitlines()) <= 20
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["picture"].size == names["image"].size == names["info"].size
