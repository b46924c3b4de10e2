"""Coverage-guided fuzzing of one target by atheris: `python -m tests.fuzz.guided TARGET FOLDER [libFuzzer options]`.

FOLDER gets the corpus, the inputs that failed, and figures.json. Half of the inputs are structured mutations, the other
half are libFuzzer's with checksums repaired. An undocumented error or an input that takes over SLOW seconds of
processor time is written down, and the run goes on.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

import atheris

SLOW = 2.0
"""Seconds of processor time of one input that count as a hang."""
REPORT = 500
"""Inputs between two writings of the figures."""


class Figures:
    """Counts of a run, and the failures, each kind once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.start = folder, time.monotonic()
        self.inputs = self.accepted = 0
        self.slowest = 0.0
        self.failures: dict[str, str] = {}

    def fail(self, kind: str, data: bytes) -> None:
        """Write down the first input of a kind of failure."""
        if kind not in self.failures:
            name = f"failure-{hashlib.sha256(data).hexdigest()[:12]}"
            (self.folder / name).write_bytes(data)
            self.failures[kind] = name
            self.write()

    def write(self) -> None:
        """Write figures.json."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        figures = {
            "inputs": self.inputs,
            "accepted": self.accepted,
            "seconds": round(time.monotonic() - self.start, 1),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "slowest_seconds": round(self.slowest, 3),
            "peak_megabytes": used.ru_maxrss // 1024,
            "failures": self.failures,
        }
        (self.folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Run one target."""
    name, folder, *options = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as base:
        with atheris.instrument_imports(include=["vqcodec"]):
            from . import targets

            targets.setup(Path(base))
            target = targets.target(name)
            for data in target.seeds():
                target.run(data)  # imports all that is imported late
                (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        figures = Figures(folder)

        def run(data: bytes) -> None:
            figures.inputs += 1
            started = time.process_time()
            try:
                target.run(data)
                figures.accepted += 1
            except target.errors:
                pass
            except Exception as error:
                figures.fail(f"{type(error).__name__}: {_place(error)}: {str(error)[:120]}", data)
            taken = time.process_time() - started
            figures.slowest = max(figures.slowest, taken)
            if taken > SLOW:
                figures.fail(f"{taken:.0f} seconds", data)
            if figures.inputs % REPORT == 0:
                figures.write()

        def mutate(data: bytes, max_size: int, seed: int) -> bytes:
            random = Random(seed)
            if random.random() < 0.5:
                try:
                    return target.mutated(data, random)[:max_size]
                except Exception:  # structured mutation needs an input of the right structure
                    pass
            return target.repaired(atheris.Mutate(data, max_size))[:max_size]

        longest = max(map(len, target.seeds()))
        libfuzzer = [
            f"-max_len={2 * longest}",
            "-timeout=60",
            "-rss_limit_mb=4096",
            "-print_final_stats=1",
            "-verbosity=1",
        ]
        atheris.Setup([sys.argv[0], *libfuzzer, *options, str(corpus)], run, custom_mutator=mutate)
        atheris.Fuzz()


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-2:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


if __name__ == "__main__":
    main()
