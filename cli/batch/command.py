"""`vqcodec batch`: a whole tree of pictures to .vqc files, or back, overnight and without anybody watching.

Differs from codec.py: goes on after a bad file, knows what an earlier run has done, and works in several processes.
`batch_plan.py` decides what to do about each file, `batch_work.py` does it, `batch_report.py` tells of it.
"""

from __future__ import annotations

import hashlib
import json as jsonlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from vqcodec.errors import BatchError, InputError, OutputError, UsageError

from .. import options, output
from .plan import FAIL, MANIFEST, SKIP, Job, Manifest, Planner, list_sources, target_names
from .report import Summary, print_plan, print_summary, progress_bar, say_outcome
from .work import Outcome, Settings, run


class To(StrEnum):
    """What a batch writes."""

    vqc = "vqc"
    png = "png"
    jpg = "jpg"
    webp = "webp"


def batch(
    src: Annotated[Path, typer.Argument(metavar="SRC", show_default=False, help="Folder to read, with all below.")],
    dst: Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="Folder that gets the same tree.")],
    to: Annotated[To, typer.Option("--to", help="vqc encodes pictures, the others decode .vqc files.")] = To.vqc,
    model: options.ModelName = None,
    quality: options.Quality = None,
    bpp: options.Bpp = None,
    target_size: options.TargetSize = None,
    min_quality: options.MinQuality = None,
    keep: options.KeepOfModel = None,
    effort: options.Effort = options.DEFAULT_EFFORT,
    strip: options.Strip = False,
    keep_times: options.KeepTimes = False,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, metavar="N", help="Files at a time, a process each.")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after an interruption: trust the manifest, do not look for changes.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done; write nothing.")] = False,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", metavar="FILE", show_default=f"DST/{MANIFEST}", help="Where JSON Lines record it."),
    ] = None,
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Overwrite also outputs that no batch has made, or that were changed.")
    ] = False,
    json: options.Json = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Convert a tree of pictures to .vqc files, or back.

    DST gets the folders of SRC. Run it again for what is new or has changed:
    what is done is skipped, outputs of an earlier batch are replaced,
    files that no batch has made are never overwritten without -f.

    Hidden files, linked folders and files of other kinds are left out.
    a.jpg becomes a.vqc; beside a.png they become a.jpg.vqc and a.png.vqc,
    but what an earlier batch has named keeps its name.

    Without -m the model is chosen for each picture, as encode does it.

    A file that fails does not end it, but is named at the end, exit code 10.
    Ctrl-C ends it after the files in work, exit code 130.

    JSON keys: done, skipped, ignored, failed, left (files), bytes_in, bytes_out,
    seconds, with_warnings (files), ignored_kinds, failures (each: source, error,
    exit_code), manifest.
    """
    from vqcodec.image.files import suffixes

    rate = options.parse_rate(quality, bpp, target_size, min_quality, keep)
    settings = Settings(src, dst, to.value, model, rate, strip, device, max_pixels, debug, effort, keep_times)
    identity = _check(settings)
    here = os.path.exists(dst) and dst.samefile(src)
    book = Manifest(dst / MANIFEST if manifest is None else manifest)
    if resume and not book.done and not quiet:
        output.say(f"{book.path}: lists nothing as done, so all of it is converted")
    listing = list_sources(src, dst, suffixes() if to is To.vqc else {".vqc"})
    # Beside its source a decoded picture may meet the original of that source: -f does not reach that far.
    planner = Planner(src, dst, book, identity, force and not (here and to is not To.vqc), resume)
    plan = [planner.plan(*pair) for pair in target_names(listing.sources, f".{to}", _names_there(book, dst)).items()]
    plan += [Job(folder, "", FAIL, reason) for folder, reason in listing.unreadable]
    if dry_run:
        print_plan(plan, listing, json)
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with closing(book), _stop_signals(quiet) as stop:
        summary = _work(plan, settings, jobs, threads or max(1, cores // jobs), book, identity, stop, quiet, verbose)
    print_summary(summary, listing, book.path, len(plan), json, quiet)
    if stop.asked:
        raise KeyboardInterrupt
    if summary.failures:
        raise BatchError(
            f"{len(summary.failures)} of {len(plan)} files failed; run it again for them alone, details in {book.path}"
        )


def _check(settings: Settings) -> str:
    """Refuse now what would fail for every file; returns the digest of what decides about the bytes of a target."""
    src, dst = settings.src, settings.dst
    if not os.path.isdir(src):
        hint = "not a folder; single files are for `vqcodec encode` and `decode`"
        hint = hint if os.path.exists(src) else "no such folder"
        raise InputError(f"{src}: {hint}")
    if os.path.exists(dst) and not dst.is_dir():
        raise OutputError(f"{dst}: is not a folder")
    rates = {option: settings.rate[key] for option, key in options.RATE.items()}
    if settings.to != "vqc":
        given = [name for name, value in rates.items() if value is not None] + ["--strip"] * settings.strip
        if given:
            raise UsageError(f"{given[0]} goes with --to vqc only")
        return _digest({"to": settings.to})
    from vqcodec.encoder.size_options import check_size_options
    from vqcodec.models import loading, registry
    from vqcodec.models.ladder import at_quality, possible

    candidates = registry.candidates(settings.model)
    check_size_options(candidates, **settings.rate)
    names = possible(candidates, **settings.rate)
    for name in names:
        loading.load_model(name)  # a damaged model is one error, not one for each file
    if settings.rate["quality"] is not None:  # what it means is the ladder's affair, which may change
        step = at_quality(candidates, settings.rate["quality"])[1]
        rates |= {"-q": None, "--keep": step.keep} | ({"rate": step.rate} if step.rate != 1 else {})
    digests = [candidates[name].weights_sha256 for name in names]
    made_by = digests[0] if len(digests) == 1 else digests
    more = {} if settings.effort == options.DEFAULT_EFFORT else {"effort": settings.effort}
    return _digest({"to": "vqc", "model": made_by, "strip": settings.strip} | rates | more)


def _names_there(book: Manifest, dst: Path) -> dict[str, str]:
    """Source -> target of what an earlier batch has made and is still there."""
    return {record.source: target for target, record in book.done.items() if os.path.lexists(dst / target)}


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(jsonlib.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


class Stop:
    """Whether somebody asked to stop; asking twice interrupts."""

    def __init__(self, quiet: bool) -> None:
        self.asked, self.quiet = False, quiet

    def __call__(self) -> bool:
        return self.asked

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handler of a signal."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        if number == signal.SIGINT and not self.quiet:
            os.write(2, b"\nstopping after the files in work; Ctrl-C again stops at once\n")


@contextmanager
def _stop_signals(quiet: bool) -> Iterator[Stop]:
    """Ctrl-C, `kill` and a closed terminal end a batch between two files."""
    stop, before = Stop(quiet), {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays what it is
                before[number] = signal.signal(number, stop.handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _work(
    plan: list[Job], settings: Settings, workers: int, threads: int, book: Manifest, identity: str, stop: Stop,
    quiet: bool, verbose: bool,
) -> Summary:  # fmt: skip
    summary = Summary()
    todo = [job for job in plan if job.action != SKIP]
    for job in plan:
        if job.action == SKIP:
            summary.skipped += 1
            if job.target not in book.done and job.target not in book.skipped:
                book.append({"source": job.source, "target": job.target, "status": "skipped", "settings": identity})
    workers = max(1, min(workers, len(todo)))
    bar = progress_bar("encoding" if settings.to == "vqc" else "decoding", shown=bool(todo) and not quiet)
    outcomes = run(todo, settings, workers, threads, stop)
    with closing(outcomes), bar:  # type: ignore[type-var]
        task = bar.add_task("", total=len(todo), bad="")
        for outcome in outcomes:
            book.append(_line(outcome, identity))
            summary.add(outcome)
            bar.update(task, advance=1, bad=f"{len(summary.failures)} failed" if summary.failures else "")
            if verbose and not quiet:
                say_outcome(outcome)
    return summary


def _line(outcome: Outcome, identity: str) -> dict[str, Any]:
    """The line of the manifest."""
    line: dict[str, Any] = {"source": outcome.job.source, "target": outcome.job.target, "settings": identity}
    line["seconds"] = round(outcome.seconds, 3)
    if outcome.error:
        return line | {"status": "failed", "error": outcome.error, "exit_code": outcome.exit_code}
    return line | {
        "status": "done", "model": outcome.model, "bytes": outcome.bytes, "bpp": round(outcome.bpp, 5),
        "sha256": outcome.sha256, "source_size": outcome.source_size, "source_mtime_ns": outcome.source_mtime_ns,
        "warnings": list(outcome.warnings),
    }  # fmt: skip
