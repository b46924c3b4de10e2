"""`vqcodec eval --pair A B`: metrics of one pair of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vqcodec.errors import InputError

from .. import files, messages


def compare_pair(original: Path, decoded: Path, metrics: Sequence[str], weights: Sequence[Path], as_json: bool) -> None:
    """Print each metric of `decoded` against `original`, as the codec reads both: 8-bit RGB without alpha.

    Raises InputError if a picture cannot be read or the sizes differ.
    """
    from vqcodec.evaluation.quality import metric_of
    from vqcodec.image.files import read_pixels

    for path in (original, decoded):
        files.check_source(path)
    a, b = (read_pixels(path) for path in (original, decoded))
    if a.shape != b.shape:
        sizes = " and ".join(f"{pixels.shape[1]}x{pixels.shape[0]}" for pixels in (a, b))
        raise InputError(f"{decoded}: the pictures have {sizes} px; a pair has equal sizes")
    found = [metric_of(name, weights) for name in metrics]
    values = {metric.column: metric.measure(a, b) for metric in found}
    if as_json:
        record = {column: _json(value) for column, value in values.items()}
        messages.print_json({"original": str(original), "decoded": str(decoded)} | record)
        return
    width = max(len(metric.title) for metric in found)
    for metric in found:
        messages.print_line(f"{metric.title:<{width}}  {values[metric.column]:.{metric.digits + 2}f}")


def _json(value: float) -> float | str | None:
    return None if value != value else value if abs(value) < float("inf") else "inf"
