"""The README does what it says: its commands parse, and with the bundled model its examples run."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqcodec
from vqcodec.errors import VqcError
from vqcodec.models import registry

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
WIDTH = 416
"""Of the sample pictures here, pixels: the examples hold for all sizes, and small ones take less time."""

needs_model = pytest.mark.skipif(
    not (registry.BUNDLED / registry.FAMILY[0] / registry.CONFIG).is_file(), reason="no bundled model"
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def lines(block: str) -> list[str]:
    return [line for line in block.splitlines() if line]


COMMANDS = [line for block in blocks("bash") for line in lines(block) if line.startswith("vqcodec ")]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a folder that looks like a clone to the examples, its pictures scaled down."""
    (tmp_path / "samples").mkdir()
    for path in (ROOT / "samples").glob("*.png"):
        with Image.open(path) as picture:
            small = picture.convert("RGB").resize((WIDTH, WIDTH * picture.height // picture.width))
        small.save(tmp_path / "samples" / path.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQCODEC_MODELS", str(tmp_path / "models"))
    return tmp_path


def test_the_first_two_blocks() -> None:
    first, second = blocks("bash")[:2]
    assert lines(first)[0] == "pip install -e ."
    assert lines(second) == ['pip install -e ".[dev]"', "python -m pytest"]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_parses(line: str) -> None:
    from typer.main import get_command

    from vqcodec.cli.main import app

    called = []

    def mute(command: Any) -> None:
        for child in getattr(command, "commands", {}).values():
            mute(child)
        if not hasattr(command, "commands"):
            command.callback = lambda **values: called.append(values)

    command: Any = get_command(app)
    mute(command)
    command.main(shlex.split(line)[1:], prog_name="vqcodec", standalone_mode=False)
    assert len(called) == 1


def test_every_command_is_shown() -> None:
    from typer.main import get_command

    from vqcodec.cli.main import app

    def names(command: Any, path: str) -> list[str]:
        children = getattr(command, "commands", None)
        return [path] if children is None else [x for name in children for x in names(children[name], f"{path} {name}")]

    known = names(get_command(app), "vqcodec")
    assert [name for name in known if not any(f"{line} ".startswith(f"{name} ") for line in COMMANDS)] == []


def test_exit_codes_are_those_of_the_errors() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert table == {0, 130, VqcError.exit_code, *(child.exit_code for child in VqcError.__subclasses__())}


def test_files_that_are_named_exist() -> None:
    named = re.findall(r"`((?:vqcodec|train|benchmarks|samples|\.ci)/[\w./]+)`|\]\(([\w./]+)\)", README)
    assert named
    for name in {a or b for a, b in named}:
        assert (ROOT / name).exists() or name == "vqcodec/models/", name


@needs_model
def test_python_examples(clone: Path) -> None:
    names: dict[str, Any] = {}
    for i, block in enumerate(blocks("python")):
        exec(compile(block, f"README.md, python block {i + 1}", "exec"), names)
    assert (clone / "lake.vqc").is_file()


@needs_model
def test_command_examples(clone: Path, invoke: Callable[..., tuple[int, str, str]]) -> None:
    for block in blocks("bash"):
        for line in lines(block):
            words = shlex.split(line)
            if (
                words[:2] == ["vqcodec", "train"]
                or any(word.startswith("runs/") for word in words)
                or words[0] in ("pip", "python")
            ):
                continue
            if words[0] == "vqcodec":
                code, _, err = invoke(*words[1:])
                assert code == 0, f"{line}: {err}"
            else:
                subprocess.run(line, shell=True, check=True, cwd=clone)
    data = (clone / "out" / "40k.vqc").read_bytes()
    assert len(data) <= 40_000
    assert vqcodec.inspect(data).model in registry.FAMILY
    assert len(list((clone / "out" / "pictures").glob("*.jpg"))) == len(list((clone / "samples").iterdir()))
    assert b'type="range"' in (clone / "preview.html").read_bytes()
