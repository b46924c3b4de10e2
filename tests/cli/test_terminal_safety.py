"""Control characters in file names, models and metadata never reach the terminal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec import container
from vqcodec.cli.evaluate.tables import _table
from vqcodec.cli.messages import clean, is_control
from vqcodec.container.chunks import Chunk
from vqcodec.models import registry

from ..refusal import Invoke

EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\r\x08\u202e\u2028\u2066"
"""Clear the screen, set the title, colour by C1, return, go back, turn the order of characters, separate lines."""


def is_safe(text: str) -> bool:
    """True for text of lines without control characters."""
    return not any(is_control(c) for c in text.replace("\n", ""))


@pytest.fixture(scope="module")
def evil_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: one with hostile texts, one broken with hostile keys."""
    from ..conftest import write_tiny_model

    base = tmp_path_factory.mktemp("evil")
    write_tiny_model(base / "one", seed=7)
    path = base / "one" / registry.CONFIG
    config = json.loads(path.read_text())
    texts = {"name": f"one{EVIL}", "description": EVIL, "license": EVIL, "extra": {EVIL: EVIL}}
    path.write_text(json.dumps(config | texts))
    shutil.copytree(base / "one", base / f"two{EVIL}")
    path = base / f"two{EVIL}" / registry.CONFIG
    path.write_text(json.dumps(config | {EVIL: 1}))
    return base


@pytest.fixture
def evil(tmp_path: Path, tiny_vqc: bytes, evil_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A .vqc file and a picture with hostile names and hostile metadata."""
    monkeypatch.setenv("VQCODEC_MODELS", str(evil_models))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    data = vqcodec.encode(picture, f"one{EVIL}")
    file = container.read(data)
    segments = [[segment or b"" for segment in row] for row in file.segments]
    text = EVIL.encode()
    chunks = [Chunk("iCCP", text), Chunk("eXIf", b"Exif\0\0" + text), Chunk("xMPd", text), Chunk("zzZz", text)]
    path = tmp_path / f"a{EVIL}.vqc"
    path.write_bytes(container.write(file.header, segments, file.alpha, chunks))
    (tmp_path / f"bad{EVIL}.vqc").write_bytes(tiny_vqc[:50])
    picture.save(tmp_path / f"b{EVIL}.png", exif=b"Exif\0\0" + text)
    return path


@pytest.mark.parametrize(
    "command",
    [
        ("info", "FILE"),
        ("info", "FILE", "--json"),
        ("verify", "FILE"),
        ("decode", "FILE"),
        ("decode", "BAD"),
        ("decode", "BAD", "--debug"),
        ("decode", "MISSING"),
        ("decode", "FILE", "--format", EVIL),
        (f"--{EVIL}",),
        (EVIL,),
        ("truncate", "FILE", "--keep", "1", "-o", "OUT"),
        ("preview", "FILE"),
        ("tokens", "FILE", "-o", "NPZ"),
        ("encode", "PNG", "-m", f"one{EVIL}", "-o", "OUT"),
        ("encode", "PNG", "-m", EVIL),
        ("batch", "FOLDER", "TREE", "-m", f"one{EVIL}"),
        ("models", "list"),
        ("models", "show", f"one{EVIL}"),
        ("models", "verify"),
        ("models", "import", EVIL, "FILE", "-o", "OUT"),
    ],
    ids=lambda words: clean(" ".join(words))[:40],
)
def test_nothing_printed_controls_the_terminal(command: tuple[str, ...], evil: Path, invoke: Invoke) -> None:
    folder = evil.parent
    paths = {
        "FILE": evil,
        "BAD": folder / f"bad{EVIL}.vqc",
        "MISSING": folder / f"none{EVIL}.vqc",
        "PNG": folder / f"b{EVIL}.png",
        "OUT": folder / f"out{EVIL}.vqc",
        "NPZ": folder / f"out{EVIL}.npz",
        "FOLDER": folder,
        "TREE": folder / f"tree{EVIL}",
    }
    code, out, err = invoke(*(paths.get(word, word) for word in command))
    assert out or err
    assert is_safe(out), ascii(out)
    assert is_safe(err), ascii(err)
    assert code != 1, err


def test_titles_of_tables() -> None:
    assert is_safe(str(_table(f"model {EVIL}").title))


def test_what_is_escaped() -> None:
    assert clean("a\x1b\x9b\u202e\u2028\ud800é漢😀") == "a\\x1b\\x9b\\u202e\\u2028\\ud800é漢😀"
