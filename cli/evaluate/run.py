"""Run of an evaluation: worker processes, journal, progress, and a line on stderr for each picture."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .. import messages
from ..progress import bar, is_terminal
from .choices import Codecs
from .report import Outputs

if TYPE_CHECKING:
    from vqcodec.evaluation.comparison import Comparison
    from vqcodec.evaluation.picture_job import PictureResult
    from vqcodec.evaluation.preparation import Preparation


@dataclass(frozen=True)
class Selection:
    """Codecs, metrics and settings, with the meaning of the arguments of `compare`."""

    codecs: Codecs
    models: Sequence[str] | None
    metrics: Sequence[str]
    weights: Sequence[Path]
    anchor: str | None
    bpp_range: tuple[float, float] | None
    by: Literal["quality", "keep"]
    points: int | None
    effort: int
    device: str
    times: bool
    cache: Path | None


@dataclass(frozen=True)
class Pictures:
    """Pictures to measure."""

    paths: Sequence[Path]
    limit: int | None
    max_pixels: int
    preparation: Preparation | None


@dataclass(frozen=True)
class Work:
    """Processes, and what is told meanwhile."""

    workers: int
    threads: int
    n_shown: int
    """Pictures in an .html report."""
    quiet: bool
    verbose: bool


def measure(selection: Selection, pictures: Pictures, outputs: Outputs, work: Work) -> tuple[Comparison, list[str]]:
    """The comparison, and a line for each picture that was skipped."""
    from vqcodec.evaluation import compare
    from vqcodec.evaluation.comparison import Running
    from vqcodec.evaluation.pictures import PictureReader, find

    sources = find(pictures.paths)
    workers = min(work.workers, len(sources))
    threads = work.threads * work.workers // workers
    with telling_of_journal(outputs.journal, work.quiet), bar("measuring", work.quiet) as state:
        teller = Teller(len(sources), work.verbose or not is_terminal(), work.quiet)
        reader = PictureReader(
            sources,
            pictures.limit,
            pictures.max_pixels,
            preparation=pictures.preparation,
            on_skip=None if work.quiet else lambda reason: messages.say(f"warning: skipped: {reason}"),
        )
        running = Running(
            workers,
            threads,
            outputs.journal,
            lambda done, total: state.update(done / total, note=f"{teller.done}/{teller.total} pictures"),
            teller.finished,
        )
        comparison = compare(
            reader,
            (selection.models if selection.codecs.with_models else ()),
            selection.codecs.specs,
            metrics=selection.metrics,
            weights=selection.weights,
            anchor=selection.anchor,
            bpp_range=selection.bpp_range,
            by=selection.by,
            points=selection.points,
            effort=selection.effort,
            device=selection.device,
            curves=outputs.plot is not None or outputs.has_page,
            times=selection.times,
            cache=selection.cache,
            n_shown=work.n_shown if outputs.has_page else 0,
            running=running,
        )
    return comparison, reader.skipped


@contextmanager
def telling_of_journal(journal: Path | None, quiet: bool) -> Iterator[None]:
    """Tell, when interrupted, that finished pictures are kept."""
    try:
        yield
    except KeyboardInterrupt:
        if journal is not None and journal.exists() and not quiet:
            messages.say(f"finished pictures are kept in {journal}: the same command continues")
        raise


class Teller:
    """Lines on stderr about finished pictures.

    Args:
        total: pictures.
        each: True for a line about every picture, not only about failures.
        quiet: True for no line at all.
    """

    def __init__(self, total: int, each: bool, quiet: bool) -> None:
        self.total = total
        self.each = each
        self.quiet = quiet
        self.done = 0
        self._start = time.perf_counter()
        self._new = 0

    def finished(self, result: PictureResult, known: bool) -> None:
        """Tell that a picture is done; `known` if an earlier run had measured it."""
        self.done += 1
        self._new += not known
        if self.quiet:
            return
        for failure in result.failures:
            messages.say(f"warning: failed: {failure}")
        if self.each:
            where = "from the interrupted run" if known else f"{len(result.rows)} files{self._left()}"
            messages.say(f"{self.done}/{self.total} {result.picture}: {where}")

    def _left(self) -> str:
        from ..progress import clock

        if self.done == self.total:
            return ""
        seconds = (time.perf_counter() - self._start) / self._new * (self.total - self.done)
        return f", {clock(seconds)} left"


def verdict_of(comparison: Comparison) -> list[str]:
    """The lines of the verdict."""
    from vqcodec.evaluation.verdict import verdict

    names = list(comparison.codecs)
    return verdict(comparison.rows, comparison.summaries, names, comparison.metrics, comparison.anchor)
