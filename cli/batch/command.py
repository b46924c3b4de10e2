"""`vqcodec batch`: options, checks before any work, and the loop over the planned files.

A batch continues after a file that fails, skips what an earlier run has done, and may use several processes.
"""

from __future__ import annotations

import hashlib
import json as jsonlib
import os
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from vqcodec.errors import BatchError, InputError, OutputError, UsageError

from .. import messages, options
from .interrupt import stop_signals
from .manifest import MANIFEST, Manifest
from .plan import FAIL, SKIP, Job, Planner, list_sources, target_names
from .report import Summary, print_plan, print_summary, progress_bar, say_outcome
from .work import Outcome, Settings


class To(StrEnum):
    """Format that a batch writes."""

    vqc = "vqc"
    png = "png"
    jpg = "jpg"
    webp = "webp"


def batch(
    src: Annotated[Path, typer.Argument(metavar="SRC", show_default=False, help="Folder to read, recursively.")],
    dst: Annotated[
        Path, typer.Argument(metavar="DST", show_default=False, help="Folder to write, with the folders of SRC.")
    ],
    to: Annotated[To, typer.Option("--to", help="vqc encodes pictures; png, jpg and webp decode .vqc files.")] = To.vqc,
    model: options.ModelName = None,
    quality: options.Quality = None,
    bpp: options.Bpp = None,
    target_size: options.TargetSize = None,
    min_quality: options.MinQuality = None,
    keep: options.KeepOfModel = None,
    effort: options.Effort = options.DEFAULT_EFFORT,
    strip: options.Strip = False,
    keep_times: options.KeepTimes = False,
    strict: options.Strict = False,
    jobs: Annotated[
        int,
        typer.Option("-j", "--jobs", min=1, metavar="N", help="Files at a time, each in its own process; 1 or more."),
    ] = 1,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an interrupted batch: skip what the manifest lists, even if its source has changed.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; write nothing.")] = False,
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            metavar="FILE",
            show_default=f"DST/{MANIFEST}",
            help="JSON Lines file with a record of each file.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "-f", "--force", help="Also overwrite files that no batch has made, and outputs that were changed."
        ),
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

    DST gets the folders of SRC. A second run converts what is new or has changed: finished files are skipped, outputs
    of an earlier batch are replaced, and files that no batch has made are never overwritten without -f.

    Hidden files, linked folders and files of other kinds are ignored. a.jpg becomes a.vqc; if there is an a.png too,
    they become a.jpg.vqc and a.png.vqc, but a source that an earlier batch has named keeps its name.

    Without -m the model is chosen for each picture, as by encode.

    A file that fails does not end the batch; it is named at the end, and the exit code is 10. Ctrl-C ends the batch
    after the files in work, with exit code 130.

    JSON keys: done, skipped, ignored, failed, left (files), bytes_in, bytes_out, seconds, with_warnings (files),
    ignored_kinds, failures (each: source, error, exit_code), manifest.
    """
    from vqcodec.image.files import suffixes

    rate = options.parse_rate(quality, bpp, target_size, min_quality, keep)
    settings = Settings(src, dst, to.value, model, rate, strip, device, max_pixels, debug, effort, keep_times, strict)
    identity = _check(settings)
    in_place = os.path.exists(dst) and dst.samefile(src)
    book = Manifest(dst / MANIFEST if manifest is None else manifest)
    if resume and not book.done and not quiet:
        messages.say(f"{book.path}: lists no finished file: all files are converted")
    listing = list_sources(src, dst, suffixes() if to is To.vqc else {".vqc"})
    # Decoding in place could replace the original picture of a .vqc file: -f does not allow that.
    planner = Planner(src, dst, book, identity, force and not (in_place and to is not To.vqc), resume)
    targets = target_names(listing.sources, f".{to}", _existing_targets(book, dst))
    plan = [planner.plan(source, target) for source, target in targets.items()]
    plan += [Job(folder, "", FAIL, reason) for folder, reason in listing.unreadable]
    if dry_run:
        print_plan(plan, listing, json)
        return
    from .pool import run

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with closing(book), stop_signals(quiet) as stop:
        summary = _record_skipped(plan, book, identity)
        todo = [job for job in plan if job.action != SKIP]
        workers = max(1, min(jobs, len(todo)))
        outcomes = run(todo, settings, workers, threads or max(1, cores // jobs), stop)
        bar = progress_bar("encoding" if to is To.vqc else "decoding", shown=bool(todo) and not quiet)
        with closing(outcomes), bar:
            task = bar.add_task("", total=len(todo), bad="")
            for outcome in outcomes:
                book.append(_line(outcome, identity))
                summary.add(outcome)
                bar.update(task, advance=1, bad=f"{len(summary.failures)} failed" if summary.failures else "")
                if verbose and not quiet:
                    say_outcome(outcome)
    print_summary(summary, listing, book.path, len(plan), json, quiet)
    if stop.requested:
        raise KeyboardInterrupt
    if summary.failures:
        raise BatchError(
            f"{len(summary.failures)} of {len(plan)} files failed; run the batch again to retry only these "
            f"(details in {book.path})"
        )


def _check(settings: Settings) -> str:
    """Refuse options that fail for every file; returns the digest of what determines the bytes of a target."""
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
            raise UsageError(f"{given[0]} is for --to vqc only")
        return _digest({"to": settings.to})
    from vqcodec.encoder.size_options import check_size_options
    from vqcodec.models import loading, registry
    from vqcodec.models.ladder import at_quality, possible

    candidates = registry.candidates(settings.model)
    check_size_options(candidates, **settings.rate)
    names = possible(candidates, **settings.rate)
    for name in names:
        loading.load_model(name)  # a damaged model is one error instead of one per file
    if settings.rate["quality"] is not None:  # the digest holds the step, since a model's ladder may change
        step = at_quality(candidates, settings.rate["quality"])[1]
        rates |= {"-q": None, "--keep": step.keep} | ({"rate": step.lmbda} if step.lmbda != 1 else {})
    digests = [candidates[name].weights_sha256 for name in names]
    made_by = digests[0] if len(digests) == 1 else digests
    more = {} if settings.effort == options.DEFAULT_EFFORT else {"effort": settings.effort}
    return _digest({"to": "vqc", "model": made_by, "strip": settings.strip} | rates | more)


def _existing_targets(book: Manifest, dst: Path) -> dict[str, str]:
    """Source -> target of the outputs of an earlier batch that still exist."""
    return {record.source: target for target, record in book.done.items() if os.path.lexists(dst / target)}


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(jsonlib.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _record_skipped(plan: list[Job], book: Manifest, identity: str) -> Summary:
    """A summary that counts the skipped files; each gets one line in the manifest, unless it has one."""
    summary = Summary()
    for job in plan:
        if job.action == SKIP:
            summary.skipped += 1
            if job.target not in book.done and job.target not in book.skipped:
                book.append({"source": job.source, "target": job.target, "status": "skipped", "settings": identity})
    return summary


def _line(outcome: Outcome, identity: str) -> dict[str, Any]:
    """The outcome as a line of the manifest."""
    line: dict[str, Any] = {"source": outcome.job.source, "target": outcome.job.target, "settings": identity}
    line["seconds"] = round(outcome.seconds, 3)
    if outcome.error:
        return line | {"status": "failed", "error": outcome.error, "exit_code": outcome.exit_code}
    return line | {
        "status": "done",
        "model": outcome.model,
        "bytes": outcome.bytes,
        "bpp": round(outcome.bpp, 5),
        "sha256": outcome.sha256,
        "source_size": outcome.source_size,
        "source_mtime_ns": outcome.source_mtime_ns,
        "warnings": list(outcome.warnings),
    }
