"""Distance of sums of few codewords from SoftVQ's mixture: matching pursuit against a truncated softmax.

    python benchmarks/soft_terms.py [--dim 32] [--codewords 2048] [--steps 300]

Toy codebooks: codewords of random directions, and codewords trained for a few hundred steps to reproduce latents of a
low-dimensional source by mixtures. Columns for each number of terms m: error and cosine of the sum against the mixture,
in latent units, and raw bits per token.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vqcodec.config.quantizers import WEIGHTS, SoftVQConfig
from vqcodec.planes import MISSING
from vqcodec.quantizers.soft import SoftVQ, measured_weight

TERMS = 8


def source(n: int, dim: int, generator: torch.Generator) -> Tensor:
    """Latents [n, dim] of dim / 4 factors, through a fixed random network."""
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(dim // 4, 64), torch.nn.Tanh(), torch.nn.Linear(64, dim))
    with torch.no_grad():
        found: Tensor = net(torch.randn(n, dim // 4, generator=generator))
    return found


def trained(quantizer: SoftVQ, dim: int, steps: int) -> None:
    """Train the codewords to reproduce the direction of latents by mixtures, with the entropy loss of the paper."""
    generator = torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=3e-3)
    quantizer.train().want_entropy()
    for _ in range(steps):
        z = source(512, dim, generator).T[None]
        found = quantizer(z, torch.zeros_like(z))
        assert found.entropy is not None
        loss = (F.normalize(found.z_q, dim=1) - F.normalize(z, dim=1)).square().sum(1).mean() + 0.01 * found.entropy
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    quantizer.eval()


@torch.no_grad()
def report(name: str, quantizer: SoftVQ, z: Tensor, size: int) -> None:
    """Print a line for each number of terms."""
    mixed = quantizer(z, torch.zeros_like(z)).z_q
    length = mixed.norm(dim=1).mean().item()
    rows, codewords = quantizer.rows(z), quantizer.codewords
    weights = torch.softmax(quantizer.sharpened(rows, codewords), -1)[0]
    top = weights.topk(TERMS, -1)
    planes = quantizer.quantize(z)
    print(f"\n{name}: mixtures of length {length:.3f}, largest weight {top.values[:, 0].mean().item():.3f}")
    print("  terms  bits   MSE/|z|^2 pursuit  softmax  softmax scaled    cosine pursuit  softmax")
    energy = mixed.square().sum(1).mean().item()
    for m in range(1, TERMS + 1):
        shown = [p if s < 2 * m - 1 else torch.full_like(p, MISSING) for s, p in enumerate(planes)]
        pursued, _ = quantizer.dequantize(shown)
        cut = (top.values[:, :m, None] * codewords[0][top.indices[:, :m]]).sum(1).T[None]
        scaled = cut / top.values[:, :m].sum(-1)
        errors = [(found - mixed).square().sum(1).mean().item() / energy for found in (pursued, cut, scaled)]
        cosines = [F.cosine_similarity(found, mixed, dim=1).mean().item() for found in (pursued, cut)]
        bits = m * math.log2(size) + (m - 1) * math.log2(WEIGHTS)
        print(
            f"  {m:5d}  {bits:4.0f}  {errors[0]:17.4f}  {errors[1]:7.4f}  {errors[2]:14.4f}"
            f"  {cosines[0]:16.4f}  {cosines[1]:7.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--codewords", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    torch.manual_seed(0)
    z = source(1024, args.dim, torch.Generator().manual_seed(3)).T[None]
    config = SoftVQConfig(args.codewords, args.dim, terms=TERMS)
    quantizer = SoftVQ(config).eval()
    report("random codewords", quantizer, z, args.codewords)
    trained(quantizer, args.dim, args.steps)
    report(f"after {args.steps} steps", quantizer, z, args.codewords)
    known = quantizer.first_weight = measured_weight(quantizer, [z])
    report(f"the same, the first weight {known:.3f}", quantizer, z, args.codewords)


if __name__ == "__main__":
    main()
