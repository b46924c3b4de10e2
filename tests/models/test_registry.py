"""Model folders: found by name, path and identity; damaged ones refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs, to_builtins

from vqcodec.config.model import ModelConfig, TokenizerConfig
from vqcodec.config.reading import read
from vqcodec.errors import ModelError
from vqcodec.models import identity, loading, registry


@pytest.fixture
def folder(tiny_model: str, tmp_path: Path) -> Path:
    """Copy of the tiny model, for tests that damage it."""
    return Path(shutil.copytree(registry.find(tiny_model).folder, tmp_path / "copy"))


def rewrite(folder: Path, **changes: object) -> None:
    """Replace values of keys of config.json."""
    path = folder / registry.CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def rewrite_tensors(folder: Path, change: object) -> None:
    """Replace the tensors and update their digest."""
    from safetensors.numpy import load_file, save_file

    path = folder / registry.WEIGHTS
    tensors = load_file(path)
    change(tensors)  # type: ignore[operator]
    save_file(tensors, path)
    import hashlib

    rewrite(folder, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_folder_works_as_a_name(folder: Path) -> None:
    assert loading.load_model(str(folder)).config.name == "tiny"


def test_unknown_name_lists_installed_models(tiny_model: str) -> None:
    with pytest.raises(ModelError, match=r"model 'phot0': not found; did you mean photo\?; installed: .*tiny"):
        registry.find("phot0")


def test_changed_weights_are_refused(folder: Path) -> None:
    path = folder / registry.WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        loading.load_model(str(folder))


def test_missing_weights_are_refused(folder: Path) -> None:
    (folder / registry.WEIGHTS).unlink()
    with pytest.raises(ModelError, match="incomplete"):
        loading.load_model(str(folder))


def test_changed_codebooks_are_another_identity(folder: Path) -> None:
    rewrite_tensors(folder, lambda t: t["quantizer.bank.codebooks"].__iadd__(np.float16(1)))
    with pytest.raises(ModelError, match="identity"):
        loading.load_model(str(folder))


def test_changed_decoder_is_the_same_identity(folder: Path) -> None:
    rewrite_tensors(folder, lambda t: t["decoder.tail.bias"].__iadd__(np.float16(0.1)))
    assert loading.load_model(str(folder)).tokenizer is not None


def test_values_that_are_not_finite_are_refused(folder: Path) -> None:
    rewrite_tensors(folder, lambda t: t["decoder.tail.bias"].__setitem__(0, np.nan))
    with pytest.raises(ModelError, match=r"decoder\.tail\.bias.*not finite"):
        loading.load_model(str(folder))


def test_wrong_shapes_missing_and_extra_tensors_are_refused(folder: Path) -> None:
    original = (folder / registry.WEIGHTS).read_bytes()
    for change, message in (
        (lambda t: t.__setitem__("decoder.tail.bias", np.zeros(3, np.float16)), "tail.bias' is"),
        (lambda t: t.pop("encoder.stem.weight"), "stem.weight' is missing"),
        (lambda t: t.__setitem__("stowaway", np.zeros(3, np.float16)), "unknown tensor 'stowaway'"),
        (lambda t: t["entropy.tables.0"].__iadd__(1), "entropy model"),
    ):
        (folder / registry.WEIGHTS).write_bytes(original)
        rewrite_tensors(folder, change)
        with pytest.raises(ModelError, match=message):
            _ = loading.load_model(str(folder)).tokenizer


def test_not_safetensors_is_refused(folder: Path) -> None:
    path = folder / registry.WEIGHTS
    path.write_bytes(b"\x80\x04not safetensors")
    import hashlib

    rewrite(folder, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match="safetensors"):
        loading.load_model(str(folder))


def test_config_errors_name_the_place(folder: Path) -> None:
    rewrite(folder, ladders=[])
    with pytest.raises(ModelError, match="unknown key 'ladders'; did you mean 'ladder'"):
        registry.read_config(folder)
    (folder / registry.CONFIG).write_text("{")
    with pytest.raises(ModelError, match="not JSON"):
        registry.read_config(folder)


@pytest.mark.parametrize("damage", ["{", '{"name": "x", "more": 1}', "[" * 100_000, "\x00", "[]"])
def test_a_broken_folder_takes_no_other_model_away(
    folder: Path, damage: str, monkeypatch: pytest.MonkeyPatch, invoke: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(folder.parent))
    (folder.parent / "bad").mkdir()
    (folder.parent / "bad" / registry.CONFIG).write_text(damage)
    good = registry.find("tiny")
    assert registry.find_by_id(bytes.fromhex(good.config.token_id), bytes.fromhex(good.config.entropy_id)) == good
    for name in ("bad", str(folder.parent / "bad")):
        with pytest.raises(ModelError, match=r"bad/config\.json"):
            registry.find(name)
    code, out, _ = invoke("models", "list")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("bad ")] == [["bad", "broken"]]
    assert "error" in json.loads(invoke("models", "list", "--json")[1].splitlines()[-1])
    code, _, err = invoke("models", "verify")
    assert code == 5
    assert "tiny: good" in err
    assert "bad: broken: " in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": "16"}, r"stride: int needed"),
        ({"stride": True}, r"stride: int needed"),
        ({"quantizer": {"groups": 4, "dim": 4}}, r"quantizer: key 'codebook_size' is missing"),
        ({"backbone": 3}, r"backbone: table needed"),
    ],
)
def test_wrong_types_in_a_config(tiny_model: str, change: dict, message: str) -> None:
    good = to_builtins(registry.find(tiny_model).config.tokenizer)
    with pytest.raises(ModelError, match=message):
        read(TokenizerConfig, {**good, **change})


def test_config_round_trip(tiny_model: str) -> None:
    config = registry.find(tiny_model).config
    assert read(ModelConfig, json.loads(json.dumps(to_builtins(config)))) == config


def test_the_bundled_model_is_what_it_says() -> None:
    (entry,) = (entry for entry in registry.entries() if entry.bundled)
    assert entry.config.name == registry.DEFAULT_MODEL
    model = loading.load(entry)
    assert model.tokenizer.stride == entry.config.tokenizer.stride
    assert (entry.folder / registry.WEIGHTS).stat().st_size <= 10_000_000
    assert (entry.folder / "README.md").stat().st_size > 500


def test_the_default_model_covers_the_scale_of_quality() -> None:
    config = registry.find(registry.DEFAULT_MODEL).config
    qualities = [step.quality for step in config.ladder]
    assert (qualities[0], qualities[-1]) == (1, 100)
    assert qualities == sorted(set(qualities))
    assert config.ladder[-1].keep == len(config.layers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 7}, "newer vqcodec"),
        ({"layers": [[0], [1], [2]]}, "planes once each"),
        ({"ladder": [{"quality": 1, "keep": 9}]}, "ladder"),
        ({"ladder": [{"quality": 0, "keep": 1}]}, r"ladder\[0\]\.quality: int >= 1"),
        ({"ladder": [{"quality": 9, "keep": 1}, {"quality": 9, "keep": 2}]}, "ladder: .* rise"),
        ({"ladder": [{"quality": 1, "keep": 2}, {"quality": 9, "keep": 1}]}, "ladder: .* rise"),
    ],
)
def test_configurations_that_cannot_be_run_are_refused(folder: Path, changes: dict, message: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(ModelError, match=message):
        registry.read_config(folder)


def test_layers_are_part_of_the_identity(tiny_model: str) -> None:
    config = registry.find(tiny_model).config
    merged = structs.replace(config, layers=((0, 1), (2, 3)))
    books = {"quantizer.bank.codebooks": np.zeros((4, 16, 4), np.float16)}
    assert identity.token_identity(config, books) != identity.token_identity(merged, books)


def test_tokens_find_their_model_even_if_another_has_its_name(
    tiny_vqc: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import vqcodec

    base = tmp_path / "models"
    shutil.copytree(folder, base / "b-original")
    other = shutil.copytree(folder, base / "a-other")
    rewrite_tensors(Path(other), lambda t: t["quantizer.bank.codebooks"].__iadd__(np.float16(1)))
    from safetensors.numpy import load_file

    loading.write_model(Path(other), registry.read_config(Path(other)), load_file(Path(other) / registry.WEIGHTS))
    monkeypatch.setenv("VQCODEC_MODELS", str(base))
    tokens = vqcodec.decode_tokens(tiny_vqc)
    assert Path(tokens.model).name == "b-original"
    assert vqcodec.encode_tokens(tokens) == tiny_vqc


def test_a_file_of_an_earlier_entropy_model_says_so(tiny_model: str) -> None:
    config = registry.find(tiny_model).config
    ids = bytes.fromhex(config.token_id), bytes(4)
    with pytest.raises(ModelError, match=f"'{config.name}' has these tokens with another entropy model: decode with"):
        registry.find_by_id(*ids)
    with pytest.raises(ModelError, match="not installed; put its folder into"):
        registry.find_by_id(bytes(6), bytes(4))
