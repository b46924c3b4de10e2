"""Progress bars on a terminal, and none elsewhere."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vqcodec.cli.progress import Bar, FileProgress, bar, clock
from vqcodec.runtime.progress import Part, expect, working

HIDE_CURSOR = "\x1b[?25l"
AT_ONCE = "from vqcodec.cli import progress; progress.DELAY_S = 0.0\n"


class Terminal:
    """A process whose stdin and stderr are a terminal of 80 columns; `seen` is what it has written there."""

    def __init__(self, process: subprocess.Popen[bytes], side: int) -> None:
        self.process, self.side, self.seen = process, side, ""

    def read_until(self, text: str) -> None:
        while text not in self.seen:
            self.seen += self._read()

    def finish(self) -> int:
        while part := self._read():
            self.seen += part
        return self.process.wait(60)

    def _read(self) -> str:
        try:
            return os.read(self.side, 4096).decode(errors="replace")
        except OSError:  # the process has closed its side
            return ""


@contextmanager
def on_terminal(code: str, *arguments: str) -> Iterator[Terminal]:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80", "TERM": "xterm"}
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, env=environment) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            os.close(ours)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


BAR = """
with progress.bar("encoding a.png") as shown:
    shown.update(0.5, 2e6, "2 failed")
    sys.stdin.readline()
print("end", file=sys.stderr)
"""


def test_a_bar_shows_share_rate_time_and_note_and_disappears() -> None:
    with on_terminal("import sys\n" + AT_ONCE + BAR) as terminal:
        terminal.read_until("2 failed")
        os.write(terminal.side, b"\n")
        assert terminal.finish() == 0
    line = next(line for line in re.split(r"[\r\n]+", plain(terminal.seen)) if "2 failed" in line)
    assert re.match(r"encoding a\.png +━+.* 50 % \S+ MP/s \d:\d\d left 2 failed", line), line
    assert HIDE_CURSOR not in terminal.seen
    assert terminal.seen.rindex("\x1b[2K") > terminal.seen.rindex("2 failed")
    assert plain(terminal.seen).endswith("end\r\n")


def test_an_interrupted_command_removes_its_bar() -> None:
    code = "import sys\n" + AT_ONCE + "from vqcodec.cli.main import run; sys.argv = ['vqcodec', *sys.argv[1:]]; run()"
    with on_terminal(code, "encode", "-", "-o", os.devnull) as terminal:
        terminal.read_until("encoding <stdin>")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.finish() == 130
    assert HIDE_CURSOR not in terminal.seen
    last = terminal.seen[terminal.seen.rindex("\x1b[2K") :]
    assert plain(last).strip() == "vqcodec: interrupted"


def test_no_bar_on_a_pipe(tiny_model: str, work: Path) -> None:
    code = AT_ONCE + (
        "import sys; from vqcodec.cli.main import run\n"
        "import atexit; atexit.register(lambda: print('rich' in sys.modules))\n"
        "sys.argv = ['vqcodec', 'encode', 'cat.png', '-m', 'tiny']; run()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=120)
    assert (found.stdout, found.stderr) == (b"False\n", b"")


def test_no_bar_when_quiet(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("vqcodec.cli.progress.is_terminal", lambda: True)
    monkeypatch.setattr("vqcodec.cli.progress._Display", None)
    with bar("encoding", quiet=True) as state:
        state.update(0.5)
    assert capfd.readouterr() == ("", "")


def test_time_left_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("vqcodec.cli.progress.time.perf_counter", lambda: now[0])
    state = Bar("encoding", start=100.0)
    assert (state.seconds_left(), state.rate()) == (None, "")
    now[0] = 110
    state.update(0.25, 5e6)
    assert state.seconds_left() == pytest.approx(30)
    assert state.rate() == "0.5 MP/s"
    now[0] = 120
    state.update(0.25, 5e6)  # nothing new: the time left runs down, the rate stays
    assert state.seconds_left() == pytest.approx(20)
    assert state.rate() == "0.5 MP/s"
    now[0] = 190
    assert state.seconds_left() == 0


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (67, "1:07"), (3599.7, "1:00:00"), (7325, "2:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_files_count_by_size_and_failures_too() -> None:
    state = Bar("")
    progress = FileProgress("encoding", state, [300, 100])

    def fail() -> None:
        with progress.file("a.png"):
            progress.pixels = 100
            expect(Part.DECODER, 3)
            with working(Part.DECODER, 1):
                pass
            assert state.title == "encoding 1/2 a.png"
            assert (state.share, state.pixels) == pytest.approx((0.25, 100 / 3))
            raise RuntimeError("damaged")

    with pytest.raises(RuntimeError, match="damaged"):
        fail()
    assert (state.share, state.pixels) == (0.75, 100)
    with progress.file("b.png"):
        progress.pixels = 50
        assert (state.title, state.share) == ("encoding 2/2 b.png", 0.75)
    assert (state.share, state.pixels) == (1, 150)
