"""Batches at scale: killed at random moments and resumed, compared with an undisturbed run; speed by processes.

Prints a table for each part. The pictures are small and random, the model is tiny with random weights, so that the time
is that of the batch itself: listing, processes, files, manifest. POSIX only.

    python benchmarks/batch_scale.py                    all parts with 2,000 pictures, about ten minutes
    python benchmarks/batch_scale.py kill --pictures 200 --kills 3
    python benchmarks/batch_scale.py kill --s3 --pictures 200 --kills 5       DST behind a local server of S3
    python benchmarks/batch_scale.py ray --s3 --pictures 60                   SRC and DST there
    python benchmarks/batch_scale.py speed -m photo --effort 1 --pictures 200
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.batch_places import Folder, Place, places
from tests.conftest import write_tiny_model
from vqcodec.cli.batch.manifest import MANIFEST, Manifest
from vqcodec.cli.batch.parts import PARTS
from vqcodec.cli.batch.plan import Planner, list_sources, target_names
from vqcodec.cli.batch.work import Outcome

T = TypeVar("T")

SIZE = "48x48"
FOLDERS = 20
POLL_S = 0.005


@dataclass(frozen=True)
class Moment:
    """Moment of a kill: `seconds` after `lines` files are finished."""

    lines: int
    seconds: float
    whole_group: bool
    """All processes are killed; otherwise the first one only."""

    def __str__(self) -> str:
        place = f"line {self.lines}" if self.lines else "start"
        return f"{place} + {self.seconds:.2f} s ({'all' if self.whole_group else 'first'})"


def write_pictures(folder: Path, n: int, size: tuple[int, int], seed: int = 0) -> None:
    """Write `n` PNG files of `size` (width, height) pixels, in FOLDERS folders."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        path = folder / f"{i % FOLDERS:02d}" / f"{i:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, compress_level=1)


def command(src: object, dst: object, *options: str) -> list[str]:
    return [sys.executable, "-m", "vqcodec.cli", "batch", str(src), str(dst), *options]


def comparable(lines: Sequence[dict]) -> dict[str, list[dict]]:
    """Lines by target, without the seconds, which differ between runs."""
    found: dict[str, list[dict]] = {}
    for line in lines:
        found.setdefault(line["target"], []).append({k: v for k, v in line.items() if k != "seconds"})
    return found


def timed(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def killed_run(words: list[str], dst: Place, moment: Moment, reports: IO[str]) -> bool:
    """Run a command and kill it at a moment; False if it had ended before."""
    null = subprocess.DEVNULL
    with subprocess.Popen(words, start_new_session=True, stdout=null, stderr=reports) as process:
        while process.poll() is None and dst.n_done() < moment.lines:
            time.sleep(POLL_S)
        try:
            process.wait(moment.seconds)
        except subprocess.TimeoutExpired:
            (os.killpg if moment.whole_group else os.kill)(process.pid, signal.SIGKILL)
            return True
    return False


def moments(n: int, kills: int, start_s: float, work_s: float, seed: int) -> list[Moment]:
    """Random moments in the order in which they come: every fifth one while a run starts, the others while it works."""
    rng = random.Random(seed)
    starting = kills // 5
    lines = sorted(rng.sample(range(1, n * 19 // 20), kills - starting))
    found = [Moment(count, rng.uniform(0, 5 * work_s / n), rng.random() < 0.5) for count in lines]
    for _ in range(starting):
        found.insert(rng.randrange(len(found)), Moment(0, rng.uniform(0, start_s), rng.random() < 0.5))
    return found


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def undisturbed_run(words: list[str], dst: Place) -> tuple[float, float]:
    """Seconds until the first file is finished, and from there to the end."""
    start = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not dst.n_done():
            time.sleep(POLL_S)
        first = time.perf_counter()
        process.wait()
    return first - start, time.perf_counter() - first


def kill_and_resume(
    src: Path, whole: Place, broken: Place, kills: int, options: list[str], seed: int
) -> dict[str, object]:
    """Kill a batch `kills` times at random moments, let it finish, and compare it with an undisturbed one."""
    start_s, work_s = undisturbed_run(command(src, whole, *options), whole)
    told, done, left = [], [], []
    with tempfile.TemporaryFile("w+") as reports:
        for moment in moments(len(whole.manifest()), kills, start_s, work_s, seed):
            if killed_run(command(src, broken, *options, "-v"), broken, moment, reports):
                told.append(str(moment))
                done.append(broken.n_done())
                left.append(len([name for name in broken.tree() if PARTS in name]))
        start = time.perf_counter()
        words = command(src, broken, *options, "-v", "--json")
        result = subprocess.run(words, check=False, stdout=subprocess.PIPE, stderr=reports, text=True)
        seconds = time.perf_counter() - start
        reports.seek(0)
        reported = Counter(line.partition(" -> ")[0] for line in reports if " -> " in line)
    counts = json.loads(result.stdout)
    return {
        "pictures": len(whole.manifest()),
        "undisturbed run: start + work (s)": f"{start_s:.1f} + {work_s:.1f}",
        "kills": len(told),
        "moments": "; ".join(told),
        "finished files after each": " ".join(map(str, done)),
        "unfinished and unrecorded files after each": " ".join(map(str, left)),
        "last run (s)": round(seconds, 1),
        "last run: done / skipped / failed": f"{counts['done']} / {counts['skipped']} / {counts['failed']}",
        "files converted twice": converted_twice(broken) + sum(n - 1 for n in reported.values()),
        "trees equal, no unfinished files": broken.tree() == whole.tree(),
        "manifests equal but for seconds": comparable(broken.manifest()) == comparable(whole.manifest()),
        "exit code": result.returncode,
    }


def converted_twice(dst: Place) -> int:
    """Further lines of the manifest for a target that has one."""
    return sum(n - 1 for n in Counter(line["target"] for line in dst.manifest()).values())


def ray_workers(root: int) -> list[int]:
    """Processes below `root` that run a task of Ray. Linux only."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                names[int(entry.name)] = (entry / "cmdline").read_bytes()
    found = []
    for number, name in names.items():
        above = number
        while above in parents and above != root:
            above = parents[above]
        if above == root and name.startswith(b"ray::_convert"):
            found.append(number)
    return found


def ray_worker_killed(src: object, whole: Place, broken: Place, options: list[str]) -> dict[str, object]:
    """Kill one of two workers of a local Ray cluster midway, and compare with an undisturbed run without Ray."""
    subprocess.run(command(src, whole, *options), check=True, capture_output=True)
    n, start, killed = len(whole.manifest()), time.perf_counter(), []
    words = [*command(src, broken, *options, "--ray", "local", "-j", "2", "--json")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not killed:
            time.sleep(POLL_S)
            if broken.n_done() >= n // 4 and (workers := ray_workers(process.pid)):
                os.kill(workers[0], signal.SIGKILL)
                killed.append(broken.n_done())
        out, err = process.communicate()
    seconds = time.perf_counter() - start
    if not out:
        raise SystemExit(err)
    counts = json.loads(out)
    return {
        "pictures": n,
        "files finished when a worker was killed": " ".join(map(str, killed)) or "never",
        "seconds, start of Ray included": round(seconds, 1),
        "done / failed": f"{counts['done']} / {counts['failed']}",
        "files converted twice": converted_twice(broken),
        "trees equal, no unfinished files": broken.tree() == whole.tree(),
        "manifests equal but for seconds": comparable(broken.manifest()) == comparable(whole.manifest()),
        "exit code": process.returncode,
    }


def speeds(src: Path, base: Path, options: list[str], jobs: Sequence[str]) -> list[dict[str, object]]:
    """Wall and processor time of a batch by number of processes."""
    rows: list[dict[str, object]] = []
    for count in jobs:
        dst = Folder(base / f"speed-{count}")
        before = os.times()
        seconds = timed(command(src, dst, *options, *([] if count == "automatic" else ["-j", count])))
        after = os.times()
        spent = after.children_user - before.children_user + after.children_system - before.children_system
        n = len(dst.manifest())
        rows.append(
            {"-j": count, "wall (s)": round(seconds, 1), "CPU (s)": round(spent, 1), "files/s": round(n / seconds, 1)}
        )
    return rows


def resident() -> int:
    """Memory of this process, bytes. Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def planning(base: Path, n: int) -> list[dict[str, object]]:
    """Time and memory of what one process does for all files: listing, planning, writing and reading the manifest."""
    src, dst = base / "many", base / "many-out"
    for i in range(n):
        folder = src / f"{i // 1000:05d}"
        if i % 1000 == 0:
            folder.mkdir(parents=True)
        (folder / f"{i % 1000:03d}.png").touch()
    rows: list[dict[str, object]] = []

    def measured(name: str, work: Callable[[], T]) -> T:
        before, start = resident(), time.process_time()
        result = work()
        seconds = time.process_time() - start
        held = max(0, resident() - before)
        rows.append({"step": name, "us per file": round(1e6 * seconds / n, 1), "bytes held per file": round(held / n)})
        return result

    listing = measured("list SRC", lambda: list_sources(src, dst, {".png"}))
    names = measured("name the targets", lambda: target_names(listing.sources, ".vqc"))
    book = Manifest(dst / MANIFEST)
    planner = Planner(src, dst, book, "0" * 16, force=False, resume=False)
    plan = measured("plan", lambda: [planner.plan(source, target) for source, target in names.items()])
    done = {"model": "photo", "bytes": 9999, "bpp": 0.25, "sha256": "0" * 64, "source_size": 9999}

    def append() -> None:
        for job in plan:
            line = Outcome(job, source_mtime_ns=10**18, **done).line("0" * 16)
            book.append(line)

    measured("write the manifest", append)
    book.close()
    again = measured("read the manifest", lambda: Manifest(dst / MANIFEST))
    rows.append({"step": "size of the manifest", "us per file": "", "bytes held per file": size(again.path) // n})
    return rows


def print_table(rows: Sequence[dict[str, object]]) -> None:
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")


def print_pairs(title: str, row: dict[str, object]) -> None:
    print(f"\n{title}\n\n| | |\n|---|---|")
    for name, value in row.items():
        print(f"| {name} | {value} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["kill", "ray", "speed", "plan", "all"], default="all")
    parser.add_argument("--pictures", type=int, default=2000, metavar="N", help="pictures (default: 2000)")
    parser.add_argument("--size", default=SIZE, metavar="WxH", help=f"pixels of a picture (default: {SIZE})")
    parser.add_argument("--kills", type=int, default=10, metavar="N", help="kills with SIGKILL (default: 10)")
    parser.add_argument("--jobs", default="2", metavar="N", help="processes of the part `kill` (default: 2)")
    parser.add_argument("--speeds", default="1,2,automatic", metavar="N,...", help="processes of the part `speed`")
    parser.add_argument("-m", "--model", default="", help="model (default: a tiny one of random weights)")
    parser.add_argument("--effort", default="1", help="effort (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the pictures and the moments (default: 0)")
    parser.add_argument("--s3", action="store_true", help="kill, ray: DST (ray: SRC too) behind a local server of S3")
    parser.add_argument("--ray", default="", metavar="ADDRESS", help="kill: convert on a Ray cluster, or on `local`")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="batch-scale-") as made:
        base = Path(made)
        write_tiny_model(base / "models" / "tiny")
        if not given.model:
            os.environ["VQCODEC_MODELS"] = str(base / "models")
        if given.part == "plan":
            print(f"Serial work for {given.pictures:,} files, processor time\n")
            print_table(planning(base, given.pictures))
            return
        src = base / "pictures"
        width, height = map(int, given.size.split("x"))
        write_pictures(src, given.pictures, (width, height), given.seed)
        options = ["-m", given.model or "tiny", "--effort", given.effort]
        load = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        print(f"{given.pictures:,} pictures of {given.size} px, {load}")
        if given.part in ("kill", "all"):
            with places(base, given.s3) as (_, whole, broken):
                words = [*options, "-j", given.jobs, *(["--ray", given.ray] if given.ray else [])]
                row = kill_and_resume(src, whole, broken, given.kills, words, given.seed)
            print_pairs(f"Killed with SIGKILL and resumed, -j {given.jobs}", row)
        if given.part in ("ray", "all"):
            with places(base, given.s3, "ray-", src) as (source, whole, broken):
                row = ray_worker_killed(source, whole, broken, options)
            print_pairs("A worker of Ray killed, two workers", row)
        if given.part in ("speed", "all"):
            print("\nSpeed by processes\n")
            print_table(speeds(src, base, options, given.speeds.split(",")))


if __name__ == "__main__":
    main()
