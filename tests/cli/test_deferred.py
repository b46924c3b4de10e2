"""Commands are imported when they are named: the list of commands, and what a command loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from vqcodec.cli.main import COMMANDS, app

LISTED: Any = get_command(app)
OTHERS = {"batch", "evaluate", "preview", "train", "models", "sample", "tokens", "packed_tokens", "vqc_files"}
"""Modules of `vqcodec.cli` that belong to other commands than encode and decode."""
REPORT = "import atexit, sys; atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))\n"


def loaded(*arguments: object) -> set[str]:
    """Modules in memory at the end of a command in a process of its own."""
    code = REPORT + f"from vqcodec.cli.main import run; sys.argv = {['vqcodec', *map(str, arguments)]!r}; run()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return {name for name in done.stderr.split() if name.startswith("vqcodec.")} | {
        name.partition(".")[0] for name in done.stderr.split()
    }


def of_commands(modules: set[str]) -> set[str]:
    """Modules directly in `vqcodec.cli`, of those given."""
    return {name.split(".")[2] for name in modules if name.startswith("vqcodec.cli.")}


@pytest.mark.parametrize("name", [name for name, _, _ in COMMANDS])
def test_the_list_states_the_help_of_each_command(name: str) -> None:
    entry = LISTED.commands[name]
    command = entry.command
    assert command.name == entry.name == name
    assert " ".join(command.help.split("\n\n")[0].split()) == entry.help
    assert command.get_short_help_str() == entry.get_short_help_str()
    assert (command.hidden, command.deprecated) == (entry.hidden, entry.deprecated)


def test_the_list_loads_no_command() -> None:
    for arguments in (["--help"], ["--version"]):
        modules = loaded(*arguments)
        assert not of_commands(modules) & (OTHERS | {"codec", "options"})
        assert not modules & {"numpy", "msgspec", "pydantic", "vqcodec.config", "vqcodec.models"}


@pytest.mark.slow
def test_decode_loads_what_it_needs(tmp_path: Path, tiny_model: str, tiny_vqc: bytes) -> None:
    source = tmp_path / "x.vqc"
    source.write_bytes(tiny_vqc)
    modules = loaded("decode", source, "-o", tmp_path / "x.png")
    assert "openvino" in modules
    assert not of_commands(modules) & OTHERS
    assert not modules & {"torch", "rich", "multiprocessing", "vqcodec.data", "vqcodec.evaluation", "vqcodec.train"}
    assert not {name for name in modules if name.startswith("vqcodec.encoder.")} - {"vqcodec.encoder.size_options"}


@pytest.mark.slow
def test_encode_loads_what_it_needs(tmp_path: Path, tiny_model: str) -> None:
    from PIL import Image

    Image.effect_noise((64, 48), 40).save(tmp_path / "x.png")
    modules = loaded("encode", tmp_path / "x.png", "-m", tiny_model, "--effort", 1)
    assert "openvino" in modules
    assert not of_commands(modules) & OTHERS
    assert not modules & {"torch", "rich", "multiprocessing", "vqcodec.data", "vqcodec.evaluation", "vqcodec.train"}


@pytest.mark.parametrize(
    ("words", "message"),
    [(["encod"], "No such command 'encod'. Did you mean 'encode'"), (["models", "shw"], "Did you mean 'show'?"),
     (["decode", "x.vqc", "--qualty", "3"], "--quality"), (["models"], "Usage: vqcodec models [OPTIONS] COMMAND")],
)  # fmt: skip
def test_messages_of_commands_and_of_groups(words: list[str], message: str) -> None:
    result = CliRunner().invoke(app, words, prog_name="vqcodec", color=False, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.parametrize(
    ("line", "found"),
    [("vqcodec en", ["encode"]), ("vqcodec models s", ["stats", "show"]), ("vqcodec decode --reg", ["--region"])],
)
def test_completion(line: str, found: list[str]) -> None:
    variables = {"_VQCODEC_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    code = "from vqcodec.cli.main import app; app(prog_name='vqcodec')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ | variables, check=True
    )
    assert done.stdout.split() == found
