"""Networks run by torch: every model, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from ..config.backbones import ConvConfig
from ..models.loading import Model
from ..tokenizer import to_pixels, to_unit


class TorchNetworks:
    """`Networks` of a model on its device.

    Convolutional backbones run in bfloat16 on CUDA devices that multiply it; they keep their linear path in float32.
    Everything else runs in float32.
    """

    def __init__(self, model: Model) -> None:
        self.tokenizer, self.device = model.tokenizer, model.device
        self.encoder_halo = self.tokenizer.encoder.halo
        self.decoder_halo = self.tokenizer.decoder.halo
        self.is_convolutional = isinstance(model.config.tokenizer.backbone, ConvConfig)

    def precision(self) -> AbstractContextManager[object]:
        """Context of the element type in which the networks run."""
        return in_bfloat16(self.device) if self.is_convolutional and self.device.startswith("cuda") else nullcontext()

    @torch.inference_mode()
    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 [H, W, 3] -> latent float32 [D, h, w]."""
        with self.precision():
            z = self.tokenizer.encoder(to_tensor([pixels], self.device))
        return _array(z[0].float())

    @torch.inference_mode()
    def quantize(self, z: np.ndarray, lmbda: float) -> list[np.ndarray]:
        """Latent float32 [D, h, w] -> planes int32 [h, w]."""
        batch = torch.from_numpy(np.ascontiguousarray(z, dtype=np.float32))[None].to(self.device)
        return [_array(plane[0]).astype(np.int32) for plane in self.tokenizer.quantizer.quantize(batch, lmbda)]

    @torch.inference_mode()
    def dequantize(
        self, planes: Sequence[np.ndarray], step: int | None = None, lifted: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Planes int32 [h, w] -> z_q float32 [D, h, w] and keep map float32 [G, h, w]."""
        indices = index_tensors(planes, self.device)
        if step is None:
            z_q, kept = self.tokenizer.quantizer.dequantize(indices)
        else:
            part = None if lifted is None else torch.from_numpy(lifted)[None].to(self.device)
            z_q, kept = self.tokenizer.uniform.dequantize(indices, step, part)
        return _array(z_q[0]), _array(kept[0])

    @torch.inference_mode()
    def decode(
        self, planes: Sequence[np.ndarray], step: int | None = None, lifted: np.ndarray | None = None
    ) -> np.ndarray:
        """Planes int32 [h, w] -> pixels uint8 [H, W, 3]."""
        part = None if lifted is None else torch.from_numpy(lifted)[None].to(self.device)
        with self.precision():
            found = self.tokenizer.decode(index_tensors(planes, self.device), step=step, lifted_channels=part)
        levels: np.ndarray = to_array(found.float())[0]
        return levels

    def prepare_decoder(self, grid: tuple[int, int]) -> None:
        """Do nothing: torch compiles nothing."""

    @torch.inference_mode()
    def decode_exactly(self, planes: Sequence[np.ndarray]) -> np.ndarray:
        """Planes int32 [h, w] -> pixels float32 [3, H, W] in -1..1."""
        return _array(self.tokenizer.decode(index_tensors(planes, self.device))[0].float().clamp(-1, 1))

    def release(self) -> None:
        """Do nothing: torch frees intermediate results itself."""


def index_tensors(planes: Sequence[np.ndarray], device: str) -> list[Tensor]:
    """Planes int32 [h, w] -> int64 [1, h, w] on `device`."""
    return [torch.from_numpy(plane.astype(np.int64))[None].to(device) for plane in planes]


def in_bfloat16(device: str) -> torch.autocast:
    """Autocast to bfloat16 where the processor has fast bfloat16 products; only where rounding may differ."""
    if device.startswith("cuda"):
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        fast = device == "cpu" and any(hasattr(torch.cpu, test) and getattr(torch.cpu, test)() for test in tests)
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=fast)


def to_tensor(pixels: Sequence[np.ndarray], device: str) -> Tensor:
    """Arrays uint8 [H, W, 3] of equal size -> float [B, 3, H, W] in -1..1. Inverse of `to_array`."""
    return to_unit(torch.tensor(np.stack(pixels), device=device).permute(0, 3, 1, 2))


def to_array(x: Tensor) -> np.ndarray:
    """Tensor float [B, 3, H, W], about -1..1 -> uint8 [B, H, W, 3]. Inverse of `to_tensor`."""
    return to_pixels(x).permute(0, 2, 3, 1).cpu().numpy()


def _array(x: Tensor) -> np.ndarray:
    found: np.ndarray = x.cpu().numpy()
    return found
