"""The corpus of hostile files: exit code and one line of message of the command that reads each of them."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from vqcodec.models import registry

from .refusal import Invoke, contents

FOLDER = Path(__file__).parent / "hostile"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


def test_every_file_of_the_corpus_has_an_expected_error() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*EXPECTED, "expected.json"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 300_000


@pytest.mark.parametrize("name", EXPECTED)
def test_a_hostile_file_ends_in_its_error(name: str, tmp_path: Path, invoke: Invoke) -> None:
    """No output, one line without control characters, the documented exit code."""
    expected = EXPECTED[name]
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / (registry.CONFIG if name.endswith(".json") else name)
    shutil.copyfile(FOLDER / name, path)
    before = contents(folder)
    arguments = {
        "truncate": ("truncate", path, "-o", folder / "out.vqc", "--keep", 1),
        "verify": ("verify", path),
        "tokens": ("tokens", path, "-o", folder / "out.vqc"),
        "import": ("models", "import", "softvq-l-64", path, "-o", folder / "out"),
        "show": ("models", "show", folder),
    }[expected["command"]]
    code, out, err = invoke(*arguments)
    assert (code, out) == (expected["exit_code"], ""), err
    assert expected["message"] in err
    assert err.startswith("vqcodec: ")
    assert err.count("\n") == 1
    assert not any(unicodedata.category(c)[0] == "C" for c in err.rstrip("\n"))
    assert contents(folder) == before
