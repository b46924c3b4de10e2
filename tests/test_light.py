"""Entry points that load no torch: import, --help, info, models list, completion, Pillow's open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "scipy", "matplotlib", "skimage", "torchvision", "accelerate", "pytorch_msssim"}
REPORT = "import atexit, sys; atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))\n"
COMMAND = REPORT + "from vqcodec.cli.main import run; sys.argv = ['vqcodec', {}]; run()"


def loaded(code: str, **environment: str) -> tuple[set[str], str]:
    """Top-level modules loaded in a fresh interpreter after `code`, and its output."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return {name.partition(".")[0] for name in result.stderr.split()}, result.stdout


@pytest.fixture
def vqc_file(tmp_path: Path, tiny_vqc: bytes) -> Path:
    path = tmp_path / "x.vqc"
    path.write_bytes(tiny_vqc)
    return path


def test_importing_loads_next_to_nothing() -> None:
    modules, _ = loaded(REPORT + "import vqcodec")
    assert not modules & (HEAVY | {"numpy", "PIL"})


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["encode", "--help"], ["train", "--help"], ["models", "list"]],
    ids=" ".join,
)
def test_commands_that_answer_at_once(tiny_model: str, arguments: list[str]) -> None:
    modules, out = loaded(COMMAND.format(repr(arguments)[1:-1]))
    assert out
    assert not modules & HEAVY


@pytest.mark.slow
def test_what_needs_no_array_loads_no_numpy(tiny_model: str, vqc_file: Path) -> None:
    for arguments in ("'--help'", "'models', 'list'", f"'info', {str(vqc_file)!r}"):
        modules, _ = loaded(COMMAND.format(arguments))
        assert not modules & {"numpy", "PIL", "constriction", "safetensors", "zstandard"}, arguments


def test_info(vqc_file: Path) -> None:
    modules, out = loaded(COMMAND.format(f"'info', {str(vqc_file)!r}"))
    assert "200 x 150" in out
    assert not modules & HEAVY


def test_models_show(tiny_model: str) -> None:
    modules, out = loaded(COMMAND.format("'models', 'show', 'tiny'"))
    assert "16 codewords" in out
    assert not modules & HEAVY


def test_truncating_and_verifying_take_no_network(vqc_file: Path) -> None:
    target = vqc_file.with_name("y.vqc")
    assert (
        not loaded(COMMAND.format(f"'truncate', {str(vqc_file)!r}, '-o', {str(target)!r}, '--keep', '1', '-q'"))[0]
        & HEAVY
    )
    assert not loaded(COMMAND.format(f"'verify', {str(target)!r}, '-q'"))[0] & HEAVY


def test_completion(tiny_model: str) -> None:
    words = "vqcodec encode --model ti"
    modules, out = loaded(
        REPORT + "from vqcodec.cli.main import app; app(prog_name='vqcodec')",
        _VQCODEC_COMPLETE="complete_bash",
        COMP_WORDS=words,
        COMP_CWORD="3",
    )
    assert out.split() == ["tiny"]
    assert not modules & HEAVY


def test_pillow_opens_with_the_head_alone(vqc_file: Path) -> None:
    code = f"""
import vqcodec.pillow_plugin
from PIL import Image
with Image.open({str(vqc_file)!r}) as image:
    print(image.size, image.mode)
"""
    modules, out = loaded(REPORT + code)
    assert out == "(200, 150) RGB\n"
    assert not modules & (HEAVY | {"numpy", "constriction", "safetensors"})


@pytest.mark.slow
@pytest.mark.parametrize(("model", "effort"), [("photo", 1), ("photo", 6), ("photo", 7), ("product-vq", 7)])
def test_trained_models_run_without_torch(tmp_path: Path, model: str, effort: int) -> None:
    """Encoding with latent refinement and adaptive layers, decoding and previews."""
    from PIL import Image

    source, file = tmp_path / "x.png", tmp_path / "x.vqc"
    Image.effect_noise((96, 80), 40).save(source)
    encode = ("encode", source, "-o", file, "-q", 20, "-m", model, "--effort", effort, "--quiet")
    decode = ("decode", file, "-o", tmp_path / "y.png", "--quiet")
    preview = ("preview", file, "-o", tmp_path / "x.html", "--steps", 2, "--quiet")
    for command in (encode, decode, preview):
        modules, _ = loaded(COMMAND.format(repr([str(part) for part in command])[1:-1]))
        assert "openvino" in modules
        assert not modules & HEAVY, command


@pytest.mark.slow
def test_without_openvino_torch_runs_the_networks_and_says_so(tmp_path: Path) -> None:
    from PIL import Image

    source, file = tmp_path / "x.png", tmp_path / "x.vqc"
    Image.effect_noise((40, 32), 40).save(source)
    missing = "import sys; sys.modules['openvino'] = None\n"
    arguments = [str(part) for part in ("encode", source, "-o", file, "-q", 20, "--effort", 1)]
    result = subprocess.run(
        [sys.executable, "-c", missing + COMMAND.format(repr(arguments)[1:-1])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert file.stat().st_size
    assert "torch" in result.stderr.split()
    notes = [line for line in result.stderr.splitlines() if "OpenVINO" in line]
    assert len(notes) == 1, result.stderr
    assert notes[0].startswith("vqcodec: warning: ")
