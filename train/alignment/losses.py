"""Alignment of latents with frozen vision transformers: the losses align/* and their trained heads.

    x ----------------------------------------> teacher, frozen -> features --.
    x -> encoder, quantizer -> z_q -> branch -> head ------------> tokens ----+-> loss -> gradient of tokenizer and head

The formulas are in measures.py. An exported model contains neither heads nor teachers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqcodec.errors import InputError

from ..recipe.schema import AlignmentRecipe, AlignRecipe
from .measures import contrastive, cosine, prediction, repeated, resized
from .teachers import Features, Teacher, load_teacher

HEADS = 8
"""Attention heads of the predictor."""


ALIGNMENTS = tuple(f"align/{name}" for name in AlignRecipe.__struct_fields__)
"""Names of the losses."""


class Alignments(nn.Module):
    """Heads of all align/* losses, trained with the tokenizer; the frozen teachers are in no checkpoint.

    `shapes`: shape [B, L, C] of the branch of each loss on training crops. First weights are drawn from torch's default
    generator. `teachers`, by loss, replace those of the recipe; `last` is the encoder's last layer, for losses that
    share it.
    Raises InputError if a teacher cannot be loaded.
    """

    def __init__(
        self,
        recipe: AlignRecipe,
        shapes: Mapping[str, torch.Size],
        device: str | torch.device = "cpu",
        teachers: Mapping[str, Teacher] | None = None,
        last: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        self.parts = {loss: recipe.of(loss) for loss in ALIGNMENTS if loss in shapes}
        loaded: dict[tuple[str, str], Teacher] = {}
        self.teachers: dict[str, Teacher] = {}
        self.heads = nn.ModuleDict()
        for loss, part in self.parts.items():
            key = (part.teacher, part.weights)
            if teachers is not None and loss in teachers:
                teacher = teachers[loss]
            else:
                if key not in loaded:
                    place = f"{loss.replace('/', '.')}.weights"
                    loaded[key] = load_teacher(part.teacher, loss, place, part.weights, device)
                teacher = loaded[key]
            self.teachers[loss] = teacher
            _, places, channels = shapes[loss]
            if part.shared and (last is None or last.in_features != teacher.width):
                have = "none" if last is None else last.in_features
                raise InputError(
                    f"align.{loss.partition('/')[2]}.shared: the encoder's last layer has {have} channels, "
                    f"{part.teacher} {teacher.width}"
                )
            head = nn.Identity() if part.shared else make_head(part, channels, places, teacher.width)
            self.heads[name_of(loss)] = head
        # A tuple keeps it out of this module's parameters: it belongs to the tokenizer.
        self.last = (last,)
        self.to(device)

    def forward(
        self, branches: list[Tensor], x: Tensor, progress: float = 0.0, included: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Branches [B, L, C] each and pixels x [B, 3, H, W] in -1..1 -> unweighted losses by name.

        `progress` 0..1 through the run moves the scale; `included` [B] bool selects samples with whole branches.
        """
        seen: dict[int, Features] = {}
        losses = {}
        for loss, part in self.parts.items():
            teacher = self.teachers[loss]
            if id(teacher) not in seen:
                with torch.no_grad():
                    seen[id(teacher)] = teacher(x)
            head = self.last[0] if part.shared and self.last[0] else self.heads[name_of(loss)]
            scale = part.scale + (part.scale_end - part.scale) * progress if part.scale_end else part.scale
            student, target = branches[part.branch], seen[id(teacher)]
            losses[loss] = MEASURES[part.objective](part, head, student, target, scale, included)
        return losses


def by_contrast(
    part: AlignmentRecipe, head: nn.Module, student: Tensor, target: Features, scale: float, included: Tensor | None
) -> Tensor:
    """Contrastive loss of student [B, L, C] and the teacher's features, mapped to C channels by `head`."""
    if part.level != "places":
        student, features = student.mean(1, keepdim=True), picture_feature(part, target)
    else:
        side = round(student.shape[1] ** 0.5)
        shape = (side, side) if side * side == student.shape[1] else (1, student.shape[1])
        features = resized(target.places, shape)
    features = head(features.float())
    if part.unit_length:
        student, features = F.normalize(student, dim=-1), F.normalize(features, dim=-1)
    return contrastive(student, features, scale, included)


def picture_feature(part: AlignmentRecipe, target: Features) -> Tensor:
    """Feature of the whole picture [B, 1, C], for the levels picture and pooled."""
    return target.places.mean(1, keepdim=True) if part.level == "pooled" else target.picture[:, None]


def by_prediction(
    part: AlignmentRecipe, head: nn.Module, student: Tensor, target: Features, scale: float, included: Tensor | None
) -> Tensor:
    """Prediction loss of `head`(student [B, L, C]) and the teacher's feature of the picture."""
    return prediction(head(student), target.picture, 1 / scale)


def by_cosine(
    part: AlignmentRecipe, head: nn.Module, student: Tensor, target: Features, scale: float, included: Tensor | None
) -> Tensor:
    """Cosine loss of `head`(student [B, L, C]), repeated to the teacher's positions, or of its mean."""
    if part.level != "places":
        return cosine(head(student.mean(1, keepdim=True)), picture_feature(part, target))
    return cosine(head(repeated(student, target.places.shape[1])), target.places)


MEASURES: dict[str, Callable[[AlignmentRecipe, nn.Module, Tensor, Features, float, Tensor | None], Tensor]] = {
    "contrastive": by_contrast,
    "prediction": by_prediction,
    "cosine": by_cosine,
}
"""Loss functions by `objective`."""


def make_head(part: AlignmentRecipe, channels: int, places: int, width: int) -> nn.Module:
    """Head between tokens of `channels` and a teacher of `width`, for the objective of `part`."""
    if part.objective == "contrastive":
        return nn.Linear(width, channels)
    if part.objective == "cosine":
        return projector(channels, part.width, width)
    return FeaturePredictor(channels, part.width, part.layers, places, width)


def projector(channels: int, hidden: int, width: int) -> nn.Module:
    """Tokens [B, N, channels] -> [B, N, width] (REPA)."""
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, width)
    )


class FeaturePredictor(nn.Module):
    """Tokens [B, L, C] -> predicted feature of the picture [B, width] (FQGAN): class token of a transformer."""

    def __init__(self, channels: int, hidden: int, layers: int, places: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
        self.picture = nn.Parameter(0.02 * torch.randn(1, 1, hidden))
        self.positions = nn.Parameter(0.02 * torch.randn(1, places + 1, hidden))
        block = nn.TransformerEncoderLayer(hidden, HEADS, 4 * hidden, 0.0, F.gelu, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(hidden), enable_nested_tensor=False)
        self.out = nn.Identity() if hidden == width else nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B, L, C] -> predicted feature [B, width]."""
        embedded = self.embed(tokens)
        sequence = torch.cat([self.picture.expand(len(tokens), -1, -1), embedded], 1) + self.positions
        return self.out(self.blocks(sequence)[:, 0])


def name_of(loss: str) -> str:
    """Name of a loss as the name of a module."""
    return loss.replace("/", "_")
