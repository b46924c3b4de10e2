"""docs/papers.md: a row for every table of the papers; commands, recipes and releases that exist."""

from __future__ import annotations

import re
import shlex

import pytest

from vqcodec.importing.release import SYSTEMS, find_release
from vqcodec.train.recipe.load import load_recipe

from .pages import commands, parse, read

TEXT = read("docs/papers.md")
COMMANDS = commands(TEXT)
TABLES = {"MGVQ": 6, "XQ-GAN": 3, "FQGAN": 7, "SoftVQ-VAE": 4}
"""Number of tables in each paper."""


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_names_what_exists(line: str) -> None:
    words = shlex.split(line)
    # Lengthy rows of the tables leave the output folder out.
    words = parse(f"{line} -o runs/x" if words[1:3] == ["train", "tokenizer"] and "-o" not in words else line)
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
def test_changes_of_rows_are_recipes(recipe: str, changes: str) -> None:
    for change in changes.split():
        assert change.split("=")[0] in TEXT
    load_recipe(recipe, changes.split())


@pytest.mark.parametrize("system", TABLES)
def test_every_table_has_a_row(system: str) -> None:
    section = TEXT.split(f"\n## {system}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    for number in range(1, TABLES[system] + 1):
        assert any(re.match(rf"\| {number}[:,]", row) for row in rows), number


def test_every_named_release_and_recipe_exists() -> None:
    from vqcodec.train.recipe.load import RECIPES

    known = {path.stem for path in RECIPES.glob("*.toml")} | {name for system in SYSTEMS for name in system.releases}
    named = re.findall(r"`((?:mgvq|xqgan|fqgan|softvq)-[\w-]+)`", TEXT)
    assert len(named) > 20
    assert set(named) <= known
