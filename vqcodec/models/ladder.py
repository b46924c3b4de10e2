"""Quality ladders: choice of model and ladder step for a quality, and the test for a filled byte budget.

`candidates` is the result of `registry.candidates`: name -> configuration, smallest files first.
"""

from __future__ import annotations

from collections.abc import Mapping

from .. import container
from ..config.model import LadderStep, ModelConfig
from ..errors import UsageError

DEFAULT_QUALITY = 50
"""Quality of files without a size option."""
FILLED = 0.9
"""Share of a byte budget, 0..1, from which a file fills it and no model of larger files is tried.

Measured on sixteen validation pictures: `photo-hq` at a size a little above that of `photo`'s largest file, 0.30 bits
per pixel, has the higher PSNR (0.31: 27.7 dB against 26.8) and the lower MS-SSIM (0.948 against 0.954), and a sixth
above it both are higher (0.35: 0.956).
"""


def check_quality(quality: int) -> None:
    """Raise UsageError unless 1 <= quality <= 100."""
    if not 1 <= quality <= 100:
        raise UsageError(f"quality {quality}: give 1..100")


def ladder(config: ModelConfig) -> tuple[LadderStep, ...]:
    """The steps of a model, at least one, smallest files first."""
    return config.ladder or (LadderStep(100, len(config.layers)),)


def step_for_quality(config: ModelConfig, quality: int) -> LadderStep:
    """The last step that begins at or below `quality` 1..100, otherwise the first step. Raises UsageError."""
    check_quality(quality)
    steps = ladder(config)
    return max((step for step in steps if step.quality <= quality), key=lambda step: step.quality, default=steps[0])


def default_step(config: ModelConfig) -> LadderStep:
    """The step of files without a size option: DEFAULT_QUALITY where the ladder reaches beyond it, else the last."""
    steps = ladder(config)
    covered = steps[0].quality <= DEFAULT_QUALITY <= steps[-1].quality
    return step_for_quality(config, DEFAULT_QUALITY) if covered else steps[-1]


def at_quality(candidates: Mapping[str, ModelConfig], quality: int) -> tuple[str, LadderStep]:
    """(name, step of its ladder) at `quality` 1..100. Raises UsageError beyond that.

    A model covers the scale from the first step of its ladder up to the first step of the next model. A single model
    covers the whole scale: qualities below its ladder use the first step.
    """
    name = next(iter(candidates))
    for other, config in candidates.items():
        if config.ladder and config.ladder[0].quality <= quality:
            name = other
    return name, step_for_quality(candidates[name], quality)


def parts(candidates: Mapping[str, ModelConfig]) -> dict[str, tuple[int, int]]:
    """Name -> lowest and highest quality that the model serves; models that serve none are left out."""
    names = [at_quality(candidates, quality)[0] for quality in range(1, 101)]
    return {name: (names.index(name) + 1, 100 - names[::-1].index(name)) for name in candidates if name in names}


def possible(
    candidates: Mapping[str, ModelConfig], quality: int | None = None, keep: int | None = None, **by_result: object
) -> list[str]:
    """Names of the models that may encode a picture with the given keywords of `encode`.

    All candidates where a keyword bounds the resulting file (`by_result`), otherwise one.
    """
    if any(value is not None for value in by_result.values()):
        return list(candidates)
    return [next(iter(candidates)) if quality is None else at_quality(candidates, quality)[0]]


def fills(data: bytes, max_bytes: int) -> bool:
    """Return True if a complete file fills the share FILLED of `max_bytes`.

    Alpha and metadata, which are the same for all models, are subtracted from the file and from the budget.
    """
    head = container.read_head(data, None)
    fixed = (head.alpha_bytes or 0) + head.alpha_crc_bytes + (head.chunks_bytes or 0)
    return len(data) - fixed >= FILLED * (max_bytes - fixed)
