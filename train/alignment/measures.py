"""Alignment losses as functions of tokens s (student) and features t of a frozen vision transformer (teacher).

    contrastive   (CE(a S) + CE(a S^T)) / 2, S_ij = mean over positions of s_i . t_j, CE the cross entropy of each row
                  with the diagonal as target, a the scale. Radford et al. 2021 (CLIP); XQ-GAN, section 5
    prediction    CE(cos(p_i, t_j) / temperature), p predicted from s. van den Oord et al. 2018 (InfoNCE); FQGAN,
                  section 3.2.2
    cosine        -mean cos(s, t) at the same position. Yu et al. 2025 (REPA); SoftVQ-VAE, section 3.3, equations 5, 6

i and j run over the pictures of a batch. The first two compare pictures, so they are not means over samples: with
several processes `contrastive` compares over the global batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F


def contrastive(student: Tensor, teacher: Tensor, scale: float = 1.0, included: Tensor | None = None) -> Tensor:
    """Symmetric cross entropy, in nats, of matching the pictures of student and teacher, both [B, N, C].

    N = 1 compares whole pictures (XQ-GAN's token level), N > 1 position by position (its patch level). `included` [B]
    bool selects samples; 0 if there are none.
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
    """Cross entropy, in nats, of matching `predicted` [B, C] to the `teacher` features [B, C] by cosine.

    In one direction and within each process, as in FQGAN; 0 for a batch of one.
    """
    similarity = F.normalize(predicted.float(), dim=-1) @ F.normalize(teacher.float(), dim=-1).T
    return F.cross_entropy(similarity / temperature, torch.arange(len(similarity), device=similarity.device))


def cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """Negative mean cosine, -1..1, of student and teacher [B, N, C] at the same positions."""
    return -F.cosine_similarity(student.float(), teacher.float(), dim=-1).mean()


def repeated(tokens: Tensor, count: int) -> Tensor:
    """tokens [B, L, C] -> [B, count, C], each repeated `count` / L times (rounded where L is no divisor)."""
    length = tokens.shape[1]
    return tokens[:, torch.arange(count, device=tokens.device) * length // count]


def resized(places: Tensor, shape: tuple[int, int]) -> Tensor:
    """places [B, N, C], a square grid in rows -> [B, h * w, C] on a grid of `shape`, bilinear."""
    side = round(places.shape[1] ** 0.5)
    if (side, side) == shape:
        return places
    grid = places.transpose(1, 2).unflatten(2, (side, side))
    return F.interpolate(grid, shape, mode="bilinear", align_corners=False, antialias=True).flatten(2).transpose(1, 2)


def gather(tensor: Tensor) -> Tensor:
    """tensor [B, ...] of each process -> those of all [B * processes, ...]; each process's own part has a gradient."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return tensor
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(tensor)) if tensor.requires_grad else _gather_plain(tensor)


def _gather_plain(tensor: Tensor) -> Tensor:
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
