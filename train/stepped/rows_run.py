"""Training of the context network on rows: positions of crops that an encoder has coded.

The loss is the sum over parts of the logarithm of their weighted bits: the gradient of each part, a network of its own,
depends on its relative change. Batches are consecutive rows of shuffled ones, a function of the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from vqcodec.config.quantizers import STEPS

from .context import ContextNet, ContextPart, Detail, step_basis
from .context_rows import ContextRows, Fields
from .recipe import SteppedRecipe
from .run import SteppedRun

CHROMA = 3
"""Rows of a luma part in a step relative to those of a chroma part."""
FEWEST = 16
"""Fewest rows of a kind of pass in a step."""


class RowsRun(SteppedRun):
    """Run of a recipe that trains the context network alone, on rows."""

    def __init__(self, recipe: SteppedRecipe, rows: ContextRows, device: str = "cpu") -> None:
        super().__init__(recipe, device)
        self.rows = rows
        count = range(len(rows.parts))
        self.by_part = [rows.of(number) for number in count]
        self.quiet = [{kind: self._moved(fields) for kind, fields in rows.quiet(number).items()} for number in count]
        self.total = [sum(len(fields["value"]) for fields in kinds.values()) for kinds in self.by_part]

    def rows_step(self) -> dict[str, Tensor]:
        """One step; returns unweighted means by `group/name`."""
        self.model.train()
        losses, read = [], 0
        for number, part in enumerate(self.model.context.parts):
            assert isinstance(part, ContextPart)
            batch = self._batch(number)
            if not batch:
                continue
            weighted, n = rows_bits(self.model.context, part, batch)
            read += n
            scale = self.total[number] / n
            losses.append(torch.log(weighted * scale + quiet_bits(self.model.context, part, self.quiet[number])))
        loss = torch.stack(losses).sum()
        # Pixels in proportion to the rows read.
        pixels = round(self.rows.pixels * read / max(sum(self.total), 1))
        return {"loss": loss.detach() / len(losses)} | self.descend(loss, pixels)

    def _batch(self, number: int) -> dict[str, Fields]:
        """Rows of a part in this step, by kind of pass in the proportion of all of its rows."""
        kinds, total = self.by_part[number], self.total[number]
        wanted = self.recipe.encoded.rows // (1 if self.rows.parts[number][1] == 0 else CHROMA)
        found = {}
        for kind, fields in kinds.items():
            length = len(fields["value"])
            n = min(length, max(FEWEST, round(wanted * length / total)))
            rows = torch.arange(self.step * n, (self.step + 1) * n) % length
            found[kind] = self._moved({name: column[rows] for name, column in fields.items()})
        return found

    def _moved(self, fields: Fields) -> Fields:
        """Columns on the device of the run."""
        return {name: column.to(self.device) for name, column in fields.items()}


def rows_bits(net: ContextNet, part: ContextPart, batch: Mapping[str, Fields]) -> tuple[Tensor, int]:
    """Sum [] of weighted bits of the rows of a part, given by kind of pass, and the number of rows."""
    detail = [(kind, fields) for kind, fields in batch.items() if "sizes" in fields]
    low = [(kind, fields) for kind, fields in batch.items() if "neighbours" in fields]
    locations, scales = [], []
    if detail:
        groups = [_detail(part, kind, fields) for kind, fields in detail]
        location, scale = part.detail(groups)
        locations.append(location)
        scales.append(scale)
    for kind, fields in low:
        location, scale = part.low(kind, fields["neighbours"].float(), _bias(part, kind, fields))
        locations.append(location)
        scales.append(scale)
    ordered = [*detail, *low]
    constants = torch.cat([_constant(part, kind, fields) for kind, fields in ordered])
    values, weights = (torch.cat([fields[name].float() for _, fields in ordered]) for name in ("value", "weight"))
    bits = net.bits(values, torch.cat(locations), part.classes(torch.cat(scales), constants))
    return (bits * weights).sum(), len(values)


def quiet_bits(net: ContextNet, part: ContextPart, quiet: Mapping[str, Fields]) -> Tensor:
    """Sum [] of weighted bits of a part's positions without inputs, given by kind of pass."""
    total = net.mixture.new_zeros(())
    for kind, fields in quiet.items():
        scale = part.classes(part.quiet(_bias(part, kind, fields)), _constant(part, kind, fields))
        total = total + (net.bits(fields["value"], torch.zeros_like(scale), scale) * fields["weight"]).sum()
    return total


def _detail(part: ContextPart, kind: str, fields: Fields) -> Detail:
    """Rows of a detail band as inputs of the network."""
    sizes, shape, largest, own = (fields[name].float() for name in ("sizes", "shape", "largest", "own"))
    return Detail(kind, sizes, shape, largest, own, _bias(part, kind, fields))


def _bias(part: ContextPart, kind: str, fields: Fields) -> Tensor:
    """Constants of the first layer [n, H] of rows."""
    return torch.addmm(part.bias[kind], _place(part, fields), torch.cat([part.level, part.step]))


def _constant(part: ContextPart, kind: str, fields: Fields) -> Tensor:
    """Constants of the scale [n] of rows."""
    return _place(part, fields) @ torch.cat([part.scale_level, part.scale_step]) + part.scale_kind[kind]


def _place(part: ContextPart, fields: Fields) -> Tensor:
    """One column for each level of the layer, 1 for that of the row, and the basis of its step, [n, levels + 7]."""
    table = _places(len(part.layer.level_numbers), part.step.device)
    return table[fields["level"].long() * STEPS + fields["step"].long()]


@cache
def _places(n_levels: int, device: torch.device) -> Tensor:
    """Rows of `_place` for each level and step, [n_levels * STEPS, n_levels + 7]."""
    basis = step_basis(torch.arange(STEPS, device=device, dtype=torch.float32))
    return torch.cat([torch.eye(n_levels, device=device).repeat_interleave(STEPS, 0), basis.repeat(n_levels, 1)], 1)
