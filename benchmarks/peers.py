"""Time of vqcodec beside other codecs: commands and calls, on the same pictures, in one run, and growth with size.

Every round runs each step once, in turn, so that a change of the machine's load meets all alike; the tables hold
medians of the rounds, and medians of the ratios within a round. Before the first size, and each size of several rounds,
the calls run once without being counted. Other codecs make the largest file that is not larger
than vqcodec's at the default effort. MGVQ's networks have random weights. Run it in the
clone as `python -m benchmarks.peers`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from benchmarks import contenders
from benchmarks.contenders import PEERS, Step, Subject
from vqcodec.config.effort import EFFORT
from vqcodec.errors import UsageError

LAKE = Path(__file__).parents[1] / "samples" / "lake.png"
SIZES = "0.1,0.4,1,3.7,10,24,100"
FAST_EFFORT = 5
MGVQ = "mgvq"
ONE_ROUND_MP = 8.0
"""Megapixels from which on a single round is run."""
SEARCH_MP = 4.0
"""Largest picture on which the setting of a peer is searched; larger ones take the last one found."""
LEVEL_MP = 1.0
"""Megapixels from which on the time for each megapixel is compared."""


@dataclass(frozen=True)
class Row:
    """Seconds of one step on one picture."""

    megapixels: float
    contender: str
    action: str
    way: str
    n_bytes: int
    seconds: list[float]
    """One for each round."""

    @property
    def median(self) -> float:
        """Median of the rounds, seconds."""
        return statistics.median(self.seconds)

    def ratio_to(self, other: Row) -> float:
        """Median over the rounds of the seconds of this step by those of another one of the same picture."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))


def measure(picture: Image.Image, sizes: Sequence[float], given: argparse.Namespace) -> list[Row]:
    """Rows of all steps on parts of the picture of these megapixels."""
    rows: list[Row] = []
    settings: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        limit = ["--threads", str(given.threads)] if given.threads else []
        mgvq = contenders.write_mgvq(folder / "models") if MGVQ in given.peers else None
        for size in sizes:
            pixels = contenders.crop_of(picture, size)
            subject = contenders.prepare(pixels, folder, limit)
            steps = list(_steps(subject, size, settings, mgvq, given))
            rounds = 1 if size > ONE_ROUND_MP else given.rounds
            rows += timed(steps, rounds, subject.n_pixels / 1e6, warm_up=rounds > 1 or not rows)
    return rows


def _steps(
    subject: Subject, size: float, settings: dict[str, int], mgvq: Path | None, given: argparse.Namespace
) -> Sequence[Step]:
    efforts = (FAST_EFFORT, EFFORT)
    steps = [*contenders.vqcodec_calls(subject, efforts)]
    if given.commands:
        steps += contenders.vqcodec_commands(subject, efforts, given.threads)
    for name in (name for name in given.peers if name != MGVQ and size <= given.peers_up_to):
        if size <= SEARCH_MP:
            found = contenders.peer_setting(name, subject)
            if found is None:
                settings.pop(name, None)  # no file is so small
            else:
                settings[name] = found
        if name in settings:
            steps += contenders.peer_calls(name, subject, settings[name])
    if mgvq is not None and size <= given.mgvq_up_to:
        steps += contenders.mgvq_calls(subject, mgvq)
    return steps


def timed(steps: Sequence[Step], rounds: int, megapixels: float, warm_up: bool) -> list[Row]:
    """Run each step once in every round; with `warm_up` after one run of the calls that is not counted."""
    seconds = defaultdict[int, list[float]](list)
    for number in range(-1 if warm_up else 0, rounds):
        for i, step in enumerate(steps):
            if number < 0 and step.way == "command":
                continue
            start = time.perf_counter()
            step.run()
            took = time.perf_counter() - start
            if number >= 0:
                seconds[i].append(took)
            print(f"{megapixels:.2f} MP {step.contender} {step.action} {step.way}: {took:.3f} s", file=sys.stderr)
    return [
        Row(megapixels, step.contender, step.action, step.way, step.n_bytes, seconds[i]) for i, step in enumerate(steps)
    ]


def comparison(rows: Sequence[Row]) -> list[list[str]]:
    """Table of one size: a row for each step, with its seconds by those of vqcodec's call for the same direction."""
    calls = {row.action: row for row in rows if (row.contender, row.way) == ("vqcodec", "call")}
    table = [["contender", "action", "way", "bytes", "seconds", "seconds/MP", "times vqcodec's call"]]
    for row in rows:
        ours = calls.get(row.action) or calls.get(f"{row.action}, effort {EFFORT}")
        ratio = "" if ours is None else f"{row.ratio_to(ours):.3g}"
        size = f"{row.n_bytes:,}" if row.n_bytes else ""
        each = f"{row.median / row.megapixels:.3f}"
        table.append([row.contender, row.action, row.way, size, f"{row.median:.3f}", each, ratio])
    return table


def growth(rows: Sequence[Row]) -> list[list[str]]:
    """Table of seconds for each megapixel by size, and the largest by the smallest of them from LEVEL_MP on."""
    sizes = sorted({row.megapixels for row in rows})
    lines: dict[tuple[str, str, str], dict[float, float]] = {}
    for row in rows:
        lines.setdefault((row.contender, row.action, row.way), {})[row.megapixels] = row.median / row.megapixels
    table = [["seconds/MP", *(f"{size:.3g} MP" for size in sizes), f"spread from {LEVEL_MP:g} MP"]]
    for key, found in lines.items():
        level = [value for size, value in found.items() if size >= 0.95 * LEVEL_MP]
        spread = f"{max(level) / min(level):.2f}" if len(level) > 1 else ""
        table.append([" ".join(key), *(f"{found[size]:.3f}" if size in found else "" for size in sizes), spread])
    return table


def markdown(table: Sequence[Sequence[str]]) -> str:
    """A table whose first row is the head, in Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def options() -> argparse.Namespace:
    """The options of the script, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="?", type=Path, default=LAKE, help="default: samples/lake.png")
    parser.add_argument("--sizes", default=SIZES, metavar="MP,...", help=f"megapixels of its parts ({SIZES})")
    parser.add_argument("--rounds", type=int, default=5, help=f"1 or more; 1 above {ONE_ROUND_MP:g} MP (default: 5)")
    parser.add_argument("--peers", default=",".join([*PEERS, MGVQ]), metavar="LIST", help="default: %(default)s")
    parser.add_argument("--peers-up-to", type=float, default=24.0, metavar="MP", help="default: %(default)s")
    parser.add_argument("--mgvq-up-to", type=float, default=4.0, metavar="MP", help="default: %(default)s")
    parser.add_argument("--no-commands", dest="commands", action="store_false", help="calls only")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the networks (default: all cores)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all seconds to this file")
    given = parser.parse_args()
    try:
        given.sizes = [float(size) for size in given.sizes.split(",")]
    except ValueError:
        parser.error(f"--sizes {given.sizes}: write megapixels, for example 0.4,3.7")
    given.peers = [name.strip() for name in given.peers.split(",") if name.strip()]
    for name in set(given.peers) - {MGVQ}:
        if name not in PEERS:
            parser.error(f"--peers {name}: use some of {', '.join([*PEERS, MGVQ])}")
        try:
            PEERS[name]()
        except UsageError as error:
            parser.error(f"--peers {name}: {error}")
    if min(given.sizes) <= 0 or given.rounds < 1 or given.threads < 0:
        parser.error("sizes are more than 0, --rounds at least 1, --threads at least 0")
    return given


def main() -> None:
    given = options()
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)
    with Image.open(given.picture) as picture:
        rows = measure(picture, given.sizes, given)
    for size in sorted({row.megapixels for row in rows}):
        print(f"\n{size:.3g} megapixels of {given.picture.name}\n")
        print(markdown(comparison([row for row in rows if row.megapixels == size])))
    print("\nGrowth\n")
    print(markdown(growth(rows)))
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
