"""A factorized autoregressive model of tokens, in floats: for comparison and for drawing pictures, never for files.

FQGAN (section 3.3 and figure 2): a causal transformer goes over the positions row by row; each position enters as the
sum of the embeddings of its sub-tokens through one linear layer. Its feature of a position is the first input of a
second, small causal transformer, the head, which then takes the position's sub-tokens one by one and predicts the
next. What it predicts depends on how a machine rounds, so that a file coded by it could be read on no other.

Legend: B samples, S planes, T positions, D width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import from_dict
from .errors import ModelError

WEIGHTS, CONFIG = "sampler.safetensors", "sampler.json"
"""Files beside those of a model."""


@dataclass(frozen=True)
class FarConfig:
    """Shape of the model."""

    sizes: tuple[int, ...]
    """Alphabet of each plane."""
    shape: tuple[int, int]
    """Largest grid of positions."""
    width: int = 256
    heads: int = 4
    layers: int = 6
    head_layers: int = 2


class Far(nn.Module):
    """The model; `planes` are int64 [B, S, h, w] of one grid."""

    def __init__(self, config: FarConfig) -> None:
        super().__init__()
        self.config = config
        width, (h, w) = config.width, config.shape
        self.embeddings = nn.ModuleList(nn.Embedding(size, width) for size in config.sizes)
        self.aggregate = nn.Linear(width, width)
        self.start = nn.Parameter(torch.zeros(width))
        self.rows, self.columns = (nn.Parameter(0.02 * torch.randn(side, width)) for side in (h, w))
        self.places = nn.Parameter(0.02 * torch.randn(len(config.sizes), width))
        self.backbone = nn.Sequential(*(Block(width, config.heads) for _ in range(config.layers)))
        self.head = nn.Sequential(*(Block(width, config.heads) for _ in range(config.head_layers)))
        self.norm = nn.RMSNorm(width)
        self.classify = nn.ModuleList(nn.Linear(width, size) for size in config.sizes)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def features(self, planes: Tensor) -> Tensor:
        """planes [B, S, h, w] -> what is known of each position from those before it [B, T, D]."""
        b, _, h, w = planes.shape
        entered = self._entered(planes)[:, :-1]
        inputs = torch.cat([self.start.expand(b, 1, -1), entered], 1)
        return self.backbone(inputs + (self.rows[:h, None] + self.columns[None, :w]).flatten(0, 1))

    def logits(self, features: Tensor, codes: Tensor) -> list[Tensor]:
        """features [N, D], the first sub-tokens [N, n] of each position -> logits [N, K] of sub-tokens 0..n."""
        embedded = [embed(codes[:, s]) for s, embed in zip(range(codes.shape[1]), self.embeddings, strict=False)]
        inputs = torch.stack([features, *embedded], 1) + self.places[: codes.shape[1] + 1]
        outputs = self.norm(self.head(inputs))
        return [self.classify[s](outputs[:, s]) for s in range(codes.shape[1] + 1)]

    def forward(self, planes: Tensor) -> Tensor:
        """planes [B, S, h, w] -> bits [S, B * h * w]."""
        codes = planes.flatten(2).transpose(1, 2).flatten(0, 1)
        logits = self.logits(self.features(planes).flatten(0, 1), codes[:, :-1])
        nats = [F.cross_entropy(part, codes[:, s], reduction="none") for s, part in enumerate(logits)]
        return torch.stack(nats) / 0.6931471805599453

    @torch.inference_mode()
    def draw(self, shape: tuple[int, int], generator: torch.Generator, temperature: float = 1.0) -> Tensor:
        """int64 [S, h, w] of one sample, position by position."""
        h, w = shape
        planes = torch.zeros(1, len(self.config.sizes), h, w, dtype=torch.long)
        for i in range(h * w):
            # Whole rows up to the position: what comes after it makes no difference to it.
            feature = self.features(planes[:, :, : i // w + 1])[:, i]
            codes = torch.zeros(1, 0, dtype=torch.long)
            for s in range(len(self.config.sizes)):
                chances = (self.logits(feature, codes)[s] / temperature).softmax(1)
                codes = torch.cat([codes, torch.multinomial(chances, 1, generator=generator)], 1)
                planes[0, s, i // w, i % w] = codes[0, s]
        return planes[0]

    def _entered(self, planes: Tensor) -> Tensor:
        codes = planes.flatten(2)
        return self.aggregate(sum(embed(codes[:, s]) for s, embed in enumerate(self.embeddings)))


class Block(nn.Module):
    """Causal attention and a gated linear unit, both on normalised inputs and added to them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> the same shape."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        gate, value = self.up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * value)


def write_far(folder: Path, model: Far) -> None:
    """Put a model into a model folder."""
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(asdict(model.config), indent=1) + "\n", encoding="utf-8")


def read_far(folder: Path, sizes: Sequence[int]) -> Far | None:
    """The model in a folder, None if there is none. Raises ModelError if it is not one for alphabets of `sizes`."""
    from safetensors.torch import load_file

    if not (folder / CONFIG).exists():
        return None
    try:
        config = from_dict(FarConfig, json.loads((folder / CONFIG).read_text(encoding="utf-8")), str(folder / CONFIG))
        with torch.device("meta"):
            model = Far(config)
        model.load_state_dict(load_file(folder / WEIGHTS), assign=True)
    except ModelError:
        raise
    except Exception as error:  # json, safetensors and torch raise their own kinds
        raise ModelError(f"{folder / WEIGHTS}: not a sampler: {str(error).splitlines()[0]}") from error
    if config.sizes != tuple(sizes):
        raise ModelError(f"{folder / CONFIG}: for alphabets of {list(config.sizes)}, the model has {list(sizes)}")
    return model.eval()
