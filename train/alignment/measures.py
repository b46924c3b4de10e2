"""How much codewords say what a frozen vision transformer sees: three measures, as functions of tokens.

Contrastive: Radford et al. 2021 (CLIP), as XQ-GAN uses it (section 5). Prediction: van den Oord et al. 2018 (InfoNCE),
as FQGAN uses it (section 3.2.2). Cosine: Yu et al. 2025 (REPA), as SoftVQ-VAE uses it (section 3.3, equations 5 and 6).

The first two tell the pictures of a batch apart, so that they are not means over samples: several processes compute
them over the global batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F


def contrastive(student: Tensor, teacher: Tensor, scale: float = 1.0, included: Tensor | None = None) -> Tensor:
    """Cross entropy, in nats, of finding each picture's teacher among those of the batch, and the other way round.

    student and teacher [B, N, C]; the likeness of two pictures is the mean over their N places of the dot product of
    what is at the same place, times `scale`. N = 1 compares pictures as wholes (XQ-GAN's token level), more of them
    place by place (its patch level). `included` [B] bool leaves samples out; 0 where none is left.
    """
    student, teacher = gather(student.float()), gather(teacher.float())
    if included is not None:
        included = gather(included)
        student, teacher = student[included], teacher[included]
    if len(student) == 0:
        return student.sum()
    logits = scale * torch.einsum("inc,jnc->ij", student, teacher) / student.shape[1]
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def prediction(predicted: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross entropy, in nats, of telling from `predicted` [B, C] which of the `teacher` features [B, C] is meant.

    By cosine over `temperature`, one way only and within each process (FQGAN). 0 for a batch of one.
    """
    likeness = F.normalize(predicted.float(), dim=-1) @ F.normalize(teacher.float(), dim=-1).T
    return F.cross_entropy(likeness / temperature, torch.arange(len(likeness), device=likeness.device))


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """-1 .. 1: minus the mean cosine of student and teacher, both [B, N, C], at the same places."""
    return -F.cosine_similarity(student.float(), teacher.float(), dim=-1).mean()


def repeated(tokens: Tensor, count: int) -> Tensor:
    """tokens [B, L, C] -> [B, count, C], each `count` / L times in a row; about so where L does not divide it."""
    length = tokens.shape[1]
    return tokens[:, torch.arange(count, device=tokens.device) * length // count]


def resized(places: Tensor, shape: tuple[int, int]) -> Tensor:
    """places [B, N, C], a square in rows -> [B, h * w, C] on a grid of `shape`, bilinear."""
    side = round(places.shape[1] ** 0.5)
    if (side, side) == shape:
        return places
    grid = places.transpose(1, 2).unflatten(2, (side, side))
    return F.interpolate(grid, shape, mode="bilinear", align_corners=False, antialias=True).flatten(2).transpose(1, 2)


def gather(tensor: Tensor) -> Tensor:
    """tensor [B, ...] of each process -> that of all, with a gradient to each process's own."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return tensor
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(tensor)) if tensor.requires_grad else _gather_plain(tensor)


def _gather_plain(tensor: Tensor) -> Tensor:
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
