"""Results of commands on .vqc files: lines for people, and JSON records."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import messages
from .progress import is_terminal

if TYPE_CHECKING:
    from vqcodec.encoder.bounded_files import Encoded
    from vqcodec.models.file_info import Info


FILLED = 0.9
"""A complete file of less than this share of a budget is the largest of its model."""


def size_record(info: Info) -> dict[str, Any]:
    """Keys that the JSON of every command has that makes or checks a .vqc file."""
    return {
        "width": info.width,
        "height": info.height,
        "bytes": info.file_bytes,
        "bpp": round(info.bpp, 6),
        "layers": len(info.layers),
        "model": info.model,
    }


def report_file(source: Path, target: Path, data: bytes, start: float, json: bool, lines: int, **more: Any) -> None:
    """Print the result of a new .vqc file: JSON, or `lines` 0..2 of text."""
    from vqcodec.models.file_info import read_info

    found, seconds = read_info(data, None), time.perf_counter() - start
    if json:
        record = {"input": messages.path_text(source), "output": messages.path_text(target)} | size_record(found)
        messages.print_json(record | {"seconds": round(seconds, 3)} | more)
        return
    if lines > 0:
        layers = layers_text(len(found.layers)) + (f" of {found.model}" if found.model else "")
        messages.say(f"{name_of_target(target)}: {len(data):,} bytes, {found.bpp:.3f} bpp, {layers}")
    if lines > 1:
        messages.say(f"{name_of_target(target)}: {found.width}x{found.height} pixels, {seconds:.2f} s")


def report_encoded(
    source: Path,
    target: Path,
    made: Encoded,
    start: float,
    json: bool,
    quiet: bool,
    verbose: bool,
    warnings: Sequence[str],
) -> None:
    """Print the result of `encode`: JSON, or text on a terminal and with `verbose`."""
    from vqcodec.models.file_info import read_info

    found, seconds = read_info(made.data, None), time.perf_counter() - start
    ratio = ratio_to(source, len(made.data))
    psnr, ms_ssim = made.quality.get("psnr"), made.quality.get("ms-ssim")
    if json:
        record = (
            {"input": messages.path_text(source), "output": messages.path_text(target)}
            | size_record(found)
            | {"seconds": round(seconds, 3)}
        )
        more = {"ratio": ratio and round(ratio, 3), "psnr": psnr and round(psnr, 3), "ms_ssim": ms_ssim}
        messages.print_json(record | more | {"warnings": list(warnings)})
        return
    if quiet or not (verbose or is_terminal()):
        return
    facts = [f"{len(made.data):,} bytes", f"{found.bpp:.3f} bpp"]
    facts += [] if ratio is None else [f"ratio {ratio:.1f}"]
    facts += [] if psnr is None else [f"PSNR {psnr:.2f} dB"]
    facts += [] if ms_ssim is None else [f"MS-SSIM {ms_ssim:.4f}"]
    facts += [layers_text(len(found.layers)) + (f" of {found.model}" if found.model else ""), f"{seconds:.2f} s"]
    messages.say(f"{name_of_target(target)}: {', '.join(facts)}")
    if verbose:
        messages.say(f"{name_of_target(target)}: {found.width}x{found.height} pixels")


def ratio_to(source: Path, n_bytes: int) -> float | None:
    """Bytes of the file `source` by `n_bytes`; None for stdin and devices."""
    return os.path.getsize(source) / n_bytes if source != messages.STDIO and os.path.isfile(source) else None


def note_small(source: Path, data: bytes, max_bytes: int | None, bpp: float | None, **_: object) -> None:
    """Print one line if the file is the largest of its model and much smaller than the budget."""
    from vqcodec.encoder.size_options import budget_for_bpp
    from vqcodec.models.file_info import read_info

    if max_bytes is None and bpp is None:
        return
    info = read_info(data, None)
    budget = max_bytes if bpp is None else budget_for_bpp(bpp, info.width, info.height)
    if budget is not None and len(data) < FILLED * budget and not info.cut:
        size = f"{len(data):,} bytes ({info.bpp:.3f} bpp), less than the budget of {budget:,}"
        messages.say(f"note: {messages.name_of(source)}: the largest file of model {info.model} has {size}")


def name_of_target(target: Path) -> str:
    """The name of an output in messages."""
    return "<stdout>" if target == messages.STDIO else messages.path_text(target)


def layers_text(n_layers: int) -> str:
    """Text such as "1 layer" or "2 layers"."""
    return f"{n_layers} layer{'s' if n_layers != 1 else ''}"
