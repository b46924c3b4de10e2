"""Distortion of decoded planes, by the library that runs a model's networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..geometry.rectangles import Rect
from ..image.grey import average_channels
from ..image.picture import Picture
from ..inference.backend import networks_of, runs_compiled
from ..inference.networks import planes_to_pixels
from ..models.loading import Model
from ..runtime.backend import check_torch
from ..tokens.tokens import has_step
from .distortion import Distortion, Measures


def measures_of(model: Model) -> Measures:
    """The measures in the library that runs the networks of `model`."""
    if runs_compiled(model):
        # Both load OpenVINO.
        if has_step(model.config):
            from .wavelet_measures import WaveletMeasures

            return WaveletMeasures(networks_of(model))
        from .compiled_measures import CompiledMeasures

        return CompiledMeasures(networks_of(model))
    check_torch(f"latent refinement with model '{model.config.name}'")
    from .torch_measures import TorchMeasures  # loads torch

    return TorchMeasures(model)


def distortions(
    model: Model, picture: Picture, planes: Sequence[np.ndarray], areas: Sequence[Rect]
) -> list[Distortion]:
    """Distortion of decoded `planes` in each of `areas`, in pixels, which may reach beyond the picture.

    Args:
        model: decodes the planes.
        picture: the original; its alpha weights errors.
        planes: int32 [h, w] of the whole picture.
        areas: rectangles of pixels.
    """
    decoded = planes_to_pixels(model, list(planes), Rect(0, picture.height, 0, picture.width))
    if picture.grey:
        average_channels(decoded)
    measures, alpha = measures_of(model), picture.alpha
    return [
        measures.distortion(
            decoded[area.slices], picture.pixels[area.slices], None if alpha is None else alpha[area.slices]
        )
        for area in areas
    ]
