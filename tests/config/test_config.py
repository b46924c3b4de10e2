"""Configurations: refusal of invalid kinds, choices and lists in one line, and unchanged identities."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from vqcodec.config.model import ConvConfig, DcaeConfig, ModelConfig, TokenizerConfig, check_tokenizer
from vqcodec.config.quantizers import ProductVQConfig
from vqcodec.config.reading import read
from vqcodec.errors import ModelError
from vqcodec.models import registry
from vqcodec.models.identity import token_space

CONV = {"widths": [8, 8], "encoder_depths": [1, 1], "decoder_depths": [1, 1]}
VQ = {"groups": 4, "codebook_size": 16, "dim": 4}


def tree(**changes: Any) -> dict[str, Any]:
    return {"stride": 16, "backbone": CONV, "quantizer": VQ, **changes}


def test_kind_chooses_the_backbone() -> None:
    assert isinstance(read(TokenizerConfig, tree()).backbone, ConvConfig)
    assert isinstance(read(TokenizerConfig, tree(backbone={**CONV, "kind": "conv"})).backbone, ConvConfig)
    assert read(TokenizerConfig, tree(backbone={"kind": "dcae"})).backbone == DcaeConfig()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backbone": {"kind": "dcea"}},
            r"^recipe\.backbone\.kind: 'dcea' is not one of conv, wavelet, dcae, vqgan, vit$",
        ),
        ({"backbone": {"kind": []}}, r"is not one of conv, wavelet, dcae, vqgan, vit$"),
        ({"backbone": {"kind": "dcae", "width": [8]}}, "unknown key 'width'; did you mean 'widths'"),
        ({"backbone": {"kind": "dcae", "blocks": ["conv"]}}, r"blocks\[0\]: 'conv' is not one of attention, residual"),
        ({"quantizer": {**VQ, "kind": "vqq"}}, "'vqq' is not one of product-vq, vq, binary, fsq, residual"),
        ({"quantizer": {**VQ, "fill": "ones"}}, "'ones' is not one of learned, zero"),
        ({"quantizer": {**VQ, "normalised": 1}}, "normalised: bool needed, found 1"),
        ({"quantizer": {**VQ, "refinements": [16, 0]}}, r"quantizer\.refinements\[1\]: int >= 1 needed, found 0"),
        ({"stride": 8}, r"stride must be 8 \* 2\^\(widths - 1\); 2 widths and 8"),
        ({"backbone": {**CONV, "decoder_depths": [1]}}, "decoder_depths: one for each of the 2 widths"),
        ({"backbone": {**CONV, "decoder_depths": [1, -1]}}, r"decoder_depths\[1\]: int >= 0 needed, found -1"),
        ({"quantizer": {**VQ, "dim": 0}}, r"quantizer\.dim: int >= 1 needed, found 0"),
        ({"backbone": {"kind": "dcae", "blocks": []}}, "blocks: one for each of the 4 widths"),
        ({"backbone": {"kind": "dcae", "widths": [250, 512, 512, 1024]}}, "250 is not a multiple of 4"),
        ({"backbone": {"kind": "dcae", "widths": [256, 512, 520, 1024]}}, "520 is not a multiple of 32"),
        ({"backbone": {"kind": "dcae", "widths": [256, 512, 512, 1056]}}, r"1056 does not divide 4 \* 512"),
        (
            {"backbone": {"kind": "dcae"}, "quantizer": {**VQ, "dim": 6}},
            "1024, is not a multiple of the latent",
        ),
        ({"stride": 8, "backbone": {"kind": "dcae"}}, r"stride must be 2 \* 2\^\(widths - 1\)"),
        ({"backbone": {"kind": "vqgan", "widths": [128, 128, 256, 256, 500]}}, "widths: multiples of 32"),
        ({"backbone": {"kind": "vqgan"}, "stride": 8}, r"stride must be 1 \* 2\^\(widths - 1\); 5 widths and 8"),
        ({"backbone": {"kind": "vqgan", "latent": 0}}, r"backbone\.latent: int >= 1"),
        ({"backbone": {"kind": "vqgan", "adapters": -1}}, "adapters: int >= 0"),
        ({"backbone": {"kind": "vqgan", "adapters": 3}, "window": 256}, "3 do not share 16 latent channels"),
        ({"backbone": {"kind": "vqgan", "adapters": 2}}, "adapter_window: 256, but the tokenizer's windows are 0 px"),
        ({"backbone": {"kind": "vqgan", "adapters": 2, "adapter_heads": 7}, "window": 256}, "7 do not divide .* 512"),
        ({"backbone": {"kind": "vit"}}, "window: 256 of patches of 16 px; the tokenizer has 0 and stride 16"),
        ({"backbone": {"kind": "vit"}, "window": 256, "stride": 32}, "the tokenizer has 256 and stride 32"),
        ({"backbone": {"kind": "vit", "encoder_width": 100}, "window": 256}, "widths: multiples of 64"),
        ({"backbone": {"kind": "vit", "decoder_depth": 0}, "window": 256}, "decoder_depth: int >= 1"),
        ({"backbone": {"kind": "vit", "patch": 0}, "window": 256}, "patch: int >= 1"),
        ({"backbone": {"kind": "vit", "tokens": 60}, "window": 256}, "tokens: 60 are no square"),
        ({"backbone": {"kind": "vit", "branches": 3}, "window": 256}, "3 do not share 16 latent channels"),
        ({"backbone": {"kind": "vit", "branches": 2, "layout": "line"}, "window": 256}, "a sequence has one"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_tokenizer(read(TokenizerConfig, tree(**changes), "recipe"), "recipe")


def model(quantizer: ProductVQConfig) -> ModelConfig:
    tokenizer = TokenizerConfig(16, ConvConfig((8, 8), (1, 1), (1, 1)), quantizer)
    return ModelConfig("x", tokenizer, "", "", "", ((0,), (1,)), ())


def test_settings_that_are_not_used_leave_the_identity_alone() -> None:
    plain = ProductVQConfig(2, 16, 4)
    expected = {"groups": 2, "codebook_size": 16, "dim": 4, "kind": "product-vq"}
    assert token_space(model(plain)) == {"stride": 16, "quantizer": expected, "layers": [[0], [1]]}
    assert token_space(model(structs.replace(plain, fill="zero"))) == token_space(model(plain))
    assert token_space(model(structs.replace(plain, normalised=True))) != token_space(model(plain))


def test_the_bundled_model_is_the_one_its_files_name() -> None:
    config = registry.read_config(registry.BUNDLED / "photo")
    assert config.token_id == "c1c0b6a7c203"
