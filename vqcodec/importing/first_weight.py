"""Measurement of the weight of the most likely codeword of a mixture, which SoftVQ-VAE's releases do not contain.

The weight (quantizers/soft.py) changes the meaning of a file's indices and therefore belongs to the identity of a
model. It is rounded to hundredths, so that the same pictures give the same identity.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from msgspec import structs
from torch import Tensor

from ..config.model import TokenizerConfig
from ..config.quantizers import mixtures_of, with_first_weight
from ..errors import UsageError
from ..geometry.rectangles import read_padded
from ..geometry.token_layout import window_rects
from ..inference.networks import pixels_to_latent
from ..inference.torch_networks import to_tensor
from ..models.loading import Model, load
from ..models.registry import find
from ..quantizers.soft import measured_weight
from .release import System, import_release


def measured_config(
    system: System, config: TokenizerConfig, state: Mapping[str, Tensor], pictures: Iterable[np.ndarray]
) -> TokenizerConfig:
    """Return `config` with the first weight of least squared error on `pictures`, uint8 [H, W, 3] each.

    Raises UsageError for a quantizer without mixtures, ModelError for a state dict that does not fit `config`.
    """
    if mixtures_of(config.quantizer) is None:
        raise UsageError(f"--measure: {config.quantizer.kind} has no mixtures of codewords; leave it out")
    with tempfile.TemporaryDirectory() as folder:
        import_release(system, config, state, Path(folder, "model"), "measured")
        model = load(find(str(Path(folder, "model"))))
        weight = measured_weight(model.tokenizer.quantizer, _latents(model, pictures))
    return structs.replace(config, quantizer=with_first_weight(config.quantizer, weight))


def _latents(model: Model, pictures: Iterable[np.ndarray]) -> Iterator[Tensor]:
    """Latents [1, D, *] of each window of each picture, or of each whole picture for models without windows."""
    config = model.config.tokenizer
    for pixels in pictures:
        if not config.window_px:
            yield torch.from_numpy(pixels_to_latent(model, pixels).astype(np.float32))[None]
        for rect in window_rects(config, pixels.shape[1], pixels.shape[0]) if config.window_px else ():
            with torch.inference_mode():
                yield model.tokenizer.encoder(to_tensor([read_padded(pixels, rect)], model.device)).float()
