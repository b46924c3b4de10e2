"""Wall time and peak memory of `vqcodec encode` and `decode`, a process each, on a usual and on a very large image.

The start of Python and the writing of the PNG are included. POSIX only.
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
    parser.add_argument("--large", default="12000x9000", metavar="WxH", help="pixels of the large picture, or 'no'")
    parser.add_argument("--make", nargs=3, metavar=("PATH", "WIDTH", "HEIGHT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make_picture(Path(given.make[0]), int(given.make[1]), int(given.make[2]))
        return
    size = [] if given.large == "no" else given.large.split("x")
    if size and (len(size) != 2 or not all(part.isdigit() and int(part) for part in size)):
        parser.error(f"--large {given.large}: write WIDTHxHEIGHT in pixels, or no")

    table = Table(title=f"model {given.model}, {given.threads or 'default'} threads")
    table.add_column("picture")
    table.add_column("command")
    for name in ("seconds", "peak MiB", "bytes of output"):
        table.add_column(name, justify="right")
    vqcodec = [sys.executable, "-m", "vqcodec.cli"]
    with tempfile.TemporaryDirectory() as folder:
        pictures = [LAKE]
        if size:
            # In a separate process: the peak of a child starts at the size of its parent.
            pictures.append(Path(folder, "large.ppm"))
            run([sys.executable, __file__, "--make", str(pictures[-1]), *size])
        coded, decoded = Path(folder, "x.vqc"), Path(folder, "x.png")
        for picture in pictures:
            for command, source, target, options in (
                ("encode", picture, coded, ["--model", given.model]),
                ("decode", coded, decoded, []),
            ):
                arguments = [command, str(source), "-o", str(target), "-f", "--quiet", *options]
                seconds, peak = run([*vqcodec, *arguments, "--threads", str(given.threads)])
                table.add_row(
                    picture.name, command, f"{seconds:.2f}", f"{peak / 2**20:,.0f}", f"{target.stat().st_size:,}"
                )
    Console().print(table)


if __name__ == "__main__":
    main()
