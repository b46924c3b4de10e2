"""docs/: commands parse, examples run on small samples, links and files exist, exit codes are those of the errors."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vqcodec
from vqcodec.errors import VqcError
from vqcodec.models import registry
from vqcodec.models.ladder import step_for_quality

from .pages import PAGES, ROOT, blocks, command_names, commands, lines, parse, read, write_small_samples

COMMANDS = sorted({line for page in PAGES for line in commands(page.read_text(encoding="utf-8"))})
SEARCHES = ("encode", "batch", "eval")
"""Commands that take --effort: the test runs them at effort 1."""
FOLDERS = r"(?:vqcodec|cli|train|tests|benchmarks|samples|scripts|docs|\.github|\.ci)"
PICTURE_BYTES, PICTURES_BYTES = 150_000, 400_000
"""Most bytes of a picture in docs/, and of all together."""

needs_model = pytest.mark.skipif(not (registry.BUNDLED / registry.DEFAULT_MODEL).is_dir(), reason="no bundled model")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a folder that holds small samples."""
    write_small_samples(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path / "models"))
    return tmp_path


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_parses(line: str) -> None:
    words = shlex.split(line)
    parse(f"{line} -o runs/x" if words[1:3] == ["train", "tokenizer"] and "-o" not in words else line)


def test_every_command_has_an_example() -> None:
    examples = commands(read("docs/cli.md") + read("docs/training.md"))
    assert [name for name in command_names() if not any(f"{line} ".startswith(f"{name} ") for line in examples)] == []


def test_exit_codes_are_those_of_the_errors() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", read("docs/cli.md"), re.MULTILINE)}
    assert table == {0, 130, VqcError.exit_code, *(child.exit_code for child in VqcError.__subclasses__())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(rf"`({FOLDERS}/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], link


def test_identity_is_that_of_the_bundled_model() -> None:
    folder = registry.BUNDLED / registry.DEFAULT_MODEL
    config = registry.read_config(folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    for page in (card, read("docs/models.md")):
        assert f"`{config.token_id}`" in page
        assert f"`{config.entropy_id}`" in page


@needs_model
def test_neighbouring_qualities_that_make_the_same_file() -> None:
    page = read("docs/cli.md")
    assert "49 to 51 do, 52 is the next\nstep" in page
    config = registry.find(registry.DEFAULT_MODEL).config
    steps = [step_for_quality(config, quality) for quality in (48, 49, 50, 51, 52)]
    assert steps[0] != steps[1] == steps[2] == steps[3] != steps[4]


def test_every_recipe_is_listed() -> None:
    recipes = {path.stem for path in (ROOT / "train" / "recipes").glob("*.toml")}
    rows = re.findall(r"^\| (`[^|]+) \|", read("docs/training.md").split("## Recipes")[1], re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row)} == recipes


def test_size_of_pictures() -> None:
    sizes = {path.name: path.stat().st_size for path in (ROOT / "docs").iterdir() if path.suffix in (".png", ".jpg")}
    assert sizes
    assert max(sizes.values()) < PICTURE_BYTES
    assert sum(sizes.values()) < PICTURES_BYTES


def test_curves_are_those_of_the_tables() -> None:
    spec = importlib.util.spec_from_file_location("make_figures", ROOT / "scripts" / "make_figures.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    curves = script.read_curves(read("docs/figures.md"))
    assert list(curves) == ["vqcodec", "AVIF", "WebP", "JPEG", "JPEG XL"]
    assert curves["vqcodec"][0] == (0.026, 22.40, 0.7823)
    assert curves["JPEG"][-1] == pytest.approx((1.349, 35.26 - 2.61, 0.9908 - 0.0057))


@pytest.mark.slow
@needs_model
def test_python_examples(clone: Path) -> None:
    names: dict[str, Any] = {}
    for i, block in enumerate(blocks(read("docs/python.md"), "python")):
        exec(compile(block, f"docs/python.md, block {i + 1}", "exec"), names)
    assert (clone / "lake.vqc").is_file()


@pytest.mark.slow
@needs_model
def test_command_examples(clone: Path, invoke: Callable[..., tuple[int, str, str]]) -> None:
    for line in (line for block in blocks(read("docs/cli.md"), "bash") for line in lines(block)):
        words = shlex.split(line)
        if any(word.startswith("runs/") for word in words):  # a checkpoint or model that is not here
            continue
        if words[0] != "vqcodec":
            subprocess.run(line, shell=True, check=True, cwd=clone)
            continue
        words += ["--effort", "1"] if words[1] in SEARCHES and "--to" not in words else []
        code, _, err = invoke(*words[1:])
        assert code == 0, f"{line}: {err}"
    data = (clone / "out" / "40k.vqc").read_bytes()
    assert len(data) <= 40_000
    assert vqcodec.inspect(data).model == registry.DEFAULT_MODEL
    assert len(list((clone / "out" / "pictures").glob("*.jpg"))) == len(list((clone / "samples").iterdir()))
    assert b'type="range"' in (clone / "out" / "lake.html").read_bytes()
