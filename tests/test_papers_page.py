"""docs/papers.md: every table of the papers has a row, and its commands, recipes and releases are ones that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from vqcodec.importing.release import SYSTEMS, find_release
from vqcodec.train.recipe.load import load_recipe

PAGE = Path(__file__).parents[1] / "docs" / "papers.md"
TEXT = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
COMMANDS = sorted({*re.findall(r"`(vqcodec [^`]+)`", TEXT), *re.findall(r"^ *(vqcodec .*)$", TEXT, re.M)})
TABLES = {"MGVQ": 6, "XQ-GAN": 3, "FQGAN": 7, "SoftVQ-VAE": 4}
"""Tables of each paper."""


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_parses(line: str) -> None:
    from typer.main import get_command

    from vqcodec.cli.main import app

    called: list[dict[str, Any]] = []

    def mute(command: Any) -> None:
        for child in getattr(command, "commands", {}).values():
            mute(child)
        if not hasattr(command, "commands"):
            command.callback = lambda **values: called.append(values)

    command: Any = get_command(app)
    mute(command)
    words = shlex.split(line)[1:]
    if words[:2] == ["train", "tokenizer"] and "-o" not in words:
        words += ["-o", "runs/x"]  # left out on the page, where it says nothing
    command.main(words, prog_name="vqcodec", standalone_mode=False)
    assert len(called) == 1
    if words[:2] == ["models", "import"]:
        find_release(words[2])
    if words[:2] == ["train", "tokenizer"]:
        changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        load_recipe(words[2], changes)


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("mgvq-f16-g4", "masking.prefixes=[] masking.full=1.0"),
        (
            "mgvq-f16-g4",
            "masking.prefixes=[] masking.full=1.0 tokenizer.quantizer.groups=1 tokenizer.quantizer.codebook_size=32768",
        ),
        ("fqgan-dual-16", "losses.vq/disentanglement=0"),
        ("fqgan-dual-16", "losses.align/semantic=0"),
        ("softvq-b-64", "pretrained.model="),
        ("softvq-b-64", "losses.align/semantic=0"),
    ],
)
def test_what_rows_change_is_a_recipe(recipe: str, changes: str) -> None:
    for change in changes.split():
        assert change.split("=")[0] in TEXT
    load_recipe(recipe, changes.split())


@pytest.mark.parametrize("system", TABLES)
def test_every_table_has_a_row(system: str) -> None:
    section = TEXT.split(f"\n## {system}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    for number in range(1, TABLES[system] + 1):
        assert any(re.match(rf"\| {number}[:,]", row) for row in rows), number


def test_every_release_and_recipe_that_is_named_exists() -> None:
    from vqcodec.train.recipe.load import RECIPES

    known = {path.stem for path in RECIPES.glob("*.toml")} | {name for system in SYSTEMS for name in system.releases}
    named = re.findall(r"`((?:mgvq|xqgan|fqgan|softvq)-[\w-]+)`", TEXT)
    assert len(named) > 20
    assert set(named) <= known
