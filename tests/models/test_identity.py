"""Identities of models: as in the first release, independent of the names of fields, attributes and classes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vqcodec.config.backbones import ConvConfig, WaveletConfig
from vqcodec.config.model import ModelConfig, TokenizerConfig
from vqcodec.config.quantizers import ProductVQConfig, QuantizerConfig, UniformConfig
from vqcodec.entropy.adaptive_tables import PREPARED_TOTAL, AdaptiveTables
from vqcodec.models import registry
from vqcodec.models.identity import token_identity
from vqcodec.models.loading import load
from vqcodec.models.tensor_names import file_name
from vqcodec.quantizers.build import build_quantizer
from vqcodec.tokenizer import training_only

from ..codes import EVERY

TRAINED = {"photo": ("c1c0b6a7c203", "719a7334"), "product-vq": ("38c3cdf42837", "0b54da2f")}

CONFIGS: tuple[QuantizerConfig, ...] = (
    *EVERY,
    ProductVQConfig(3, 8, 2, (1, 2, 3), normalised=True, fill="zero"),
    ProductVQConfig(3, 8, 2, (1, 2, 3), refinements=(2, 4)),
    UniformConfig(2),
    UniformConfig(3),
)
GOLDEN = """
    b193dc592c93 613e465f31e1 f835cb3f7539 1455daf044e7 a0927b71b30f a5ab7bd6902a
    6be2eff85d2d e16df98e7259 7963133466fc 4bf882471b23 445694688faf 12105523bfb6
    21b1660b90ac 92168099131a 7a954f73124b adeac7f0276d 1f8ae2b95670 a8a58de4bc3f
    c9e2b943f5bf ae83b068a3a0 b592903732bc 24f8d25cb917 e8f2692e0e6d 201ff90d643e
    6c60668339e4 9400dd1d82e0 f8baeba9a992 20d767a7b96f 74ad795c4789
""".split()
"""Identity of each configuration with the tensors of `filled`, every third one with windows of 64 px."""


def filled(shape: tuple[int, ...]) -> np.ndarray:
    """Values that are exact in float32, the same on every machine."""
    return (np.arange(math.prod(shape)) % 251 / 16 - 4).astype(np.float32).reshape(shape)


def tensors_of(config: QuantizerConfig) -> dict[str, np.ndarray]:
    """Tensors of model.safetensors that the identity of a model with this quantizer can depend on."""
    state = {f"quantizer.{name}": tuple(value.shape) for name, value in build_quantizer(config).state_dict().items()}
    networks = {"encoder.stem.weight": (4, 3), "decoder.head.bias": (3,)}
    return {file_name(name): filled(shape) for name, shape in (state | networks).items() if not training_only(name)}


@pytest.mark.parametrize("number", range(len(GOLDEN)))
def test_golden_identity_of_every_quantizer(number: int) -> None:
    quantizer = CONFIGS[number]
    backbone = WaveletConfig() if isinstance(quantizer, UniformConfig) else ConvConfig((8, 8), (1, 1), (1, 1))
    window, overlap = (0, 0) if number % 3 else (64, 16)
    tokenizer = TokenizerConfig(16, backbone, quantizer, window, overlap)
    config = ModelConfig("x", tokenizer, "", "", "", quantizer.layers, ())
    assert token_identity(config, tensors_of(quantizer)).hex() == GOLDEN[number]


def test_every_configuration_has_a_golden_identity() -> None:
    assert len(CONFIGS) == len(GOLDEN) == len(set(GOLDEN))


@pytest.mark.parametrize("name", TRAINED)
def test_golden_identity_of_trained_models(name: str) -> None:
    model = load(registry.find(name))
    assert (token_identity(model.config, model.tensors).hex(), model.entropy.identity().hex()) == TRAINED[name]
    assert (model.config.token_id, model.config.entropy_id) == TRAINED[name]


def test_golden_identity_of_adaptive_tables() -> None:
    tables = [np.array([[PREPARED_TOTAL - size + 1, *(1,) * (size - 1)]]) for size in (4, 3)]
    assert AdaptiveTables((4, 3)).identity().hex() == "0e702ee1"
    assert AdaptiveTables((4, 3), tables).identity().hex() == "a5a88e8d"
