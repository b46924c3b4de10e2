"""Table of robustness: mutated inputs, flipped bits, prefixes and bombs. `python -m tests.fuzz.robustness --help`.

Input number n of a target depends on its name and on n alone, so that a failure can be repeated.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch

from . import targets
from .bombs import BOMBS
from .targets import Target

COUNTS = {
    "container": 900_000,
    "tokens": 60_000,
    "arrays": 20_000,
    "checkpoint": 20_000,
    "model": 4_000,
    "decode": 4_000,
}
"""Mutated inputs of each target."""
SLOW = 2.0
"""Seconds of processor time of one input that count as a hang."""
ROW = "{:<12}{:>10}{:>10}{:>10}{:>8}{:>8}{:>10}{:>9}{:>9}"
ALL_FLIPS = 2**14
"""Bytes of the largest sample of which every bit is flipped; of others MANY, evenly spaced."""
MANY = 20_000
SAMPLES = Path(__file__).parents[2] / "samples"


def input_number(target: Target, seeds: list[bytes], n: int) -> bytes:
    """Mutated input number n of a target."""
    random = Random(f"{target.name} {n}")
    return target.mutated(random.choice(seeds), random)


def attack(name: str, first: int, count: int) -> dict[str, Any]:
    """Run `count` mutated inputs of a target, from number `first` on, and count how they end."""
    target = targets.target(name)
    seeds = target.seeds()
    for data in seeds:
        target.run(data)  # warm, and valid
    before, started = _peak(), time.process_time()
    ends: Counter[str] = Counter()
    failures: list[str] = []
    slowest = 0.0
    for n in range(first, first + count):
        data = input_number(target, seeds, n)
        at = time.process_time()
        try:
            target.run(data)
            ends["accepted"] += 1
        except target.errors as error:
            ends[type(error).__name__] += 1
        except Exception as error:
            ends["undocumented"] += 1
            failures.append(f"{name} {n}: {type(error).__name__}: {str(error)[:150]}")
        taken = time.process_time() - at
        slowest = max(slowest, taken)
        if taken > SLOW:
            ends["hangs"] += 1
            failures.append(f"{name} {n}: {taken:.1f} s")
    return {
        "target": name,
        "inputs": count,
        "ends": dict(ends),
        "failures": failures[:20],
        "slowest_ms": round(1000 * slowest, 1),
        "grown_mb": _peak() - before,
        "cpu_s": round(time.process_time() - started),
    }


def rows_of_attacks(found: list[dict[str, Any]]) -> Iterator[str]:
    """The table of mutated inputs."""
    yield ROW.format(*("target", "inputs", "accepted", "refused", "other", "hangs", "slowest", "memory", "CPU"))
    total: Counter[str] = Counter()
    for one in found:
        ends = Counter(one["ends"])
        refused = one["inputs"] - ends["accepted"] - ends["undocumented"]
        yield ROW.format(
            *(one["target"], f"{one['inputs']:,}", f"{ends['accepted']:,}", f"{refused:,}", ends["undocumented"]),
            *(ends["hangs"], f"{one['slowest_ms']:.0f} ms", f"+{one['grown_mb']} MB", f"{one['cpu_s']} s"),
        )
        total += Counter(
            inputs=one["inputs"], accepted=ends["accepted"], refused=refused, other=ends["undocumented"],
            hangs=ends["hangs"], cpu=one["cpu_s"],
        )  # fmt: skip
    yield ROW.format(
        *("all", f"{total['inputs']:,}", f"{total['accepted']:,}", f"{total['refused']:,}", total["other"]),
        *(total["hangs"], "", "", f"{total['cpu']} s"),
    )
    for one in found:
        yield from one["failures"]


def undetected_flips(data: bytes, read: Callable[[bytes], object], limit: int | None = None) -> tuple[int, int]:
    """Number of single flipped bits, all or about `limit` evenly spaced, and of those that `read` does not notice."""
    bits = 8 * len(data)
    chosen = range(0, bits, max(1, bits // limit) if limit else 1)
    missed = 0
    changed = bytearray(data)
    for bit in chosen:
        changed[bit >> 3] ^= 1 << (bit & 7)
        missed += not _refused(read, bytes(changed))
        changed[bit >> 3] ^= 1 << (bit & 7)
    return len(chosen), missed


def prefixes(data: bytes, strict: Callable[[bytes], object], lenient: Callable[[bytes], object]) -> tuple[int, int]:
    """Number of prefixes, and of those that `lenient` decodes; `strict` refuses all of them.

    Raises AssertionError for a prefix that `strict` accepts or that is refused though a shorter one decodes.
    """
    decoded = 0
    for end in range(len(data)):
        assert _refused(strict, data[:end]), f"prefix of {end} bytes is accepted"
        if _refused(lenient, data[:end]):
            assert not decoded, f"{end} bytes are refused, fewer are not"
        else:
            decoded += 1
    return len(data), decoded


def _refused(read: Callable[[bytes], object], data: bytes) -> bool:
    try:
        read(data)
    except targets.READ:
        return True
    return False


FLIPS_ROW = "{:<24}{:>8}{:>10}{:>8}{:>10}{:>9}"


def flips_of_sample(path: Path) -> str:
    """Row of one sample: flipped bits and prefixes, as its checksums find them."""
    from vqcodec import container

    data = path.read_bytes()
    small = len(data) <= ALL_FLIPS
    flips, missed = undetected_flips(data, container.read, None if small else MANY)
    cuts, decoded = prefixes(data, container.read, partial(container.read, allow_partial=True)) if small else (0, 0)
    return FLIPS_ROW.format(path.name, f"{len(data):,}", f"{flips:,}", missed, f"{cuts:,}", f"{decoded:,}")


def flips_of_small_files() -> str:
    """Row of the small files of all models: flipped bits and prefixes, down to every index."""
    small = [data for data in targets.files() if len(data) < 1500]
    found = [(*undetected_flips(data, targets.read_whole), *_decoded_prefixes(data)) for data in small]
    flips, missed, cuts, decoded = map(sum, zip(*found, strict=True))
    size = sum(map(len, small))
    return FLIPS_ROW.format(f"{len(small)} small files", f"{size:,}", f"{flips:,}", missed, f"{cuts:,}", f"{decoded:,}")


def _decoded_prefixes(data: bytes) -> tuple[int, int]:
    return prefixes(data, targets.read_whole, targets.read_part)


def make_bomb(name: str) -> bytes:
    """The bytes of one bomb."""
    return BOMBS[name].make()


def explode(name: str, data: bytes) -> dict[str, Any]:
    """Give one bomb to its reader; processor time in ms and memory in MB until it is refused."""
    bomb = BOMBS[name]
    bomb.warm()
    before, started = _peak(), time.process_time()
    try:
        bomb.read(data)
        end = "accepted"
    except Exception as error:
        end = type(error).__name__
    taken = 1000 * (time.process_time() - started)
    return {"name": name, "bytes": len(data), "end": end, "ms": taken, "mb": _peak() - before}


def _peak() -> int:
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--inputs", nargs="*", metavar="TARGET=N", help="mutated inputs of each target; default all")
    parser.add_argument("--first", type=int, default=0, help="number of the first input, default 0")
    parser.add_argument("--only", choices=("inputs", "flips", "bombs"), help="one of the three tables")
    parser.add_argument("--json", type=Path, help="file for the figures of mutated inputs")
    arguments = parser.parse_args()
    counts: Mapping[str, int] = COUNTS
    if arguments.inputs:
        counts = {name: int(n) for name, n in (pair.split("=") for pair in arguments.inputs)}
    context = multiprocessing.get_context("fork")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as base:
        targets.setup(Path(base))

        def run(function: Callable[..., Any], *given: object) -> Any:
            """Result of a function in a process of its own, so that its memory is known."""
            with context.Pool(1) as pool:
                return pool.apply(function, given)

        if arguments.only in (None, "inputs"):
            found = [run(attack, name, arguments.first, n) for name, n in counts.items()]
            print("\n".join(rows_of_attacks(found)), flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if arguments.only in (None, "flips"):
            print(FLIPS_ROW.format("file", "bytes", "flips", "missed", "prefixes", "decoded"))
            print(run(flips_of_small_files), flush=True)
            for path in sorted(SAMPLES.glob("*.vqc")):
                print(run(flips_of_sample, path), flush=True)
        if arguments.only in (None, "bombs"):
            print(f"{'bomb':<44}{'bytes':>12}{'end':>14}{'CPU':>10}{'memory':>10}")
            for name in BOMBS:
                one = run(explode, name, run(make_bomb, name))  # the memory of its making is not counted
                print(f"{name:<44}{one['bytes']:>12,}{one['end']:>14}{one['ms']:>7.0f} ms{one['mb']:>7} MB", flush=True)


if __name__ == "__main__":
    sys.exit(main())
