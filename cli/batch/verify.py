"""`vqcodec batch --verify`: the targets of earlier batches against the manifest, and against their sources."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from contextlib import closing

from vqcodec.errors import BatchError, FormatError, OutputError

from .. import messages
from ..progress import bar
from .capacity import workforce
from .interrupt import stop_signals
from .outcome import Outcome
from .pipeline import Take, pipeline
from .plan import Job, listing_of
from .pool import run
from .remote_tree import open_manifest
from .report import MAX_FAILURES, Summary, say_outcome, update_bar
from .settings import Choices, Settings
from .storage import read_source
from .work import Work

CHECK = "check"
"""Action of a job whose target is checked; the job's `replaces` holds its SHA-256."""


class Check(Work):
    """Check of one target: its bytes are those of the manifest, and all indices of a .vqc file decode."""

    def _read(self) -> None:
        self._source = read_source(self.settings.dst, self.job.target, 2**62)
        self.held_bytes = self._source.size
        if hashlib.sha256(self._source.data).hexdigest() != self.job.replaces:
            raise FormatError("its bytes are not those that the batch wrote; delete it and run the batch again")

    def _run_model(self) -> None:
        if self.job.target.endswith(".vqc"):
            from vqcodec import api

            api.verify(self._source.data, self.settings.max_pixels)

    def _write(self) -> Outcome | None:
        return Outcome(self.job, bytes=len(self._source.data))


def checking(take: Take, settings: Settings, stop: Callable[[], bool]) -> Generator[Outcome, None, None]:
    """Outcomes of the checks of the files that `take` gives."""
    return pipeline(take, settings, stop, Check)


def verify_batch(settings: Settings, choices: Choices) -> None:
    """Check every target that the manifest lists, and that every source has one. Writes nothing.

    Raises OutputError without a manifest, BatchError if a file fails, KeyboardInterrupt after a signal.
    """
    with closing(open_manifest(settings.dst, choices.manifest)) as book:
        records, name = book.done, book.name
    if not records:
        raise OutputError(f"{name}: lists no finished file; run the batch first")
    jobs = [Job(record.source, target, CHECK, replaces=record.sha256) for target, record in records.items()]
    summary, recorded = Summary(), {job.source for job in jobs}
    missing = [source for source in listing_of(settings, choices).sources if source not in recorded]
    force = workforce(len(jobs), choices.jobs, choices.threads, settings.device)
    with (
        stop_signals(choices.quiet) as stop,
        bar("checking", choices.quiet) as shown,
        closing(run(jobs, settings, force, stop, None, checking)) as outcomes,
    ):
        for outcome in outcomes:
            summary.add(outcome)
            update_bar(shown, "checking", summary, len(jobs))
            if choices.verbose and outcome.error:
                say_outcome(outcome)
            stop.ended = stop.ended or bool(outcome.error and choices.fail_fast)
    _print(summary, missing, len(jobs), choices)
    if stop.requested:
        raise KeyboardInterrupt
    if summary.failures or missing:
        raise BatchError(
            f"{len(summary.failures)} of {len(jobs)} files are not good, {len(missing)} sources are not converted; "
            "delete the bad files and run the batch again"
        )


def _print(summary: Summary, missing: list[str], total: int, choices: Choices) -> None:
    """Print the result: JSON on stdout, text on stderr."""
    bad = [(one.job.target, one.error, one.exit_code) for one in summary.failures]
    if choices.json:
        failures = [{"target": name, "error": error, "exit_code": code} for name, error, code in bad]
        left = total - summary.done - len(bad)
        messages.print_json({"good": summary.done, "left": left, "missing": missing, "failures": failures})
    lines = [f"bad: {name}: {error}" for name, error, _ in bad] + [f"not converted: {name}" for name in missing]
    for line in lines[:MAX_FAILURES]:
        messages.say(line)
    if len(lines) > MAX_FAILURES:
        messages.say(f"{len(lines) - MAX_FAILURES:,} more")
    if not choices.quiet:
        messages.say(f"good {summary.done:,}, bad {len(bad):,}, not converted {len(missing):,}")
