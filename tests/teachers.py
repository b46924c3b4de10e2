"""Small replacement of the frozen vision transformers of vqcodec.train.alignment.teachers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.train.adversarial.augment import view
from vqcodec.train.alignment.teachers import Features, Teacher


class SmallTeacher(Teacher):
    """Patches of 4 px of a 16 px picture, three blocks, eight channels."""

    def __init__(self, seed: int = 0, width: int = 8) -> None:
        super().__init__()
        self.width, self.blocks, self.px = width, 3, 16
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Conv2d(3, width, 4, stride=4)
            self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(self.blocks))
        self.requires_grad_(False)
        self.calls = 0

    def forward(self, x: Tensor) -> Features:
        self.calls += 1
        places = self.depths(x, (self.blocks,))[0]
        return Features(places.mean(1), places)

    def depths(self, x: Tensor, depths: tuple[int, ...]) -> list[Tensor]:
        tokens = self.embed(view(x, None, self.px)).flatten(2).transpose(1, 2)
        found = [tokens]
        for layer in self.layers:
            found.append(found[-1] + F.gelu(layer(found[-1])))
        return [found[depth] for depth in depths]
