"""DC-AE with a grouped latent: the backbone of MGVQ.

Attention covers the whole picture, so windows computed apart give other results than the whole. The decoder does not
receive the keep map. The networks are those of MGVQ's released models, which differ from its paper.

                   stride 2                stride 4            stride 8
    pixels -> stem, unshuffle, blocks -> down, blocks -> down, blocks -> narrow, to_latent -> z       (encoder)
    pixels <- shuffle, tail,   blocks <- up,   blocks <- up,   blocks <- widen, from_latent <- z_q    (decoder)
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..config.model import DcaeConfig
from .base import Decoder, Encoder
from .dcae_blocks import BLOCKS, Down, Narrow, RMSNorm, Up, Widen


class DcaeEncoder(Encoder):
    """Pixels x [B, 3, H, W] in -1..1, H and W multiples of the stride -> latent z [B, D, h, w].

    The last convolution, 1 x 1, is grouped: it mixes channels within each of the G groups of the latent.
    """

    halo = None

    def __init__(self, config: DcaeConfig, channels: int, groups: int) -> None:
        super().__init__()
        widths = config.widths
        self.stem = nn.Conv2d(3, widths[0] // 4, 3, padding=1)
        self.stages = _stages(config, config.encoder_depths, config.encoder_norms, config.encoder_acts)
        self.downs = nn.ModuleList(Down(fine, coarse) for fine, coarse in zip(widths, widths[1:], strict=False))
        self.head = Narrow(widths[-1], channels)
        self.to_latent = nn.Conv2d(channels, channels, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels x [B, 3, H, W] in -1..1 -> latent z [B, D, H / stride, W / stride]."""
        x = F.pixel_unshuffle(self.stem(x), 2)
        for i, stage in enumerate(self.stages):
            x = stage(x if i == 0 else self.downs[i - 1](x))
        return self.to_latent(self.head(x))


class DcaeDecoder(Decoder):
    """Latent [B, D, h, w] -> pixels x [B, 3, H, W], about -1..1, not clamped."""

    halo = None

    def __init__(self, config: DcaeConfig, channels: int, groups: int) -> None:
        super().__init__()
        widths = config.widths
        self.from_latent = nn.Conv2d(channels, channels, 1, groups=groups)
        self.head = Widen(channels, widths[-1])
        self.stages = _stages(config, config.decoder_depths, config.decoder_norms, config.decoder_acts)
        self.ups = nn.ModuleList(Up(coarse, fine) for fine, coarse in zip(widths, widths[1:], strict=False))
        self.norm = RMSNorm(widths[0])
        self.tail = nn.Conv2d(widths[0], 12, 3, padding=1)

    def forward(self, z_q: Tensor, kept: Tensor) -> Tensor:
        """z_q [B, D, h, w] -> pixels [B, 3, stride * h, stride * w], about -1..1; `kept` is not used."""
        x = self.head(self.from_latent(z_q))
        for i in reversed(range(len(self.stages))):
            x = self.stages[i](x)
            if i > 0:
                x = self.ups[i - 1](x)
        return F.pixel_shuffle(self.tail(F.relu(self.norm(x))), 2)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the layer that outputs pixels."""
        return self.tail.weight


def _stages(
    config: DcaeConfig, depths: tuple[int, ...], norms: tuple[str, ...], acts: tuple[str, ...]
) -> nn.ModuleList:
    settings = zip(config.widths, depths, config.blocks, norms, acts, strict=True)
    return nn.ModuleList(
        nn.Sequential(*(BLOCKS[block](width, norm, act) for _ in range(depth)))
        for width, depth, block, norm, act in settings
    )
