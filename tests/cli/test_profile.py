"""`--profile`: seconds of the parts of a command."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from vqcodec.cli.profile import IMPORTED, PartClock, process_start
from vqcodec.runtime.progress import Part

from ..commands import Invoke


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that `perf_counter` returns."""
    found = [10.0]
    monkeypatch.setattr("vqcodec.cli.profile.time.perf_counter", lambda: found[0])
    return found


def rows(lines: list[str]) -> dict[str, float]:
    """Name of a part -> seconds, of a table with its head."""
    return {line[:22].strip(): float(line[22:31]) for line in lines[1:]}


def test_nested_parts_count_once(now: list[float]) -> None:
    clock = PartClock(start=8.0)
    clock.begin(Part.PICTURE_IN)
    now[0] += 1
    clock.begin(Part.MODEL)
    now[0] += 2
    clock.end(Part.MODEL, 0)
    now[0] += 4
    clock.end(Part.PICTURE_IN, 0)
    now[0] += 8
    found = {part: seconds for part, seconds in clock.seconds.items() if seconds}
    assert found == {Part.START_UP: 2, Part.PICTURE_IN: 5, Part.MODEL: 2}
    expected = {"start-up": 2, "model": 2, "picture in": 5, "other": 8, "total": 17}
    assert rows(clock.table()) == expected


def test_threads_share_each_moment(now: list[float]) -> None:
    clock = PartClock(start=10.0)
    clock.begin(Part.CODING)
    now[0] += 1
    other = threading.Thread(target=clock.begin, args=(Part.DECODER,))
    other.start()
    other.join()
    now[0] += 4
    clock.end(Part.CODING, 5e5)
    assert (clock.seconds[Part.CODING], clock.seconds[Part.DECODER]) == (3, 2)
    assert any("0.5 M indices, 0.167 M indices/s" in line for line in clock.table())


def test_the_process_began_before_the_import() -> None:
    assert process_start() <= IMPORTED < time.perf_counter()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("encode", "cat.png", "-m", "tiny", "-o", "new.vqc"), ("picture in", "network: encoder", "container")),
        (("decode", "kitty.vqc"), ("entropy: coding", "network: decoder", "picture out")),
        (("verify", "kitty.vqc"), ("entropy: coding", "container")),
        (("preview", "kitty.vqc", "-o", "page.html"), ("entropy: coding", "network: decoder", "picture out")),
    ],
    ids=lambda value: value[0],
)
def test_the_table_names_the_parts(work: Path, invoke: Invoke, arguments: tuple[str, ...], parts: tuple[str]) -> None:
    code, out, err = invoke(*arguments, "--profile")
    assert (code, out) == (0, "")
    found = rows(err[err.index("part  ") :].splitlines())
    assert {"start-up", *parts, "other", "total"} <= set(found)
    assert sum(found.values()) == pytest.approx(2 * found["total"], abs=0.01)
