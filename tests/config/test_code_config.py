"""Quantizer configurations: accepted and refused settings."""

from __future__ import annotations

from typing import Any

import pytest

from vqcodec.config.model import ConvConfig, TokenizerConfig, check_tokenizer
from vqcodec.config.quantizers import ResidualConfig, SplitConfig, VQConfig, layered
from vqcodec.config.reading import read
from vqcodec.errors import ModelError


def test_layers_beyond_sixteen_are_taken_together() -> None:
    assert layered(3) == ((0,), (1,), (2,))
    many = layered(20)
    assert len(many) == 16
    assert many[0] == (0, 1)
    assert many[-1] == (19,)


def tokenizer(quantizer: dict[str, Any], **more: Any) -> TokenizerConfig:
    backbone = {"widths": [8, 8], "encoder_depths": [1, 1], "decoder_depths": [1, 1]}
    return read(TokenizerConfig, {"stride": 16, "backbone": backbone, "quantizer": quantizer, **more}, "recipe")


SOFT = {"kind": "soft-vq", "codebook_size": 8, "dim": 4}
BASE = {"kind": "vq", "codebook_size": 16, "dim": 4}


@pytest.mark.parametrize(
    ("quantizer", "more", "message"),
    [
        ({"kind": "vqq"}, {}, "'vqq' is not one of product-vq, vq, binary, fsq, residual, multi-scale, split, soft-vq"),
        ({**BASE, "codebook_size": 2**16 + 1}, {}, r"quantizer\.codebook_size: int <= 65536"),
        ({"groups": 1, "codebook_size": 2**16 + 1, "dim": 4}, {}, r"quantizer\.codebook_size: int <= 65536"),
        ({"kind": "gmm-vq", "codebook_size": 2**16 + 1, "dim": 4}, {}, r"quantizer\.codebook_size: int <= 65536"),
        ({"kind": "binary", "bits": 17}, {}, r"quantizer\.bits: int <= 16"),
        ({"kind": "fsq", "levels": [4, 1]}, {}, r"quantizer\.levels\[1\]: int >= 2 needed, found 1"),
        ({"kind": "residual", "stages": 0, "base": BASE}, {}, r"stages: int >= 1"),
        ({"kind": "residual", "stages": 2, "base": {**BASE, "metric": "unit"}}, {}, "no unit length"),
        ({"kind": "residual", "stages": 2, "base": SOFT}, {}, "base.normalised: .* false needed"),
        (
            {"kind": "residual", "stages": 2, "base": {**SOFT, "normalised": False}, "dropout": 0.1},
            {},
            "dropout: 0 for",
        ),
        ({"kind": "split", "parts": 2, "part": {**SOFT, "segments": 2}}, {}, r"\.window: needed"),
        (
            {"kind": "split", "parts": 2, "part": {**SOFT, "segments": 3}, "over": "tokens"},
            {"window": 64},
            "6 segments do not divide|do not divide the 16 tokens",
        ),
        ({"kind": "residual", "stages": 2, "base": {**BASE, "stages": 2}}, {}, "unknown key 'stages'"),
        ({"kind": "multi-scale", "scales": [2, 1], "base": BASE}, {}, "none smaller than the one before"),
        ({"kind": "multi-scale", "scales": [], "base": BASE}, {}, "scales: list of length >= 1"),
        ({"kind": "multi-scale", "scales": [1, 2], "base": BASE}, {}, r"\.window: needed"),
        ({"kind": "split", "parts": 2, "part": BASE, "over": "tokens"}, {}, r"\.window: needed"),
        ({"kind": "split", "parts": 3, "part": BASE, "over": "tokens"}, {"window": 64}, "do not divide the 16 tokens"),
        ({"kind": "soft-vq", "codebook_size": 8, "dim": 4, "segments": 3}, {"window": 64}, "3 segments do not divide"),
        ({"kind": "soft-vq", "codebook_size": 8, "dim": 4, "terms": 17}, {}, "terms: int <= 16"),
        (BASE, {"window": 40}, r"\.window: multiples of 16"),
        (BASE, {"window": 64, "overlap": 33}, "at most half of the window"),
        (BASE, {"overlap": 8}, "at most half of the window"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(quantizer: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        check_tokenizer(tokenizer(quantizer, **more), "recipe")
    assert "\n" not in str(refused.value)


def test_a_product_of_residual_parts_reads_from_a_file() -> None:
    config = tokenizer({"kind": "split", "parts": 2, "part": {"kind": "residual", "stages": 3, "base": BASE}})
    assert config.quantizer == SplitConfig(2, ResidualConfig(3, VQConfig(16, 4)))
    assert isinstance(config.backbone, ConvConfig)
    assert config.quantizer.layers == ((0, 1), (2, 3), (4, 5))
    check_tokenizer(config, "recipe")
