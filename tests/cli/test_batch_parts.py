"""Parts of `vqcodec batch`: patterns, number of processes, overlap of stages."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path

import pytest

from vqcodec.cli.batch import capacity, pipeline
from vqcodec.cli.batch.capacity import Workforce, workforce
from vqcodec.cli.batch.patterns import Filter
from vqcodec.cli.batch.plan import NEW, Job
from vqcodec.cli.batch.report import size_text
from vqcodec.cli.batch.settings import Settings
from vqcodec.cli.batch.work import Outcome


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.jpg", ["a.jpg", "b/c/a.jpg", ".jpg"], ["a.jpg.png", "ajpg"]),
        ("a?.png", ["ab.png", "x/a1.png"], ["a.png", "a/.png", "abc.png"]),
        ("x/*.png", ["x/a.png"], ["y/x/a.png", "x/y/a.png"]),
        ("x/**/*.png", ["x/a.png", "x/y/z/a.png"], ["a.png", "y/x/a.png"]),
        ("**/x/*.png", ["x/a.png", "y/x/a.png"], ["x/y/a.png"]),
        ("x/**", ["x/a.png", "x/y/a.png"], ["x", "y/x/a.png"]),
        ("/a.png", ["a.png"], ["x/a.png"]),
        ("thumbs/", ["thumbs", "x/thumbs"], ["thumbs2"]),
        ("[ab].[!p]*", ["a.jpg", "x/b.tif"], ["a.png", "c.jpg"]),
        ("a(b)+{c}.png", ["a(b)+{c}.png"], ["ab.png"]),
    ],
)
def test_patterns(pattern: str, matching: list[str], other: list[str]) -> None:
    chosen = Filter(exclude=[pattern])
    assert [name for name in (*matching, *other) if chosen.excludes(name)] == matching


def test_a_pattern_includes_all_of_a_folder() -> None:
    chosen = Filter(include=["x", "*.tif"])
    assert [name for name in ("x/y/a.png", "y/x/a.png", "xx/a.png", "b.tif", "x") if chosen.includes(name)] == [
        "x/y/a.png",
        "y/x/a.png",
        "b.tif",
        "x",
    ]
    assert Filter().includes("a")
    assert not Filter().excludes("a")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 8 cores and 16 GB."""
    monkeypatch.setattr(capacity, "usable_processors", lambda: 8)
    monkeypatch.setattr(capacity, "free_memory", lambda: 2**34)


@pytest.mark.parametrize(
    ("files", "jobs", "threads", "device", "expected"),
    [
        (100, 0, 0, "cpu", Workforce(8, 1, True)),
        (3, 0, 0, "cpu", Workforce(3, 2, True)),
        (100, 0, 3, "cpu", Workforce(8, 3, True)),
        (100, 0, 0, "cuda", Workforce(1, 8, True)),
        (100, 2, 0, "cpu", Workforce(2, 4)),
        (1, 2, 0, "cpu", Workforce(1, 8)),
        (100, 20, 0, "cpu", Workforce(20, 1)),
        (100, 1, 1, "cuda:1", Workforce(1, 1)),
    ],
)
def test_processes_and_threads(
    machine: None, files: int, jobs: int, threads: int, device: str, expected: Workforce
) -> None:
    assert workforce(files, jobs, threads, device) == expected


def test_little_memory_means_few_processes(machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "free_memory", lambda: 2 * capacity.WORKER_BYTES + 1)
    assert workforce(100, 0, 0, "cpu").processes == 2
    monkeypatch.setattr(capacity, "free_memory", lambda: 0)
    assert workforce(100, 0, 0, "cpu").processes == 1


class Stages:
    """Stand-in for `Work`: the first file is written, the second coded and the third read at the same time."""

    meeting = threading.Barrier(3)

    def __init__(self, job: Job, _: Settings, __: object) -> None:
        self.job, self.held_bytes = job, 0

    def read(self) -> None:
        self.meet("third")

    def code(self) -> None:
        self.meet("second")

    def write(self) -> Outcome:
        self.meet("first")
        return Outcome(self.job)

    def meet(self, source: str) -> None:
        if self.job.source == source:
            self.meeting.wait(30)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, tmp_path, "png", "", {}, False, "cpu", 1, False)


def take_from(todo: deque[Job]) -> pipeline.Take:
    return lambda _: todo.popleft() if todo else None


def test_stages_of_three_files_overlap(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(pipeline, "Work", Stages)
    names = ["first", "second", "third", "fourth"]
    todo = deque(Job(name, name, NEW) for name in names)
    outcomes = pipeline.pipeline(take_from(todo), settings, lambda: False)
    assert [outcome.job.source for outcome in outcomes] == names


def test_a_stop_drops_what_waits_for_the_model(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    coded: list[str] = []

    class Counted(Stages):
        def code(self) -> None:
            coded.append(self.job.source)

    monkeypatch.setattr(pipeline, "Work", Counted)
    todo = deque(Job(name, name, NEW) for name in "abcdefgh")
    outcomes = pipeline.pipeline(take_from(todo), settings, lambda: len(coded) >= 3)
    assert [outcome.job.source for outcome in outcomes] == coded == ["a", "b", "c"]


def test_sizes_in_words() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 1_234_567, 10**15)] == ["0 B", "999 B", "1 kB", "1.23 MB", "1e+03 TB"]
