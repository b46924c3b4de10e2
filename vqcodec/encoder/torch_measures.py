"""Distortion and its gradient by torch (definitions: distortion.py)."""

from __future__ import annotations

import numpy as np
import torch
from pytorch_msssim import ms_ssim
from torch import Tensor
from torch.nn import functional as F

from ..backbones.wavelet import WaveletDecoder
from ..inference.torch_networks import in_bfloat16, to_tensor
from ..models.loading import Model
from .distortion import COARSE_WEIGHTS, LEAST_DISSIMILARITY, SIMILARITY, Area, Distortion, scale_weights, transparent


class TorchMeasures:
    """`Measures` for a model on its device."""

    def __init__(self, model: Model) -> None:
        self.decoder, self.device = model.tokenizer.decoder, model.device

    @torch.inference_mode()
    def distortion(self, decoded: np.ndarray, original: np.ndarray, alpha: np.ndarray | None) -> Distortion:
        """Distortion of pixels `decoded`, uint8 [H, W, 3]."""
        y, x = (to_tensor([np.ascontiguousarray(part)], self.device) for part in (decoded, original))
        y = composite(y, x, alpha)
        dissimilar = dissimilarity(y, x)
        return Distortion(float((y - x).square().sum()), None if dissimilar is None else float(dissimilar))

    def gradient(self, z: np.ndarray, kept: np.ndarray, area: Area) -> np.ndarray:
        """Gradient float32 [D, h, w] of the distortion of `area` in the decoder's input."""
        code, keep = (
            torch.from_numpy(part)[None].to(self.device).contiguous(memory_format=torch.channels_last)
            for part in (z, kept)
        )
        code.requires_grad_()
        with torch.enable_grad():
            y = self._decoded(code, keep)
            x, y = to_tensor([area.original], self.device), y[:, :, *area.place.slices]
            if area.grey:
                y = y.mean(1, keepdim=True).expand_as(y)
            by_mean = isinstance(self.decoder, WaveletDecoder)
            distortion = differentiable_distortion(composite(y, x, area.alpha), x, by_mean)
            (gradient,) = torch.autograd.grad(distortion, code)
        found: np.ndarray = gradient[0].cpu().numpy()
        return found

    def _decoded(self, code: Tensor, keep: Tensor) -> Tensor:
        """Pixels [1, 3, H, W]. What the network of a wavelet decoder adds is a constant, as in wavelet_measures.py."""
        if not isinstance(self.decoder, WaveletDecoder):
            with in_bfloat16(self.device):
                return self.decoder(code, keep).float()
        with torch.no_grad(), in_bfloat16(self.device):
            pixels = self.decoder(code, keep).float()
        picture = self.decoder.picture(code)
        return picture + (pixels - picture).detach()

    def prepare_gradient(self, grid: tuple[int, int], area: Area) -> None:
        """Do nothing: torch compiles nothing."""


def differentiable_distortion(y: Tensor, x: Tensor, by_mean: bool = False) -> Tensor:
    """Decoded y and original x [1, 3, H, W] -> the distortion of y with y as its own reference.

    `by_mean`: MS-SSIM is that of the mean of the channels.
    """
    squared_error, dissimilar = (y - x).square().sum(), dissimilarity(y, x, by_mean)
    if dissimilar is None:
        return squared_error
    reference = dissimilar.detach().clamp_min(LEAST_DISSIMILARITY)
    return (1 - SIMILARITY) * squared_error + SIMILARITY * squared_error.detach() * dissimilar / reference


def dissimilarity(y: Tensor, x: Tensor, by_mean: bool = False) -> Tensor | None:
    """1 - MS-SSIM of pictures [1, 3, H, W] in -1..1, or of their mean channels; None for sides too small for it."""
    weights = scale_weights(x.shape[2], x.shape[3])
    if weights is None:
        return None
    decoded, original = (y.clamp(-1, 1) + 1) / 2, (x + 1) / 2
    if by_mean:
        decoded, original = (part.mean(1, keepdim=True) for part in (decoded, original))
    if y.is_cuda:  # convolutions of single channels are many times slower there on channels-last tensors
        decoded, original = decoded.contiguous(), original.contiguous()
    if weights is COARSE_WEIGHTS:
        odd = [side % 2 for side in x.shape[-2:]]
        decoded, original = (F.avg_pool2d(part, 2, padding=odd) for part in (decoded, original))
    dissimilar: Tensor = 1 - ms_ssim(decoded, original, data_range=1.0, weights=weights)
    return dissimilar


def composite(y: Tensor, x: Tensor, alpha: np.ndarray | None) -> Tensor:
    """Decoded y with its errors times alpha, as over a common background; alpha uint8 [H, W], None for opaque."""
    if alpha is None or not transparent(alpha):
        return y
    share = torch.from_numpy(alpha.astype(np.float32) / 255).to(x.device)
    return x + (y - x) * share
