"""Seconds per stage of encoding and decoding one image, and of whole files by effort: the median of warm runs.

The start of Python, the import of torch and output files are not included.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

T = TypeVar("T")

LAKE = Path(__file__).parents[1] / "samples" / "lake.png"


def timed(work: Callable[[], T], runs: int) -> tuple[T, float]:
    """(result of `work`, median seconds of `runs` runs after a warm-up run)."""
    result, seconds = work(), []
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def measure(path: Path, model_name: str, runs: int) -> tuple[str, dict[str, float], int]:
    """(title, seconds per stage in the order of the data, pixels)."""
    import vqcodec
    from vqcodec import container
    from vqcodec.encoder.build import UNREFINED
    from vqcodec.geometry.rectangles import Rect
    from vqcodec.image.files import read_picture
    from vqcodec.inference.networks import pixels_to_latent, pixels_to_planes, planes_to_pixels
    from vqcodec.models import loading
    from vqcodec.tokens.reading import read_tokens
    from vqcodec.tokens.tokens import has_step, write_tokens

    model = loading.load_model(model_name)
    seconds: dict[str, float] = {}
    picture, seconds["read picture"] = timed(lambda: read_picture(path), runs)
    to_network = pixels_to_latent if has_step(model.config) else pixels_to_planes
    _, seconds["network encode"] = timed(lambda: to_network(model, picture.pixels), runs)
    tokens = vqcodec.tokenize(picture, model_name, effort=UNREFINED)
    data, both = timed(lambda: write_tokens(tokens, model), runs)
    file, reading = timed(lambda: container.read(data), runs)
    segments = [[segment or b"" for segment in layer] for layer in file.segments]
    _, writing = timed(lambda: container.write(file.header, segments, file.alpha, file.chunks), runs)
    seconds |= {"entropy encode": both - writing, "write container": writing, "read container": reading}
    found, seconds["entropy decode"] = timed(lambda: read_tokens(file, model), runs)
    whole = Rect(0, picture.height, 0, picture.width)
    _, seconds["network decode"] = timed(
        lambda: planes_to_pixels(model, list(found.planes), whole, step=found.step), runs
    )
    size = f"{picture.width}x{picture.height}"
    title = f"{path.name}, {size} pixels, model {model.config.name}, {tokens.n_layers} layers, {len(data):,} bytes"
    return title, seconds, picture.n_pixels


def by_effort(path: Path, model_name: str, runs: int) -> dict[str, float]:
    """Seconds from the image file to the bytes of the `.vqc` file, at the last step of the ladder."""
    import vqcodec

    efforts = {f"file, effort {effort}": effort for effort in (5, 6, 7)}
    return {
        name: timed(lambda effort=effort: vqcodec.encode(path, model_name, effort=effort), runs)[1]  # type: ignore[misc]
        for name, effort in efforts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="?", type=Path, default=LAKE, help="default: samples/lake.png")
    parser.add_argument("--model", default="photo", help="name or folder (default: photo)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the networks (default: all cores)")
    parser.add_argument("--runs", type=int, default=5, help="warm runs, of which the median is taken (default: 5)")
    given = parser.parse_args()
    if given.threads < 0 or given.runs < 1:
        parser.error("--threads is at least 0, --runs at least 1")

    import torch

    if given.threads:
        torch.set_num_threads(given.threads)
    title, seconds, n_pixels = measure(given.picture, given.model, given.runs)
    threads = torch.get_num_threads()
    table = Table(title=f"{title}, {threads} thread{'s' if threads > 1 else ''}, median of {given.runs}")
    table.add_column("stage")
    for name in ("seconds", "share", "megapixels/s"):
        table.add_column(name, justify="right")
    total = sum(seconds.values())
    for stage, value in seconds.items():
        rate = f"{n_pixels / 1e6 / value:,.1f}" if value > 0 else ""
        table.add_row(stage, f"{value:.4f}", f"{value / total:.1%}", rate)
    table.add_section()
    table.add_row("all", f"{total:.4f}", "", f"{n_pixels / 1e6 / total:,.1f}")
    table.add_section()
    for name, value in by_effort(given.picture, given.model, given.runs).items():
        table.add_row(name, f"{value:.4f}", "", f"{n_pixels / 1e6 / value:,.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
