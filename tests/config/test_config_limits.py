"""Numbers of a configuration that a network or a list is built from have upper limits, checked before it is built."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from vqcodec.config.model import ModelConfig, TokenizerConfig, check_model
from vqcodec.config.quantizers import QuantizerConfig
from vqcodec.config.reading import read
from vqcodec.errors import ModelError
from vqcodec.models import registry

from ..codes import EVERY

HUGE = 2**31


def paths_of_numbers(tree: Any) -> list[tuple[str | int, ...]]:
    """Paths of all integers in JSON, and of the first entry of each list of integers."""
    found: list[tuple[str | int, ...]] = []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for key, value in items:
        if isinstance(value, int) and not isinstance(value, bool):
            found.append((key,))
        found += [(key, *path) for path in paths_of_numbers(value)]
    return found


def changed(tree: Any, path: tuple[str | int, ...], value: object) -> Any:
    """Copy of JSON with another value at `path`."""
    first, *rest = path
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[first] = changed(tree[first], tuple(rest), value) if rest else value
    return copy


def is_refused(tree: Any) -> bool:
    """True if the reader or the rules across settings refuse the configuration of a quantizer."""
    try:
        return any(True for _ in read(QuantizerConfig, tree).problems())
    except ModelError:
        return True


@pytest.mark.parametrize("quantizer", EVERY, ids=str)
def test_huge_numbers_of_a_quantizer_are_refused_at_once(quantizer: QuantizerConfig) -> None:
    tree = to_builtins(quantizer)
    for path in paths_of_numbers(tree):
        if path[-1] in ("dropout_start",):  # compared with the stages
            continue
        started = time.process_time()
        assert is_refused(changed(tree, path, HUGE)), path
        assert time.process_time() - started < 0.1, path


def test_huge_numbers_of_a_tokenizer_are_refused_at_once(tiny_model: str) -> None:
    config = to_builtins(registry.find(tiny_model).config)
    for path in paths_of_numbers(config):
        started = time.process_time()
        with pytest.raises(ModelError):
            check_model(read(ModelConfig, changed(config, path, HUGE)), "x")
        assert time.process_time() - started < 0.1, path


@pytest.mark.parametrize(
    ("backbone", "key"),
    [
        ({"kind": "vit"}, "encoder_depth"),
        ({"kind": "vit"}, "tokens"),
        ({"kind": "vit"}, "branches"),
        ({"kind": "vqgan"}, "adapters"),
        ({"kind": "vqgan"}, "latent"),
        ({"kind": "wavelet"}, "depth"),
        ({"kind": "wavelet"}, "width"),
        ({"kind": "dcae"}, "widths"),
        ({"kind": "conv", "widths": [8], "decoder_depths": [1]}, "encoder_depths"),
    ],
)
def test_huge_backbones_are_refused(tiny_model: str, backbone: dict[str, Any], key: str) -> None:
    tokenizer = to_builtins(registry.find(tiny_model).config.tokenizer)
    value: object = [10**6] * 4 if key.endswith("s") and key not in ("tokens", "branches", "adapters") else 10**6
    with pytest.raises(ModelError, match=rf"backbone\.{key}.* <= "):
        read(TokenizerConfig, {**tokenizer, "backbone": {**backbone, key: value}})


def test_a_huge_configuration_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MAX_CONFIG_BYTES", 100)
    (tmp_path / registry.CONFIG).write_text('{"name": "' + "x" * 100 + '"}')
    with pytest.raises(ModelError, match="over 100 characters"):
        registry.read_config(tmp_path)
