"""Decoded pictures of one original for the report: every codec at a few equal sizes.

At each target size a codec shows its largest file that is not larger. Files that browsers show themselves are passed
on as they are; others, and crops of large pictures, as lossless WebP.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ..metrics import Pixels
from .measure import PictureMeasurement, Row

TARGETS = (0.15, 0.5, 0.9)
"""Positions of the target sizes in the sorted sizes of the measured files."""
MAX_WIDTH_PX, MAX_HEIGHT_PX = 1280, 960
"""Larger pictures are shown by their centre of this size."""


@dataclass(frozen=True)
class ShownFile:
    """One codec at one target size."""

    codec: str
    """Codec, with the model if it has one."""
    setting: float
    target: int
    """Index of the target size."""
    n_bytes: int
    scores: dict[str, float]
    mime: str
    data: str
    """Base64."""


@dataclass(frozen=True)
class Shown:
    """An original and its decoded pictures."""

    picture: str
    width: int
    """Pixels of the whole picture."""
    height: int
    box: tuple[int, int, int, int]
    """Part that is shown: left, top, right, bottom."""
    targets: tuple[int, ...]
    """Bytes."""
    original: str
    """Lossless WebP, base64."""
    files: list[ShownFile]

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> Shown:
        """The value from its fields as JSON holds them."""
        fields = {**record, "box": tuple(record["box"]), "targets": tuple(record["targets"])}
        return cls(**{**fields, "files": [ShownFile(**file) for file in record["files"]]})


def shown_of(measurement: PictureMeasurement, rows: Sequence[Row]) -> Shown:
    """The pictures of a finished measurement; `rows` are all of its rows, at least one."""
    pixels = measurement.pixels
    height, width = pixels.shape[:2]
    box = centre(width, height)
    own = [row for row in rows if row.kind == "ours"]
    sizes = sorted({row.n_bytes for row in own or rows})
    targets = tuple(dict.fromkeys(sizes[round(share * (len(sizes) - 1))] for share in TARGETS))
    files = []
    for index, target in enumerate(targets):
        best: dict[str, Row] = {}
        for row in [*own, *_matched(measurement, target)]:
            label = label_of(row)
            if row.n_bytes <= target and (label not in best or row.n_bytes > best[label].n_bytes):
                best[label] = row
        files += [_file(measurement, row, index, box) for row in best.values()]
    return Shown(measurement.name, width, height, box, targets, _webp(pixels, box), files)


def _matched(measurement: PictureMeasurement, target: int) -> Iterator[Row]:
    """The largest file of at most `target` bytes of each reference codec that has not failed."""
    for sweep in list(measurement.sweeps):
        setting = sweep.largest_within(target)
        if setting is not None:
            yield measurement.codec_row(sweep, "", setting, None)


def label_of(row: Row) -> str:
    """Name of the codec in the report."""
    return f"{row.codec} {row.model}" if row.kind == "ours" else row.codec


def centre(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the part that is shown."""
    w, h = min(width, MAX_WIDTH_PX), min(height, MAX_HEIGHT_PX)
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def _file(measurement: PictureMeasurement, row: Row, target: int, box: tuple[int, int, int, int]) -> ShownFile:
    head = (label_of(row), row.setting, target, row.n_bytes, row.scores)
    if row.kind == "ours":
        model = next(model for model in measurement.models if model.model == row.model)
        return ShownFile(*head, "image/webp", _webp(model.decode(measurement.files[row.model, row.setting]), box))
    sweep = next(sweep for sweep in measurement.sweeps if sweep.codec.name == row.codec)
    data = sweep.data(row.setting)
    height, width = measurement.pixels.shape[:2]
    whole = box == (0, 0, width, height)
    if sweep.codec.mime and whole:
        return ShownFile(*head, sweep.codec.mime, base64.b64encode(data).decode("ascii"))
    return ShownFile(*head, "image/webp", _webp(sweep.codec.decode(data), box))


def _webp(pixels: Pixels, box: tuple[int, int, int, int]) -> str:
    left, top, right, bottom = box
    out = io.BytesIO()
    part = np.ascontiguousarray(pixels[top:bottom, left:right])
    Image.fromarray(part).save(out, "WEBP", lossless=True, quality=40, method=3)
    return base64.b64encode(out.getvalue()).decode("ascii")
