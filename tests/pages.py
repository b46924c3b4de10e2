"""Pages of documentation as the tests read them: code blocks, commands, links, and small sample images to run on."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "samples" / "README.md"])
WIDTH_PX = 208
"""Width of the scaled-down samples that examples run on: the examples hold for every size."""


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Contents of the fenced blocks of `language`, indented ones dedented."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def lines(block: str) -> list[str]:
    return [line for line in block.splitlines() if line]


def commands(text: str) -> list[str]:
    """Commands `vqcodec ...` of a page: in bash blocks, and in backticks if their arguments are no placeholders."""
    shell = [line for block in blocks(text, "bash") for line in lines(block) if line.startswith("vqcodec ")]
    inline = re.findall(r"`(vqcodec (?:(?:models|train) )?[a-z]+ [^`]+)`", text)
    names = {name.removeprefix("vqcodec ") for name in command_names()}
    complete = [line for line in inline if not re.search(r"\b[A-Z]{3,}\b|\.\.\.", line)]
    return sorted({*shell, *(line for line in complete if line.removeprefix("vqcodec ") not in names)})


def parse(line: str) -> list[str]:
    """Parse a command with the application's own parser, without running it; return its words after `vqcodec`."""
    called: list[dict[str, Any]] = []

    def mute(command: Any) -> None:
        for child in getattr(command, "commands", {}).values():
            mute(child)
        if not hasattr(command, "commands"):
            command.callback = lambda **values: called.append(values)

    command = whole_command()
    mute(command)
    words = shlex.split(line)[1:]
    if "cuda" in words:  # the parser refuses devices that this machine lacks
        words[words.index("cuda")] = "cpu"
    command.main(words, prog_name="vqcodec", standalone_mode=False)
    assert len(called) == 1
    return words


def command_names() -> list[str]:
    """Every command of the application: `vqcodec encode`, `vqcodec models list` ..."""

    def names(command: Any, path: str) -> list[str]:
        children = getattr(command, "commands", None)
        return [path] if children is None else [x for name in children for x in names(children[name], f"{path} {name}")]

    return names(whole_command(), "vqcodec")


def whole_command() -> Any:
    """The application's command with all commands and groups in it, whose modules are imported."""
    from typer.main import get_command

    from vqcodec.cli.main import app

    command: Any = get_command(app)
    command.commands = {name: entry.command for name, entry in command.commands.items()}
    return command


def write_small_samples(folder: Path) -> None:
    """The sample images, `WIDTH_PX` wide, in `folder`/samples."""
    from PIL import Image

    (folder / "samples").mkdir()
    for path in (ROOT / "samples").glob("*.png"):
        with Image.open(path) as image:
            small = image.convert("RGB").resize((WIDTH_PX, WIDTH_PX * image.height // image.width))
        small.save(folder / "samples" / path.name)
