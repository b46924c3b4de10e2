"""`vqcodec batch` with bad files, foreign targets, exhausted memory, dying processes and interruptions."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vqcodec.cli.batch import pipeline, pool, work
from vqcodec.cli.batch.capacity import Workforce
from vqcodec.cli.batch.manifest import MANIFEST, Manifest
from vqcodec.cli.batch.plan import NEW, Job
from vqcodec.cli.batch.settings import Settings
from vqcodec.errors import LimitError, OutputError

from ..trees import Run, lines, touch, tree


def test_a_bad_file_does_not_end_it(run_batch: Run, src: Path, dst: Path) -> None:
    (src / "a" / "bad.png").write_bytes((src / "one.png").read_bytes()[:200])
    (src / "gone.jpg").symlink_to("nowhere")
    code, stdout, stderr = run_batch("--json")
    summary = json.loads(stdout)
    assert code == 10
    assert len(tree(dst)) == 3
    assert (summary["done"], summary["failed"], summary["ignored"], summary["left"]) == (3, 2, 1, 0)
    assert [(one["source"], one["exit_code"]) for one in summary["failures"]] == [("a/bad.png", 3), ("gone.jpg", 3)]
    assert "failed: a/bad.png: damaged" in stderr
    assert "2 of 5 files failed" in stderr
    assert [line["source"] for line in lines(dst) if line["status"] == "failed"] == ["a/bad.png", "gone.jpg"]
    (src / "one.png").replace(src / "a" / "bad.png")  # mended, and moved: the next run does that one alone
    (src / "gone.jpg").unlink()
    assert json.loads(run_batch("--json")[1])["done"] == 1


def test_files_of_others_are_never_overwritten(run_batch: Run, src: Path, dst: Path) -> None:
    (dst / "a").mkdir(parents=True)
    (dst / "one.vqc").write_bytes(b"mine")
    touch(dst / "one.vqc", -3600)
    (dst / "a" / "two.vqc").write_bytes(b"mine too")
    touch(dst / "a" / "two.vqc", 3600)
    code, stdout, _ = run_batch("--json")
    summary = json.loads(stdout)
    assert code == 10
    assert (summary["done"], summary["skipped"], summary["failed"]) == (1, 1, 1)
    assert summary["failures"][0]["exit_code"] == 7
    assert "-f" in summary["failures"][0]["error"]
    assert tree(dst)["one.vqc"] == b"mine"
    assert tree(dst)["a/two.vqc"] == b"mine too"
    run_batch()
    assert [line["status"] for line in lines(dst)].count("skipped") == 1
    assert json.loads(run_batch("--json", "-f")[1])["done"] == 2
    assert all(data.startswith(b"\x8fVQC") for data in tree(dst).values())


def test_outputs_that_somebody_changed_are_not_overwritten(run_batch: Run, src: Path, dst: Path) -> None:
    run_batch()
    changed = (dst / "one.vqc").read_bytes()[:-1] + b"!"
    (dst / "one.vqc").write_bytes(changed)
    touch(src / "one.png", 5)
    code, _, stderr = run_batch()
    assert code == 10
    assert "was changed after a batch made it" in stderr
    assert (dst / "one.vqc").read_bytes() == changed
    assert run_batch("-f")[0] == 0
    assert (dst / "one.vqc").read_bytes() != changed


def test_odd_targets_fail_alone(run_batch: Run, src: Path, dst: Path) -> None:
    dst.mkdir()
    (dst / "a").write_bytes(b"a file")
    (dst / "one.vqc").symlink_to(src / "one.png")
    before = tree(src)
    code, stdout, _ = run_batch("--json", "-f")
    reasons = {one["source"]: one["error"] for one in json.loads(stdout)["failures"]}
    assert code == 10
    assert set(reasons) == {"one.png", "a/two.jpg", "a/b/three.webp"}
    assert "a file exists where a directory is needed" in reasons["a/two.jpg"]
    assert "not a file" in reasons["one.png"]
    assert tree(src) == before
    assert (dst / "a").read_bytes() == b"a file"


def test_a_target_that_changes_meanwhile_is_kept(src: Path, dst: Path, tiny_model: str) -> None:
    dst.mkdir()
    (dst / "one.vqc").write_bytes(b"new")
    settings = Settings(src, dst, "vqc", tiny_model, {}, False, "cpu", 10**6, False)
    outcome = work.convert(Job("one.png", "one.vqc", "replace", "", hashlib.sha256(b"old").hexdigest()), settings)
    assert outcome.exit_code == OutputError.exit_code
    assert "during the batch" in outcome.error
    outcome = work.convert(Job("one.png", "one.vqc", NEW), settings)
    assert outcome.exit_code == OutputError.exit_code
    assert (dst / "one.vqc").read_bytes() == b"new"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 GB")])
def test_exhausted_memory_is_a_limit(
    error: Exception, src: Path, dst: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bytes:
        raise error

    monkeypatch.setattr("vqcodec.api.encode", full)
    settings = Settings(src, dst, "vqc", tiny_model, {}, False, "cpu", 10**6, False)
    outcome = work.convert(Job("one.png", "one.vqc", NEW), settings)
    assert outcome.exit_code == LimitError.exit_code == 6
    assert "out of memory" in outcome.error


def test_resume_after_a_kill(run_batch: Run, src: Path, dst: Path) -> None:
    run_batch()
    whole, book = tree(dst), (dst / MANIFEST).read_bytes().splitlines(keepends=True)
    (dst / MANIFEST).write_bytes(b"garbage\n[1]\n" + book[0] + book[1][:30])  # torn in the middle of a line
    (dst / "a" / "two.vqc").unlink()
    (dst / "one.vqc").unlink()
    touch(src / "a/b/three.webp", 5)  # trusted all the same
    code, stdout, _ = run_batch("--resume", "--json")
    assert code == 0
    assert (json.loads(stdout)["done"], json.loads(stdout)["skipped"]) == (2, 1)
    assert tree(dst) == whole
    found = (dst / MANIFEST).read_bytes().splitlines()
    assert len(found) == 6
    assert set(Manifest(dst / MANIFEST).done) == set(whole)
    assert json.loads(run_batch("--json")[1])["done"] == 1


def test_resume_redoes_what_is_not_whole(run_batch: Run, dst: Path) -> None:
    code, _, stderr = run_batch("--resume")
    assert code == 0
    assert "lists no finished file" in stderr
    (dst / "one.vqc").unlink()
    assert json.loads(run_batch("--resume", "--json")[1])["done"] == 1


def die_at_bad(take: pipeline.Take, _: Settings, __: Callable[[], bool]) -> Iterator[work.Outcome]:
    """Conversion whose process is killed at the file `bad`."""
    while (job := take(True)) is not None:
        if job.source == "bad":
            os.kill(os.getpid(), signal.SIGKILL)
        yield work.Outcome(job)


@pytest.mark.slow
def test_a_process_that_dies_loses_only_its_file(tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path, "png", "", {}, False, "cpu", 1, False)
    jobs = [Job(name, name, NEW) for name in ("a", "bad", *"cdefghi")]
    found = list(pool.run(jobs, settings, Workforce(2, 1), lambda: False, None, die_at_bad))
    outcomes = {one.job.source: one for one in found}
    assert len(found) == len(jobs)
    assert {name for name, one in outcomes.items() if one.error} == {"bad"}
    assert outcomes["bad"].exit_code == LimitError.exit_code
    assert "its process died" in outcomes["bad"].error


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the processes of Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_fails_no_file(number: int, src: Path, dst: Path, tiny_model: str) -> None:
    """A terminal sends Ctrl-C to the workers too, here as soon as the first of them exists."""
    command = [sys.executable, "-m", "vqcodec.cli", "batch", str(src), str(dst), "-m", tiny_model, "-j", "2"]
    default = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731 - may be ignored outside
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=default) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until = time.monotonic() + 60
        # The first child is the tracker of multiprocessing, the second one a worker.
        while process.poll() is None and time.monotonic() < until:
            if len(children.read_text().split()) >= 2:
                break
            time.sleep(0.01)
        os.killpg(process.pid, number)
        stderr = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "died" not in stderr
    assert "left" in stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_whole_files(number: int, src: Path, dst: Path, tiny_model: str) -> None:
    for i in range(1000):
        (src / f"{i}.png").write_bytes((src / "one.png").read_bytes())
    command = [sys.executable, "-m", "vqcodec.cli", "batch", str(src), str(dst), "-m", tiny_model]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while not (dst / MANIFEST).exists() and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(number)
        stderr = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130
    assert "Traceback" not in stderr
    made = tree(dst)
    assert 0 < len(made) < 1003
    assert {line["target"] for line in lines(dst)} == set(made)
    assert "left" in stderr
