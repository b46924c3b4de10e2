"""A run of `vqcodec batch`: recovery of an earlier one, plan, conversion, manifest and summary."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from vqcodec.errors import BatchError, OutputError

from .. import messages
from ..progress import bar
from .checks import check_writable
from .interrupt import Stop, stop_signals
from .manifest import Manifest
from .outcome import Outcome
from .packing import PACKED
from .parts import SHARD
from .plan import FAIL, SKIP, Job, Listing, Planner, listing_of, target_names
from .recovery import Lock, completion, forget, recover
from .remote_tree import Place, RemotePath, RemoteTree, is_inside, open_manifest
from .report import Summary, print_plan, print_summary, say_outcome, update_bar
from .settings import Choices, Settings
from .shards import is_shard


def run_batch(settings: Settings, choices: Choices) -> None:
    """Convert SRC to DST, or print the plan. Raises BatchError if a file failed, KeyboardInterrupt after a signal."""
    if choices.dry_run:
        with closing(_manifest(settings, choices)) as book:
            plan, listing = _plan(settings, choices, book)
        print_plan(plan, listing, choices.json)
        return
    with _locked(settings.dst, choices.quiet) as lock:
        book = _manifest(settings, choices)
        with closing(book):
            recover(settings.dst, book)
            plan, listing = _plan(settings, choices, book)
            with stop_signals(choices.quiet) as stop, completion(settings.dst, book):
                summary = _record_skipped(plan, book, settings.identity)
                _convert([job for job in plan if job.action != SKIP], settings, choices, book, summary, stop, lock)
    print_summary(summary, listing, settings, book.name, len(plan), choices.json, choices.quiet)
    if stop.requested:
        raise KeyboardInterrupt
    fatal = next((outcome.error for outcome in summary.failures if outcome.fatal), None)
    if fatal is not None:
        raise OutputError(fatal)
    if summary.failures:
        if choices.fail_fast:
            raise BatchError(f"stopped at the first failure; run the batch again to continue (details in {book.name})")
        raise BatchError(
            f"{len(summary.failures)} of {len(plan)} files failed; run the batch again to retry only these "
            f"(details in {book.name})"
        )


def _convert(
    todo: list[Job],
    settings: Settings,
    choices: Choices,
    book: Manifest,
    summary: Summary,
    stop: Stop,
    lock: Lock | None,
) -> None:
    """Convert the planned files; each result becomes a line of the manifest and a count of the summary."""
    if not todo:
        return
    check_writable(settings)
    verb = "encoding" if settings.to == "vqc" else "decoding"
    with bar(verb, choices.quiet) as shown, closing(_outcomes(todo, settings, choices, stop, lock)) as outcomes:
        for outcome in outcomes:
            book.append(outcome.line(settings.identity))
            forget(settings.dst, outcome.job.target)
            summary.add(outcome)
            update_bar(shown, verb, summary, len(todo))
            if choices.verbose and not choices.quiet:
                say_outcome(outcome)
            if outcome.fatal or (outcome.error and choices.fail_fast):
                stop.ended = True


def _outcomes(
    todo: list[Job], settings: Settings, choices: Choices, stop: Stop, lock: Lock | None
) -> Generator[Outcome, None, None]:
    if choices.ray is not None:
        from . import ray_pool

        return ray_pool.run(todo, settings, choices.ray, choices.jobs, max(1, choices.threads), stop)
    from .capacity import workforce
    from .pool import run

    return run(todo, settings, workforce(len(todo), choices.jobs, choices.threads, settings.device), stop, lock)


def _manifest(settings: Settings, choices: Choices) -> Manifest:
    book = open_manifest(settings.dst, choices.manifest)
    if choices.resume and not book.done and not choices.quiet:
        messages.say(f"{book.name}: lists no finished file: all files are converted")
    return book


def _plan(settings: Settings, choices: Choices, book: Manifest) -> tuple[list[Job], Listing]:
    src, dst = settings.src, settings.dst
    in_place = is_inside(src, dst)
    listing = listing_of(settings, choices)
    # Decoding in place could replace the original picture of a .vqc file: -f does not allow that.
    force = choices.force and not (in_place and settings.to != "vqc")
    planner = Planner(src, dst, book, settings.identity, force, choices.resume)
    shards = [name for name in listing.sources if settings.shards and is_shard(name)]
    single = sorted({*listing.sources} - {*shards})
    targets = target_names(single, f".{settings.to}", _existing_targets(book, dst))
    packed = settings.to == "tokens"
    targets |= {name: name[: -len(SHARD)] + PACKED if packed else name for name in shards}
    plan = [planner.plan(source, target) for source, target in targets.items()]
    return plan + [Job(folder, "", FAIL, reason) for folder, reason in listing.unreadable], listing


@contextmanager
def _locked(dst: Place, quiet: bool) -> Iterator[Lock | None]:
    """DST, created if need be, for the use of this batch alone; URLs have no lock. Raises OutputError."""
    if isinstance(dst, RemoteTree):
        yield None
        return
    try:
        dst.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{dst}: cannot be created: {error.strerror or error}") from error
    wait = f"{dst}: waiting for processes of an earlier batch to end"
    lock = Lock(dst, lambda: None if quiet else messages.say(wait))
    with closing(lock):
        yield lock


def _existing_targets(book: Manifest, dst: Place) -> dict[str, str]:
    """Source -> target of the outputs of an earlier batch that still exist."""
    return {record.source: target for target, record in book.done.items() if _is_there(dst / target)}


def _is_there(path: Path | RemotePath) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _record_skipped(plan: list[Job], book: Manifest, identity: str) -> Summary:
    """A summary that counts the skipped files; each gets one line in the manifest, unless it has one."""
    summary = Summary()
    for job in plan:
        if job.action == SKIP:
            summary.skipped += 1
            if job.target not in book.done and job.target not in book.skipped:
                book.append({"source": job.source, "target": job.target, "status": "skipped", "settings": identity})
    return summary
