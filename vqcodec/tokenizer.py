"""Tokenizer = encoder + quantizer + decoder: pixels to index planes and back.

The codec calls `encode` and `decode`; the trainer calls `forward` with a keep map and noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .backbones.base import Decoder, Encoder
from .backbones.conv import ConvDecoder, ConvEncoder
from .backbones.dcae import DcaeDecoder, DcaeEncoder
from .backbones.vit import VitDecoder, VitEncoder
from .backbones.vqgan import VqganDecoder, VqganEncoder
from .backbones.wavelet import WaveletDecoder, WaveletEncoder
from .config.model import TokenizerConfig
from .config.quantizers import ProductVQConfig
from .planes import MISSING
from .quantizers.base import Quantized, Quantizer
from .quantizers.build import build_quantizer
from .quantizers.product import NO_CAP, ProductVQ
from .quantizers.split import Split
from .quantizers.uniform import Uniform

BACKBONES: dict[str, tuple[Callable[..., Encoder], Callable[..., Decoder]]] = {
    "conv": (ConvEncoder, ConvDecoder),
    "dcae": (DcaeEncoder, DcaeDecoder),
    "vqgan": (VqganEncoder, VqganDecoder),
    "vit": (VitEncoder, VitDecoder),
    "wavelet": (WaveletEncoder, WaveletDecoder),
}
"""`kind` of a backbone's configuration -> its encoder and decoder."""

BIT_COSTS, LAMBDA_CAPS, LAMBDA_WEIGHTS = "quantizer.bit_costs", "quantizer.lambda_caps", "quantizer.lambda_weights"
"""Names of the rate term's tensors in a state dict, see ProductVQ."""
NO_RATE = {BIT_COSTS: 0.0, LAMBDA_CAPS: NO_CAP, LAMBDA_WEIGHTS: 0.0}
"""Value of each of these tensors in a model trained without a rate term, whose files lack them."""

HALF_RANGE = 127.5
"""8-bit levels per unit of the networks' pixel scale, -1..1."""


def to_unit(pixels: Tensor, device: torch.device | str | None = None) -> Tensor:
    """uint8 of any shape -> float32 in -1..1, on `device` if given: the networks' input. Inverse of `to_pixels`."""
    return pixels.to(device=device).to(torch.float32, copy=True).div_(HALF_RANGE).sub_(1)


def to_levels(x: Tensor) -> Tensor:
    """Pixels about -1..1 of any shape -> 8-bit levels 0..255, clamped and rounded, as float32."""
    return x.float().clamp(-1, 1).add_(1).mul_(HALF_RANGE).round_()


def to_pixels(x: Tensor) -> Tensor:
    """Pixels about -1..1 of any shape -> uint8, the nearest levels. Inverse of `to_unit`."""
    return to_levels(x).to(torch.uint8)


class Reconstruction(NamedTuple):
    """Result of one training forward pass.

    The losses are means over samples: their mean over processes with equal shares of a batch is the loss of the batch.
    """

    x: Tensor
    """[B, 3, H, W], about -1..1."""
    z: Tensor
    """Latent before quantization [B, D, *]."""
    indices: list[Tensor]
    """Planes [B, *]; empty before the codebooks are initialised."""
    commitment: Tensor
    """Scalar: squared distance of the latent from its codewords, relative to their spread."""
    codebook: Tensor
    """Scalar: the same distance with a gradient for codewords that are learned by gradient; 0 before initialisation."""
    entropy: Tensor | None = None
    """Scalar, nats: mean entropy of the soft assignments minus the entropy of their mean; None if not computed."""
    z_q: Tensor | None = None
    """Quantized latent of the shape of z, before masking and perturbation."""
    kept: Tensor | None = None
    """Keep map [B, G, *] in 0..1 of quantizers that drop layers themselves (quantizer dropout); else None."""


class Tokenizer(nn.Module):
    """Encoder, quantizer and decoder as one module; H and W of every picture are multiples of `config.stride`.

    `learning` is the update rule of the codebooks in training: "ema" (moving averages) or "gradient" (codebook loss).
    """

    perturb: Callable[[Tensor, Quantized], Tensor] | None = None
    """Training only: function of the latent z and its quantization that returns the z_q for the decoder."""

    def __init__(self, config: TokenizerConfig, learning: str = "ema") -> None:
        super().__init__()
        self.config = config
        self.stride = config.stride
        groups, channels = config.quantizer.groups, config.quantizer.channels
        self.channels = channels
        encoder, decoder = BACKBONES[config.backbone.kind]
        self.encoder = encoder(config.backbone, channels, groups)
        self.quantizer: Quantizer = build_quantizer(config.quantizer, learning)
        if isinstance(self.quantizer, Split) and config.window_px:
            self.quantizer.window_grid = config.window_grid
        self.decoder = decoder(config.backbone, channels, groups)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Alphabet size of each plane."""
        return self.quantizer.sizes

    @property
    def product_vq(self) -> ProductVQ:
        """The quantizer, if it is a product quantizer. Raises TypeError for any other."""
        if not isinstance(self.quantizer, ProductVQ):
            raise TypeError(f"a product quantizer is needed, found {type(self.quantizer).__name__}")
        return self.quantizer

    @property
    def uniform(self) -> Uniform:
        """The quantizer, if it is a uniform scalar quantizer. Raises TypeError for any other."""
        if not isinstance(self.quantizer, Uniform):
            raise TypeError(f"a uniform quantizer is needed, found {type(self.quantizer).__name__}")
        return self.quantizer

    @property
    def layers(self) -> tuple[tuple[int, ...], ...]:
        """Planes of each layer, coarse to fine; every group of a product quantizer is a layer here, unlike in files."""
        if isinstance(self.config.quantizer, ProductVQConfig):
            return tuple((s,) for s in range(len(self.sizes)))
        return self.config.quantizer.layers

    @property
    def codebooks(self) -> Tensor:
        """Codebooks [G, K, d] of a product quantizer. Raises TypeError for any other."""
        return self.product_vq.bank.codebooks

    def encode(self, x: Tensor, lmbda: float = 1.0) -> list[Tensor]:
        """Pixels x [B, 3, H, W] in -1..1 -> planes [B, *] int64, coarse to fine.

        `lmbda` is the Lagrangian multiplier of the bits; it has no effect on models trained without a rate term.
        """
        return self.quantizer.quantize(self.encoder(x).float(), lmbda)

    def decode(
        self,
        planes: list[Tensor],
        keep: int | None = None,
        step: int | None = None,
        lifted_channels: Tensor | None = None,
    ) -> Tensor:
        """Planes [B, *], MISSING where unknown -> pixels [B, 3, H, W], about -1..1, not clamped.

        Args:
            planes: indices of each plane.
            keep: number of layers that are decoded, 1..N; None: all.
            step: number of the quantization step, for a uniform quantizer.
            lifted_channels: the part of a window in the low band without its wavelet.
        """
        if keep is not None:
            shown = {s for layer in self.layers[:keep] for s in layer}
            planes = [p if s in shown else torch.full_like(p, MISSING) for s, p in enumerate(planes)]
        if step is None:
            return self.decoder(*self.quantizer.dequantize(planes))
        return self.decoder(*self.uniform.dequantize(planes, step, lifted_channels))

    def forward(
        self, x: Tensor, kept: Tensor, noise: Tensor, quantized: bool = True, lmbda: Tensor | None = None
    ) -> Reconstruction:
        """Differentiable encoding, quantization and decoding of pixels x [B, 3, H, W].

        Args:
            x: pixels in -1..1.
            kept: keep map [n * B, G, h, w] of 0 and 1; with n > 1 the batch is decoded n times, once for each part.
            noise: unit Gaussian [B, D, h, w]; the caller draws it for the global batch, so that the result does not
                depend on the number of processes.
            quantized: False adds `noise` to the latent in place of a quantization error, for the steps before the
                codebooks are initialised.
            lmbda: Lagrangian multiplier [B] of each sample; for a uniform quantizer, its step number.
        """
        z = self.encoder(x).float()
        with torch.autocast(x.device.type, enabled=False):
            if not quantized:
                made = self.quantizer.bypass(z, noise)
            elif isinstance(self.quantizer, ProductVQ) and self.quantizer.only_kept:
                counted = kept.reshape(-1, len(z), *kept.shape[1:]).amax(0)  # kept in at least one of the n maps
                made = self.quantizer(z, noise, lmbda, counted)
            else:
                made = self.quantizer(z, noise, lmbda)
            z_q = self.perturb(z, made) if self.perturb is not None and made.indices else made.z_q
            if made.kept is None:
                z_q = self.quantizer.mask(z_q.repeat(len(kept) // len(z_q), *(1,) * (z_q.ndim - 1)), kept)
            else:
                kept = made.kept
        x = self.decoder(z_q, kept)
        return Reconstruction(x, z, made.indices, made.commitment, made.codebook, made.entropy, made.z_q, made.kept)


def training_only(name: str) -> bool:
    """Return True for a tensor of the state dict that only training needs and model files leave out."""
    used = name.startswith("quantizer.") and name.endswith(("bank.counts", "bank.energy"))
    return used or name.endswith(".num_batches_tracked")
