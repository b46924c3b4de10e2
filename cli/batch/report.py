"""Messages of `vqcodec batch`: progress and summary on stderr, JSON and the plan of a dry run on stdout."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from vqcodec.errors import BatchError

from .. import messages
from ..progress import Bar
from .checks import takes_shards
from .outcome import Outcome
from .plan import FAIL, SKIP, Job, Listing
from .settings import Settings

MAX_FAILURES = 20
"""Failures that the summary names; the manifest has all."""


@dataclass
class Summary:
    """Counts of a batch so far."""

    start: float = field(default_factory=time.perf_counter)
    done: int = 0
    skipped: int = 0
    warned: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    pixels: int = 0
    failures: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one file."""
        if outcome.error:
            self.failures.append(outcome)
            return
        self.failures += [
            Outcome(replace(outcome.job, source=f"{outcome.job.source}/{one.member}"), one.error, one.exit_code)
            for one in outcome.failures
        ]
        self.done += 1
        self.warned += bool(outcome.warnings)
        self.bytes_in += outcome.source_size
        self.bytes_out += outcome.bytes
        self.pixels += outcome.pixels


def update_bar(bar: Bar, verb: str, summary: Summary, total: int) -> None:
    """Show the counts in a bar: files, megapixels and files per second, bytes saved, failures."""
    finished = summary.done + len(summary.failures)
    notes = [f"{finished / max(time.perf_counter() - bar.start, 1e-3):.3g} files/s"]
    if summary.bytes_out < summary.bytes_in:
        notes.append(f"{size_text(summary.bytes_in - summary.bytes_out)} saved")
    if summary.failures:
        notes.append(f"{len(summary.failures)} failed")
    bar.title = f"{verb} {finished:,}/{total:,}"
    bar.update(finished / total, summary.pixels, ", ".join(notes))


def size_text(n_bytes: int) -> str:
    """Text such as "512 B", "1.5 kB" or "23 MB", in powers of 1000."""
    value, units = float(n_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.3g} {units[0]}"


def say_outcome(outcome: Outcome) -> None:
    """Print one line about a finished file on stderr."""
    job = outcome.job
    if outcome.error:
        messages.say(f"{job.source}: failed: {outcome.error}")
        return
    made = f"{outcome.bytes:,} bytes, {outcome.bpp:.3f} bpp" + (f", model {outcome.model}" if outcome.model else "")
    messages.say(f"{job.source} -> {job.target}: {made}, {outcome.seconds:.2f} s")
    messages.warn(Path(job.source), outcome.warnings)


def print_plan(plan: list[Job], listing: Listing, json: bool) -> None:
    """Print the plan on stdout. Raises BatchError if a file would fail."""
    counts = Counter(job.action for job in plan)
    if json:
        files = [
            {"source": job.source, "target": job.target, "action": job.action, "reason": job.reason} for job in plan
        ]
        messages.print_json({"dry_run": True, "files": files, "ignored": dict(listing.ignored)})
    else:
        for job in plan:
            name = job.source if job.action in (SKIP, FAIL) else f"{job.source} -> {job.target}"
            messages.print_line(f"{job.action:8}{name}" + (f": {job.reason}" if job.reason else ""))
    if counts[FAIL]:
        raise BatchError(f"{counts[FAIL]} of {len(plan)} files would fail")


def _say_hints(listing: Listing, settings: Settings) -> None:
    """Print how the files of a SRC without sources are converted."""
    if listing.ignored[".vqc"]:
        messages.say("no images found; to decode .vqc files add --to png")
    if listing.ignored[".tar"] and takes_shards(settings):
        messages.say("nothing to convert outside .tar shards; to convert the pictures in them add --shards")


def print_summary(
    summary: Summary, listing: Listing, settings: Settings, book: str, total: int, json: bool, quiet: bool
) -> None:
    """Print the summary: JSON on stdout, text on stderr."""
    seconds, ignored = time.perf_counter() - summary.start, sum(listing.ignored.values())
    left = total - summary.done - summary.skipped - len(summary.failures)
    if json:
        failures = [
            {"source": one.job.source, "error": one.error, "exit_code": one.exit_code} for one in summary.failures
        ]
        messages.print_json(
            {
                "done": summary.done,
                "skipped": summary.skipped,
                "ignored": ignored,
                "failed": len(failures),
                "left": left,
                "bytes_in": summary.bytes_in,
                "bytes_out": summary.bytes_out,
                "seconds": round(seconds, 3),
                "with_warnings": summary.warned,
                "ignored_kinds": dict(listing.ignored),
                "failures": failures,
                "manifest": book,
            }
        )
    for one in summary.failures[:MAX_FAILURES]:
        messages.say(f"failed: {one.job.source}: {one.error}")
    if len(summary.failures) > MAX_FAILURES:
        messages.say(f"failed: {len(summary.failures) - MAX_FAILURES} more")
    if quiet:
        return
    kinds = ", ".join(f"{kind} {n}" for kind, n in listing.ignored.most_common(5))
    counts = f"done {summary.done}, skipped {summary.skipped}, failed {len(summary.failures)}, ignored {ignored}"
    messages.say(counts + (f" ({kinds})" if kinds else "") + (f", left {left}" if left else ""))
    if not listing.sources:
        _say_hints(listing, settings)
    if summary.done:
        share = f" ({100 * summary.bytes_out / summary.bytes_in:.1f} %)" if summary.bytes_out < summary.bytes_in else ""
        size = f"{summary.bytes_in:,} -> {summary.bytes_out:,} bytes{share}"
        messages.say(f"{size} in {seconds:.1f} s, {seconds / summary.done:.2f} s a file")
    if summary.warned:
        messages.say(f"with warnings {summary.warned}: printed with -v, recorded in {book}")
