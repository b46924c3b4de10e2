"""Factorized autoregressive model of tokens in floating point, for comparison and for sampling pictures.

FQGAN (section 3.3, figure 2 and table 7) with LlamaGen's transformer. The backbone is causal over positions in raster
order. Its input for a position is one linear layer of the concatenated embeddings of the sub-tokens; the first input is
the embedding of the class. The feature of a position is the first input of a second, small causal transformer, the
head, which takes the sub-tokens of the position in turn and predicts the next.

Files are never coded by this model: its probabilities depend on the rounding of the machine, so that no other machine
could decode them. factorized_ar_draw.py samples from it.

Legend: B samples, S planes, T positions, D width.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
from msgspec import Meta, to_builtins
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.rotary import grid_angles, line_angles
from ..config.reading import Count, Positive, Settings, read
from ..errors import ModelError
from .factorized_ar_blocks import Block, Cache

WEIGHTS, CONFIG = "sampler.safetensors", "sampler.json"
"""Files of this model in a model folder."""
LN2 = math.log(2)


class FarConfig(Settings, frozen=True):
    """Shape of the model."""

    sizes: Annotated[tuple[Positive, ...], Meta(min_length=1)]
    """Alphabet size of each plane."""
    shape: tuple[Positive, Positive]
    """Largest grid of positions, (h, w)."""
    width: Positive = 256
    heads: Positive = 4
    layers: Positive = 6
    head_layers: Positive = 2
    classes: Count = 0
    """Number of class labels 0, 1, ... in training."""

    def problems(self) -> Iterator[str]:
        """Faults of these settings, key first."""
        if self.width % (4 * self.heads):
            yield f"width: {self.width} is not a multiple of 4 for each of the {self.heads} heads"


class Far(nn.Module):
    """The model. `planes` are int64 [B, S, h, w] of one grid; `labels` are int64 [B], where `classes` means no class.

    `dropout`, for training, is the share of embedded inputs and of residual branches that is set to 0.
    """

    def __init__(self, config: FarConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        width, count = config.width, len(config.sizes)
        self.embeddings = nn.ModuleList(nn.Embedding(size, width) for size in config.sizes)
        self.aggregate = nn.Linear(count * width, width)
        self.start = nn.Embedding(config.classes + 1, width)
        self.drop = nn.Dropout(dropout)
        self.backbone = nn.ModuleList(Block(width, config.heads, dropout) for _ in range(config.layers))
        self.head = nn.ModuleList(Block(width, config.heads, dropout) for _ in range(config.head_layers))
        self.norm = nn.RMSNorm(width)
        self.classify = nn.ModuleList(nn.Linear(width, size, bias=False) for size in config.sizes)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def angles(self, h: int, w: int) -> Tensor:
        """Rotary angles of the inputs of a grid: 0 for the class, then those of all positions but the last."""
        grid = grid_angles(h, w, self.config.width // self.config.heads)
        return torch.cat([torch.zeros_like(grid[:1]), grid[:-1]])

    def features(self, planes: Tensor, labels: Tensor | None = None) -> Tensor:
        """planes [B, S, h, w] -> features [B, T, D], each from earlier positions only; `labels` None: no class."""
        b, _, h, w = planes.shape
        if labels is None:
            labels = torch.full((b,), self.config.classes, device=planes.device)
        inputs = torch.cat([self.start(labels)[:, None], self.entered(planes.flatten(2))[:, :-1]], 1)
        return self.continued(inputs, self.angles(h, w).to(inputs.device))

    def entered(self, codes: Tensor) -> Tensor:
        """Sub-tokens [B, S, T] -> inputs of the backbone [B, T, D]."""
        parts = [embed(codes[:, s]) for s, embed in enumerate(self.embeddings)]
        embedded: Tensor = self.aggregate(torch.cat(parts, -1))
        return embedded

    def continued(self, inputs: Tensor, angles: Tensor, caches: Sequence[Cache] | None = None) -> Tensor:
        """inputs [B, T, D] -> features; with `caches`, one for each layer, of the position after the cached ones."""
        x = self.drop(inputs)
        for i, block in enumerate(self.backbone):
            x = block(x, angles, None if caches is None else caches[i])
        return x

    def logits(self, features: Tensor, codes: Tensor) -> list[Tensor]:
        """features [N, D] and the first n sub-tokens [N, n] of each position -> logits [N, K] of sub-tokens 0..n."""
        embedded = [embed(codes[:, s]) for s, embed in zip(range(codes.shape[1]), self.embeddings, strict=False)]
        x = torch.stack([features, *embedded], 1)
        angles = line_angles(x.shape[1], self.config.width // self.config.heads).to(x.device)
        for block in self.head:
            x = block(x, angles)
        outputs = self.norm(x)
        return [self.classify[s](outputs[:, s]) for s in range(codes.shape[1] + 1)]

    def forward(self, planes: Tensor, labels: Tensor | None = None) -> Tensor:
        """planes [B, S, h, w] -> code length of each sub-token in bits [S, B * h * w]."""
        codes = planes.flatten(2).transpose(1, 2).flatten(0, 1)
        logits = self.logits(self.features(planes, labels).flatten(0, 1), codes[:, :-1])
        nats = [F.cross_entropy(part.float(), codes[:, s], reduction="none") for s, part in enumerate(logits)]
        return torch.stack(nats) / LN2


def write_far(folder: Path, model: Far) -> None:
    """Write the model to a model folder."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(to_builtins(model.config), indent=1) + "\n", encoding="utf-8")


def read_far(folder: Path, sizes: Sequence[int]) -> Far | None:
    """Read the model of a folder; None if it has none. Raises ModelError unless its alphabets are `sizes`."""
    from safetensors.torch import load_file

    if not (folder / CONFIG).exists():
        return None
    try:
        config = read(FarConfig, json.loads((folder / CONFIG).read_text(encoding="utf-8")), str(folder / CONFIG))
        for problem in config.problems():
            raise ModelError(f"{folder / CONFIG}: {problem}")
        with torch.device("meta"):
            model = Far(config)
        model.load_state_dict(load_file(folder / WEIGHTS), assign=True)
    except ModelError:
        raise
    except Exception as error:  # json, safetensors and torch raise classes of their own
        raise ModelError(f"{folder / WEIGHTS}: not a sampler: {str(error).splitlines()[0]}") from error
    if config.sizes != tuple(sizes):
        raise ModelError(f"{folder / CONFIG}: for alphabets of {list(config.sizes)}, the model has {list(sizes)}")
    return model.eval()
