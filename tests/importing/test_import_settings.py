"""Configuration files for checkpoints of the four systems in other sizes: accepted keys and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import structs, to_builtins

from vqcodec.config.model import TokenizerConfig
from vqcodec.config.quantizers import SoftVQConfig
from vqcodec.errors import InputError, UsageError
from vqcodec.importing.release import find_release
from vqcodec.importing.settings import find_configured
from vqcodec.models import loading, registry

from ..refusal import Invoke
from .test_importing import TINY, released, small


def as_toml(config: TokenizerConfig) -> str:
    """Text of a table [tokenizer] with all settings."""
    return _table("tokenizer", to_builtins(config))


def _table(name: str, settings: dict[str, Any]) -> str:
    plain = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if not isinstance(value, dict)]
    inner = [_table(f"{name}.{key}", value) for key, value in settings.items() if isinstance(value, dict)]
    return "\n".join([f"[{name}]", *plain, *inner])


@pytest.mark.parametrize("name", TINY)
def test_a_checkpoint_of_own_sizes_becomes_a_model(name: str, invoke: Invoke, tmp_path: Path) -> None:
    system, config = find_release(name)[0], small(name)
    torch.save(released(system, config), tmp_path / "x.pt")
    (tmp_path / "own.toml").write_text(as_toml(config))
    arguments = ("models", "import", system.family, tmp_path / "x.pt", "-o", tmp_path / "m", "--name", "own")
    code, out, err = invoke(*arguments, "--config", tmp_path / "own.toml")
    assert (code, out) == (0, ""), err
    model = loading.load(registry.find(str(tmp_path / "m")))
    assert (model.config.name, model.config.tokenizer) == ("own", config)
    assert model.tokenizer is not None
    # The sizes of the release do not fit the file.
    assert invoke("models", "import", name, tmp_path / "x.pt", "-o", tmp_path / "n")[0] == 5


def test_a_file_says_what_differs_from_a_release(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("[tokenizer]\ncompute_window = 2048\n[tokenizer.quantizer]\ncodebook_size = 4096\n")
    system, config = find_configured("mgvq-f16c32-g4", path)
    release = find_release("mgvq-f16c32-g4")[1]
    assert system.name == "MGVQ"
    quantizer = structs.replace(release.quantizer, codebook_size=4096)
    assert config == structs.replace(release, quantizer=quantizer, compute_window=2048)
    path.write_text('[tokenizer.quantizer]\nkind = "soft-vq"\ncodebook_size = 16\ndim = 8\n')
    assert find_configured("xqgan-vq-4096", path)[1].quantizer == SoftVQConfig(16, 8)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mgvq", "[tokenizer]\nstride = 16\n", "own.toml: tokenizer: key 'backbone' is missing"),
        ("mgvq-f16c32-g4", "[tokenizer]\nstrid = 16\n", "tokenizer: unknown key 'strid'; did you mean 'stride'"),
        ("mgvq-f16c32-g4", "[tokenizer]\nstride = 8\n", "4 widths and 8 do not agree"),
        ("mgvq-f16c32-g4", "[tokenizer]\nstride = 16\n[optimizer]\nlr = 1\n", r"only the table \[tokenizer\]"),
        ("mgvq-f16c32-g4", "lr = 1\n", r"only the table \[tokenizer\] is read; remove lr"),
        ("mgvq-f16c32-g4", "", r"a table \[tokenizer\] is needed"),
        ("mgqv", "[tokenizer]\n", "mgqv: no release of that name"),
    ],
)
def test_settings_that_cannot_be_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        find_configured(name, tmp_path / "own.toml")
    assert "\n" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[tokenizer")
    for path, message in ((tmp_path / "own.toml", "not a TOML file"), (tmp_path / "no.toml", "cannot be read")):
        with pytest.raises(InputError, match=f"{path.name}: {message}"):
            find_configured("mgvq", path)


def test_a_family_without_a_file_asks_for_one() -> None:
    with pytest.raises(UsageError, match=r"mgvq: a family; .*mgvq-f16c32-g4.* --config"):
        find_release("mgvq")


@pytest.mark.parametrize(
    ("name", "widths", "tokens", "side"),
    [
        ("softvq-bl-32", (768, 1024), 32, 256),
        ("softvq-b-32", (768, 768), 32, 256),
        ("softvq-bl-64-512", (768, 1024), 64, 512),
        ("softvq-l-32-512", (1024, 1024), 32, 512),
    ],
)
def test_sizes_of_softvq_releases_without_a_published_configuration(
    name: str, widths: tuple[int, int], tokens: int, side: int
) -> None:
    """Names and sizes follow the authors' table of tokenizers."""
    config = find_release(name)[1]
    backbone: Any = config.backbone
    assert (backbone.widths, backbone.tokens, backbone.window, config.window) == (widths, tokens, side, side)
    assert config.overlap == side // 8
    assert config.window_shapes()[0] == (tokens,)
