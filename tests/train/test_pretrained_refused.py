"""Unusable pretrained weights are refused in one line, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vqcodec.errors import InputError, UsageError, VqcError
from vqcodec.train.alignment import teachers
from vqcodec.train.recipe.load import load_recipe
from vqcodec.train.start import from_vit

from ..dinov2 import dinov2, make_photos, recipe, train

pytest.importorskip("accelerate", reason="the trainer's way to several processes")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


class Call:
    """A call that a pickle may request."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (print, ("run",))


def cut(path: Path) -> None:
    save_file(dinov2(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def changed(**changes: Tensor | None) -> Callable[[Path], None]:
    """Writes a file with other tensors; None leaves one out. In names `__` stands for a dot."""

    def write(path: Path) -> None:
        state = dinov2() | {name.replace("__", "."): value for name, value in changes.items() if value is not None}
        torch.save({name: value for name, value in state.items() if changes.get(name, 0) is not None}, path)

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, r"is neither a file nor one of dinov2-small, .*, eva02-large; name one, or start from"),
        (cut, "not a whole safetensors file"),
        (lambda path: torch.save(dinov2() | {"args": Call()}, path), "refused, and nothing in it was run"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(50)), "cut off or damaged"),
        (lambda path: torch.save({"embeddings.cls_token": torch.ones(1, 1, 64)}, path), "holds no DINOv2"),
        (lambda path: torch.save(dinov2(128), path), "has 2 layers of 128 channels, the backbone's encoder 2 of 64"),
        (lambda path: torch.save(dinov2(depth=3), path), "has 3 layers of 64 channels, the backbone's encoder 2 of 64"),
        (changed(cls_token=None), "lacks cls_token; a DINOv2"),
        (changed(reg_token=torch.ones(1, 4, 64)), "holds unknown reg_token; a DINOv2 without registers"),
        (changed(a=torch.ones(1), b=torch.ones(1), c=torch.ones(1), d=torch.ones(1)), "unknown a, b, c and 1 more"),
        (changed(pos_embed=torch.ones(1, 64, 64)), r"pos_embed is \[1, 64, 64\]; \[1, 65, 64\] needed"),
        (changed(pos_embed=torch.ones(65, 64)), r"pos_embed is \[65, 64\]"),
        (changed(pos_embed=torch.ones(1, 1, 1).expand(1, 1 + 4096**2, 64)), "pos_embed is"),
        (changed(patch_embed__proj__weight=torch.ones(64, 3, 8, 9)), r"\[64, 3, 8, 9\]; \[64, 3, 9, 9\] needed"),
        (changed(patch_embed__proj__weight=torch.ones(1, 1, 1, 1).expand(64, 3, 99, 99)), r"\[64, 3, 8, 8\] needed"),
        (changed(blocks__1__ls1__gamma=torch.ones(1)), r"blocks\.1\.ls1\.gamma is \[1\]; \[64\] needed"),
        (changed(norm__bias=torch.full((64,), float("nan"))), r"norm\.bias holds other values than finite"),
        (changed(norm__bias=torch.ones(64, dtype=torch.int32)), r"norm\.bias holds other values than finite"),
    ],
)
def test_what_cannot_be_a_start(
    write: Callable[[Path], None], message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.bin"
    write(path)
    with pytest.raises(VqcError, match=message) as caught:
        train(tmp_path / "run", recipe(photos, f"pretrained.model={path}"))
    assert isinstance(caught.value, InputError | UsageError)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("tiny", ["pretrained.model=dinov2-base"], "the backbone conv has no such weights"),
        ("xqgan-vq-4096", ["start_from=runs/x"], "start_from names weights already"),
        (
            "xqgan-vq-4096",
            ["pretrained.model=dinov2-large"],
            "24 layers of 1024 channels, the backbone's encoder 12 of 768",
        ),
        (
            "softvq-bl-64",
            ['pretrained.parts=["decoder"]'],
            "12 layers of 768 channels, the backbone's decoder 24 of 1024",
        ),
        ("xqgan-vq-4096", ["pretrained.parts=[]"], r"pretrained\.parts: encoder, decoder or both"),
        ("xqgan-vq-4096", ['pretrained.parts=["quantizer"]'], r"pretrained\.parts.*is not one of decoder, encoder"),
        ("softvq-b-64", ["tuning.decoder=lora"], r"tuning\.decoder: lora needs weights to start from"),
        ("xqgan-vq-4096", ['optimizer.frozen=["quantizer"]'], r"optimizer\.frozen: quantizer needs weights"),
    ],
)
def test_recipes_that_cannot_start_so(name: str, changes: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=rf"^recipe\..*{message}"):
        load_recipe(name, changes)


def test_weights_out_of_reach_are_one_line(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_reach(*_: object, **options: object) -> None:
        raise OSError("no\nroute")

    monkeypatch.setattr(teachers, "_import", lambda *_: SimpleNamespace(create_model=out_of_reach))
    monkeypatch.setattr(teachers, "_reachable", lambda _: False)
    monkeypatch.setattr(from_vit, "SIZES", {"dinov2-base": (2, 64)})
    with pytest.raises(InputError) as caught:
        train(tmp_path / "run", recipe(photos, "pretrained.model=dinov2-base"))
    assert str(caught.value) == (
        "pretrained.model needs the weights of vit_base_patch14_dinov2.lvd142m, which are not available (no route); "
        "download them on a machine with network and name the file: --set pretrained.model=FILE, "
        "or start from random weights: --set pretrained.model="
    )
