"""Progress bars on stderr: share of the work done, megapixels per second and time left.

A bar appears on a terminal only, after the first second; until then rich is not imported. It disappears at the end. The
cursor stays visible, so an interrupted, stopped or killed command leaves nothing to repair.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vqcodec.runtime.progress import WorkDone, observing

from .messages import clean

if TYPE_CHECKING:
    from rich.progress import Progress

DELAY_S = 1.0
"""Seconds of work before a bar appears."""
REFRESH_S = 0.125
"""Seconds between two updates of a bar."""
LEAST_SHARE = 0.01
"""Share of the work from which on the time left is estimated."""


@dataclass
class Bar:
    """State of a bar; `bar` shows it. Set its fields at any time, from any thread."""

    title: str
    """Text in front, such as "encoding lake.png"; cut where it is long."""
    share: float = 0.0
    """Share of the work that is done, 0..1."""
    pixels: float = 0.0
    """Pixels done; 0: no rate is shown."""
    note: str = ""
    """Text at the end, such as "2 failed"."""
    start: float = field(default_factory=time.perf_counter)
    _changed: float = 0.0
    """Time of the last change of `share`."""

    def update(self, share: float, pixels: float = 0.0, note: str | None = None) -> None:
        """Set the share, 0..1, the pixels done, and the note if given."""
        if share != self.share:
            self._changed = time.perf_counter()
        self.share, self.pixels = share, pixels
        self.note = self.note if note is None else note

    def seconds_left(self) -> float | None:
        """Estimate by the time that the share has taken; None where that is too early."""
        if self.share < LEAST_SHARE:
            return None
        end = self.start + (self._changed - self.start) / self.share
        return max(0.0, end - time.perf_counter())

    def rate(self) -> str:
        """Text such as "1.24 MP/s"; empty without pixels."""
        if not self.pixels:
            return ""
        rate = self.pixels / 1e6 / max(self._changed - self.start, 1e-3)
        return f"{rate:.3g} MP/s"


@contextmanager
def bar(title: str, quiet: bool = False) -> Iterator[Bar]:
    """A bar that shows the state yielded, from DELAY_S on; none if `quiet` or without a terminal."""
    state = Bar(title)
    if quiet or not is_terminal():
        yield state
        return
    display = _Display(state)
    display.start()
    try:
        yield state
    finally:
        display.end()


def is_terminal() -> bool:
    """True where stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


class FileProgress:
    """Progress of a command over files, one after another, by their sizes, and within a file by the codec's reports.

    Args:
        verb: present participle, such as "encoding".
        state: the bar.
        sizes: bytes of each file, or any other measure of its work; more than 0.
    """

    def __init__(self, verb: str, state: Bar, sizes: Sequence[float]) -> None:
        self._verb, self._state, self._sizes = verb, state, sizes
        self._done = self._pixels_before = 0
        self.pixels = 0
        """Pixels of the file in work; 0 until set."""

    @contextmanager
    def file(self, name: str) -> Iterator[None]:
        """Progress of the next file inside."""
        before, own, whole = sum(self._sizes[: self._done]), self._sizes[self._done], sum(self._sizes)

        def show(share: float) -> None:
            self._state.update((before + share * own) / whole, self._pixels_before + share * self.pixels)

        place = "" if len(self._sizes) == 1 else f"{self._done + 1}/{len(self._sizes)} "
        self._state.title = f"{self._verb} {place}{name}"
        try:
            with observing(WorkDone(show)):
                yield
        finally:
            show(1.0)
            self._done, self._pixels_before, self.pixels = self._done + 1, self._pixels_before + self.pixels, 0


@contextmanager
def counted(title: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that is counted, and the function of (done, in all) that advances it."""
    with bar(title, quiet) as state:

        def advance(done: int, total: int) -> None:
            state.update(done / max(total, 1), note=f"{done:,}/{total:,}")

        yield advance


@contextmanager
def file_bar(verb: str, sources: Sequence[Path], quiet: bool, json: bool = False) -> Iterator[FileProgress]:
    """A bar for files; see FileProgress. None if `json` is printed on a terminal, whose lines it would mix."""
    with bar(verb, quiet or (json and sys.stdout is not None and sys.stdout.isatty())) as state:
        yield FileProgress(verb, state, [_size(source) for source in sources])


def _size(source: Path) -> int:
    """Bytes of a file, at least 1; 1 where they are not known."""
    try:
        return max(1, source.stat().st_size)
    except OSError:
        return 1


class _Display:
    """Thread that shows a bar from DELAY_S on."""

    def __init__(self, state: Bar) -> None:
        self._state, self._stop, self._is_shown, self._lock = state, threading.Event(), False, threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start to wait."""
        self._thread.start()

    def end(self) -> None:
        """Remove the bar. One that is about to appear never does, and the import of rich is not waited for."""
        with self._lock:
            self._stop.set()
        if self._is_shown:
            self._thread.join()

    def _run(self) -> None:
        if self._stop.wait(DELAY_S):
            return
        shown = _progress()
        with self._lock:
            self._is_shown = not self._stop.is_set()
        if self._is_shown:
            with suppress(OSError), shown:  # OSError: the terminal is gone
                self._refresh(shown)

    def _refresh(self, shown: Progress) -> None:
        state, task = self._state, shown.add_task("", total=1.0, rate="", left="", note="")
        while True:
            left = state.seconds_left()
            shown.update(
                task,
                description=clean(state.title),
                completed=state.share,
                rate=state.rate(),
                left="" if left is None else f"{clock(left)} left",
                note=clean(state.note),
            )
            shown.refresh()
            if self._stop.wait(REFRESH_S):
                return


def clock(seconds: float) -> str:
    """Text such as "0:07", "12:30" or "1:02:03"."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def _progress() -> Progress:
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    class Visible(Console):
        """Console that never hides the cursor: a killed or stopped command could not show it again."""

        def show_cursor(self, show: bool = True) -> bool:
            return False

    def cut(ratio: int | None = None) -> Column:
        return Column(no_wrap=True, overflow="ellipsis", ratio=ratio)

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False, table_column=cut(ratio=3)),
        progress.BarColumn(bar_width=None, table_column=cut(ratio=4)),
        progress.TextColumn("{task.percentage:>3.0f} %", markup=False),
        progress.TextColumn("{task.fields[rate]}", markup=False),
        progress.TextColumn("{task.fields[left]}", markup=False),
        progress.TextColumn("{task.fields[note]}", markup=False, table_column=cut()),
        console=Visible(stderr=True),
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        expand=True,
    )
