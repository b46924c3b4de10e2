"""Wall time and peak memory of `vqcodec encode` and `decode`, a process each, on a usual and on very large images.

The start of Python and the writing of the PNG are included. The column "beyond buffers" is the peak without the two
buffers of all pixels that reading and writing need at once: an array of 3 bytes per pixel, a Pillow image of 4.
POSIX only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

LAKE = Path(__file__).parents[1] / "samples" / "lake.png"
BUFFER_BYTES = 7
"""Bytes per pixel of the two buffers."""
SIZES = "3000x1000,12000x4000,30000x10000"
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes per unit of `ru_maxrss`."""


def make_picture(path: Path, width: int, height: int) -> None:
    """Write a PPM of smooth shapes, fine waves and noise, 100 rows at a time."""
    import numpy as np

    random = np.random.default_rng(0)
    x = np.arange(width, dtype=np.float32)[None, :, None]
    colour = np.array([0.0, 1.0, 2.0], np.float32)
    with open(path, "wb") as file:
        file.write(b"P6 %d %d 255\n" % (width, height))
        for top in range(0, height, 100):
            y = np.arange(top, min(top + 100, height), dtype=np.float32)[:, None, None]
            soft = np.sin(x / 700 + colour) * np.cos(y / 500 - colour)
            fine = np.sin(x / 9 + y / 23) * np.sin(x / 1900) * np.cos(y / 1300)
            grain = random.standard_normal((len(y), width, 1), np.float32)
            file.write((128 + 80 * soft + 25 * fine + 4 * grain).clip(0, 255).astype(np.uint8).tobytes())


def run(command: list[str]) -> tuple[float, int]:
    """(wall seconds, bytes of peak resident memory) of one process. Exits if it fails."""
    start = time.perf_counter()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)  # usage of this child; getrusage would give the largest of all so far
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(command)}: exit code {child.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss * RSS_UNIT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="photo", help="name or folder (default: photo)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the networks (default: all cores)")
    parser.add_argument("--effort", type=int, default=6, help="effort of encode, 1..9 (default: 6)")
    parser.add_argument(
        "--sizes", default=SIZES, metavar="WxH,...", help=f"pixels of further images, or 'no' ({SIZES})"
    )
    parser.add_argument("--make", nargs=3, metavar=("PATH", "WIDTH", "HEIGHT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make_picture(Path(given.make[0]), int(given.make[1]), int(given.make[2]))
        return
    sizes = [] if given.sizes == "no" else [size.split("x") for size in given.sizes.split(",")]
    if not all(len(size) == 2 and all(part.isdigit() and int(part) for part in size) for size in sizes):
        parser.error(f"--sizes {given.sizes}: write WIDTHxHEIGHT,... in pixels, or no")

    table = Table(title=f"model {given.model}, effort {given.effort}, {given.threads or 'default'} threads")
    table.add_column("image")
    table.add_column("command")
    for name in ("seconds", "peak MiB", "beyond buffers, MiB", "bytes of output"):
        table.add_column(name, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        measure(table, LAKE, 2560 * 1440, Path(folder), given)
        for width, height in sizes:
            image = Path(folder, f"{width}x{height}.ppm")
            # In a separate process: the peak of a child starts at the size of its parent.
            run([sys.executable, __file__, "--make", str(image), width, height])
            measure(table, image, int(width) * int(height), Path(folder), given)
            image.unlink()
    Console().print(table)


def measure(table: Table, image: Path, n_pixels: int, folder: Path, given: argparse.Namespace) -> None:
    """Add a row for `encode` of the image and one for `decode` of the result."""
    coded, decoded = folder / "x.vqc", folder / "x.png"
    vqcodec = [sys.executable, "-m", "vqcodec.cli"]
    common = ["-f", "--quiet", "--threads", str(given.threads), "--max-pixels", str(n_pixels)]
    for command, source, target, options in (
        ("encode", image, coded, ["--model", given.model, "--effort", str(given.effort)]),
        ("decode", coded, decoded, []),
    ):
        seconds, peak = run([*vqcodec, command, str(source), "-o", str(target), *common, *options])
        beyond = peak - BUFFER_BYTES * n_pixels
        numbers = (f"{seconds:.1f}", f"{peak / 2**20:,.0f}", f"{beyond / 2**20:,.0f}", f"{target.stat().st_size:,}")
        table.add_row(image.name, command, *numbers)


if __name__ == "__main__":
    main()
