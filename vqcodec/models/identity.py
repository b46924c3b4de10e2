"""Identity of a token space: the 6 bytes that a file names its model by.

The identity is a digest of what gives an index its meaning: the settings of the quantizer and the tensors that
dequantization reads. Every name that goes into the digest is written out here, so that renaming a field of a
configuration or an attribute of a network leaves the identities of existing files as they are. Names of tensors are
those in model.safetensors. The identity of an entropy model is computed by the entropy model itself
(`EntropyModel.identity`); a file names both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, assert_never

from ..config.model import ModelConfig
from ..config.quantizers import (
    GAINS,
    BinaryConfig,
    FSQConfig,
    GMMVQConfig,
    MultiScaleConfig,
    ProductVQConfig,
    QuantizerConfig,
    ResidualConfig,
    SoftVQConfig,
    SplitConfig,
    UniformConfig,
    VQConfig,
)

if TYPE_CHECKING:  # `info` and `models list` run without numpy
    import numpy as np

CODEBOOKS = "quantizer.bank.codebooks"
"""Tensor of the codebooks of a product quantizer, [G, K, d]."""
REFINEMENTS = "quantizer.refinements.codebooks"
"""Tensor of the codebooks of its residual planes, [R, K, d]."""


def token_identity(config: ModelConfig, tensors: Mapping[str, np.ndarray]) -> bytes:
    """Identity of the token space of a model: the first 6 bytes of a SHA-256.

    `tensors` are those of model.safetensors after `weights_int8.unpack`. Raises KeyError if codebooks are missing.
    """
    canonical = json.dumps(token_space(config), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode())
    for name, hashed_name in _hashed_names(config.tokenizer.quantizer, tensors).items():
        values = tensors[name].astype("<f4", order="C")
        digest.update(hashed_name.encode() + str(values.shape).encode() + values.tobytes())
    return digest.digest()[:6]


def token_space(config: ModelConfig) -> dict[str, Any]:
    """Settings that give an index its meaning, by the names that the digest contains."""
    tokenizer = config.tokenizer
    space: dict[str, Any] = {"stride": tokenizer.stride, "quantizer": quantizer_space(tokenizer.quantizer)}
    if tokenizer.window_px:
        space |= {"window": tokenizer.window_px, "overlap": tokenizer.overlap}
    return space | {"layers": [list(layer) for layer in config.layers]}


def quantizer_space(quantizer: QuantizerConfig) -> dict[str, Any]:
    """Settings of a quantizer that decide what its indices stand for, by the names that the digest contains.

    Settings of training alone (dropout of stages) and of the decoder (the fill of a missing sub-token) are left out.
    """
    match quantizer:
        case ProductVQConfig():
            return _product_space(quantizer)
        case VQConfig(codebook_size=size, dim=dim, metric=metric):
            return {"kind": "vq", "codebook_size": size, "dim": dim, "metric": metric}
        case BinaryConfig(bits=bits, spherical=spherical, scale=scale):
            return {"kind": "binary", "bits": bits, "spherical": spherical, "scale": scale}
        case FSQConfig(levels=levels):
            return {"kind": "fsq", "levels": levels}
        case ResidualConfig(stages=stages, base=base, shared=shared):
            return {"kind": "residual", "stages": stages, "base": quantizer_space(base), "shared": shared}
        case MultiScaleConfig():
            return {
                "kind": "multi-scale",
                "scales": quantizer.scales,
                "base": quantizer_space(quantizer.base),
                "convolutions": quantizer.convolutions,
                "blend": quantizer.blend,
            }
        case SplitConfig(parts=parts, part=part, over=over):
            return {"kind": "split", "parts": parts, "part": quantizer_space(part), "over": over}
        case GMMVQConfig():
            return {"kind": "gmm-vq", **_mixture_space(quantizer)}
        case SoftVQConfig():
            return {"kind": "soft-vq", **_mixture_space(quantizer)}
        case UniformConfig(levels=levels):
            return {"kind": "uniform", "levels": levels, "gains": list(GAINS)}
        case _:
            assert_never(quantizer)


def _product_space(quantizer: ProductVQConfig) -> dict[str, Any]:
    """The last three settings came after the first files: they are part of the digest only where they are used."""
    optional = {"normalised": quantizer.normalised, "dims": quantizer.dims, "refinements": quantizer.refinements}
    return {
        "kind": "product-vq",
        "groups": quantizer.groups,
        "codebook_size": quantizer.codebook_size,
        "dim": quantizer.dim,
        **{name: value for name, value in optional.items() if value},
    }


def _mixture_space(quantizer: SoftVQConfig) -> dict[str, Any]:
    return {
        "codebook_size": quantizer.codebook_size,
        "dim": quantizer.dim,
        "segments": quantizer.segments,
        "temperature": quantizer.temperature,
        "normalised": quantizer.normalised,
        "terms": quantizer.terms,
        "first_weight": quantizer.first_weight,
    }


def _hashed_names(quantizer: QuantizerConfig, tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Name in model.safetensors -> name in the digest, of the tensors that the identity depends on, in order."""
    if isinstance(quantizer, ProductVQConfig):
        return {CODEBOOKS: ""} | ({REFINEMENTS: REFINEMENTS} if quantizer.refinements else {})
    return {name: name for name in meaning_tensors(tensors)}


def meaning_tensors(tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the tensors that dequantization reads, sorted.

    The codewords of a quantizer without tensors are signs or levels; the encoder alone then gives them their meaning,
    and the names of its tensors are returned.
    """
    of_quantizer = [name for name in tensors if name.startswith("quantizer.") and ".sharpness." not in name]
    return sorted(of_quantizer or [name for name in tensors if name.startswith("encoder.")])
