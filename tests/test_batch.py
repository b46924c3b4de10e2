"""`vqcodec batch`: the tree, what is done again and what is left alone, bad files, interruptions, and the way back."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from PIL import Image

import vqcodec
from vqcodec.cli import batch as module
from vqcodec.cli import batch_work
from vqcodec.cli.batch_plan import MANIFEST, NEW, Job, Manifest, list_sources, target_names
from vqcodec.errors import LimitError, OutputError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def src(tmp_path: Path, photo: Image.Image) -> Path:
    folder = tmp_path / "photos"
    (folder / "a" / "b").mkdir(parents=True)
    small = photo.resize((48, 32))
    for name in ("one.png", "a/two.jpg", "a/b/three.webp"):
        small.save(folder / name)
    (folder / "note.txt").write_text("not a picture")
    return folder


@pytest.fixture
def dst(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def run(invoke: Run, tiny_model: str, src: Path, dst: Path) -> Run:
    """`run(options...)`: SRC to DST with the tiny model."""
    return lambda *options: invoke("batch", src, dst, "-m", tiny_model, *options)


def tree(folder: Path) -> dict[str, bytes]:
    """Everything but the manifest."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / MANIFEST).read_bytes().splitlines()]


def touch(path: Path, seconds: float) -> None:
    """Move the time of a file."""
    there = path.stat()
    os.utime(path, ns=(there.st_atime_ns, there.st_mtime_ns + int(seconds * 1e9)))


def test_the_tree_is_mirrored(run: Run, src: Path, dst: Path, tiny_model: str) -> None:
    before = tree(src)
    code, stdout, stderr = run()
    assert (code, stdout) == (0, "")
    assert "done 3, skipped 0, failed 0, ignored 1 (.txt 1)" in stderr
    made = tree(dst)
    assert sorted(made) == ["a/b/three.vqc", "a/two.vqc", "one.vqc"]
    assert made["one.vqc"] == vqcodec.encode(src / "one.png", tiny_model)
    assert tree(src) == before
    for line in lines(dst):
        data, source = made[line["target"]], src / line["source"]
        assert line["status"] == "done"
        assert line["bytes"] == len(data)
        assert line["sha256"] == hashlib.sha256(data).hexdigest()
        assert line["bpp"] == pytest.approx(8 * len(data) / (48 * 32), abs=1e-4)
        assert (line["source_size"], line["source_mtime_ns"]) == (source.stat().st_size, source.stat().st_mtime_ns)
        assert line["seconds"] >= 0
        assert line["warnings"] == []


def test_a_bad_file_does_not_end_it(run: Run, src: Path, dst: Path) -> None:
    (src / "a" / "bad.png").write_bytes((src / "one.png").read_bytes()[:200])
    (src / "gone.jpg").symlink_to("nowhere")
    code, stdout, stderr = run("--json")
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
    assert json.loads(run("--json")[1])["done"] == 1


def test_what_is_done_is_skipped_and_leaves_no_trace(run: Run, dst: Path) -> None:
    run()
    before, times = (dst / MANIFEST).read_bytes(), {p: p.stat().st_mtime_ns for p in dst.rglob("*")}
    code, _, stderr = run()
    assert code == 0
    assert "done 0, skipped 3" in stderr
    assert run("-f", "--quiet") == (0, "", "")
    assert (dst / MANIFEST).read_bytes() == before
    assert {p: p.stat().st_mtime_ns for p in dst.rglob("*")} == times


def test_changed_sources_and_settings_are_done_again(run: Run, src: Path, dst: Path, tiny_model: str) -> None:
    run()
    Image.open(src / "one.png").rotate(180).save(src / "one.png")
    touch(src / "one.png", -3600)  # changed, though older than its target
    assert json.loads(run("--json")[1])["done"] == 1
    assert (dst / "one.vqc").read_bytes() == vqcodec.encode(src / "one.png", tiny_model)
    assert json.loads(run("--json", "--keep", 2)[1])["done"] == 3
    assert vqcodec.inspect((dst / "one.vqc").read_bytes()).layers[2:] == ()
    assert json.loads(run("--json", "--keep", 2, "--effort", 5)[1])["skipped"] == 3
    assert json.loads(run("--json", "--keep", 2, "--effort", 9)[1])["done"] == 3


def test_files_of_others_are_never_overwritten(run: Run, src: Path, dst: Path) -> None:
    (dst / "a").mkdir(parents=True)
    (dst / "one.vqc").write_bytes(b"mine")
    touch(dst / "one.vqc", -3600)
    (dst / "a" / "two.vqc").write_bytes(b"mine too")
    touch(dst / "a" / "two.vqc", 3600)
    code, stdout, _ = run("--json")
    summary = json.loads(stdout)
    assert code == 10
    assert (summary["done"], summary["skipped"], summary["failed"]) == (1, 1, 1)
    assert summary["failures"][0]["exit_code"] == 7
    assert "-f" in summary["failures"][0]["error"]
    assert tree(dst)["one.vqc"] == b"mine"
    assert tree(dst)["a/two.vqc"] == b"mine too"
    run()
    assert [line["status"] for line in lines(dst)].count("skipped") == 1
    assert json.loads(run("--json", "-f")[1])["done"] == 2
    assert all(data.startswith(b"\x8fVQC") for data in tree(dst).values())


def test_outputs_that_somebody_changed_are_not_overwritten(run: Run, src: Path, dst: Path) -> None:
    run()
    changed = (dst / "one.vqc").read_bytes()[:-1] + b"!"
    (dst / "one.vqc").write_bytes(changed)
    touch(src / "one.png", 5)
    code, _, stderr = run()
    assert code == 10
    assert "was changed since a batch made it" in stderr
    assert (dst / "one.vqc").read_bytes() == changed
    assert run("-f")[0] == 0
    assert (dst / "one.vqc").read_bytes() != changed


def test_odd_targets_fail_alone(run: Run, src: Path, dst: Path) -> None:
    dst.mkdir()
    (dst / "a").write_bytes(b"a file")
    (dst / "one.vqc").symlink_to(src / "one.png")
    before = tree(src)
    code, stdout, _ = run("--json", "-f")
    reasons = {one["source"]: one["error"] for one in json.loads(stdout)["failures"]}
    assert code == 10
    assert set(reasons) == {"one.png", "a/two.jpg", "a/b/three.webp"}
    assert "a file is where a directory is needed" in reasons["a/two.jpg"]
    assert "not a file" in reasons["one.png"]
    assert tree(src) == before
    assert (dst / "a").read_bytes() == b"a file"


def test_a_target_that_changes_meanwhile_is_kept(src: Path, dst: Path, tiny_model: str) -> None:
    dst.mkdir()
    (dst / "one.vqc").write_bytes(b"new")
    settings = module.Settings(src, dst, "vqc", tiny_model, {}, False, "cpu", 10**6, False)
    outcome = batch_work.convert(Job("one.png", "one.vqc", "replace", "", hashlib.sha256(b"old").hexdigest()), settings)
    assert outcome.exit_code == OutputError.exit_code
    assert "while the batch ran" in outcome.error
    outcome = batch_work.convert(Job("one.png", "one.vqc", NEW), settings)
    assert outcome.exit_code == OutputError.exit_code
    assert (dst / "one.vqc").read_bytes() == b"new"


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 GB")])
def test_want_of_memory_is_a_limit(
    error: Exception, src: Path, dst: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bytes:
        raise error

    monkeypatch.setattr(vqcodec, "encode", full)
    settings = module.Settings(src, dst, "vqc", tiny_model, {}, False, "cpu", 10**6, False)
    outcome = batch_work.convert(Job("one.png", "one.vqc", NEW), settings)
    assert outcome.exit_code == LimitError.exit_code == 6
    assert "out of memory" in outcome.error


def test_colliding_names_are_both_kept(run: Run, src: Path, dst: Path) -> None:
    Image.open(src / "one.png").save(src / "one.jpg")
    assert run()[0] == 0
    assert sorted(tree(dst)) == ["a/b/three.vqc", "a/two.vqc", "one.jpg.vqc", "one.png.vqc"]


def test_targets_are_distinct() -> None:
    assert target_names(["a.b.png", "c"], ".vqc") == {"a.b.png": "a.b.vqc", "c": "c.vqc"}
    names = ["a.jpg", "a.png", "a.jpg.png", "x/a.png", "B.png", "b.jpg", "c.JPG", "c.jpg"]
    targets = target_names(names, ".vqc")
    assert targets == target_names(reversed(names), ".vqc")
    assert len(set(targets.values())) == len(names)
    assert targets["a.jpg.png"] == "a.jpg.png.vqc"
    assert targets["a.jpg"] == "a.jpg.vqc"
    assert targets["x/a.png"] == "x/a.vqc"
    assert targets["B.png"] == "B.png.vqc"


def test_what_is_walked(src: Path, tmp_path: Path) -> None:
    (src / "out").mkdir()
    (src / "out" / "seen.png").touch()
    (src / ".hidden.png").touch()
    (src / "UPPER.PNG").touch()
    (src / "loop").symlink_to(src)
    os.mkfifo(src / "pipe.png")
    listing = list_sources(src, src / "out", {".png", ".jpg"})
    assert listing.sources == ("UPPER.PNG", "a/two.jpg", "one.png")
    assert listing.ignored == {".txt": 1, ".webp": 1, "hidden": 1, "linked folder": 1, ".png": 1}
    assert list_sources(src / "none", src, {".png"}).unreadable[0][0] == "."


def test_dst_may_be_src_or_lie_in_it(invoke: Run, src: Path, tiny_model: str) -> None:
    before = tree(src)
    assert invoke("batch", src, src, "-m", tiny_model)[0] == 0
    assert invoke("batch", src, src / "deep" / "er", "-m", tiny_model)[0] == 0
    assert invoke("batch", src, src / "deep" / "er", "-m", tiny_model, "--json")[1].count('"skipped": 3')
    after = tree(src)
    assert {name: after[name] for name in before} == before
    new = {"one.vqc", "a/two.vqc", "a/b/three.vqc"}
    assert set(after) - set(before) == new | {f"deep/er/{name}" for name in new}
    touch(src / "one.vqc", 3600)
    code, _, stderr = invoke("batch", src, src, "--to", "png", "-f")  # would replace the original one.png
    assert code == 10
    assert "one.vqc" in stderr
    assert (src / "one.png").read_bytes() == before["one.png"]


def test_a_dry_run_writes_nothing(run: Run, src: Path, dst: Path) -> None:
    code, stdout, _ = run("--dry-run")
    assert code == 0
    assert not dst.exists()
    assert stdout.splitlines()[2] == "new     one.png -> one.vqc"
    run()
    touch(src / "one.png", 5)
    (src / "new.png").write_bytes((src / "one.png").read_bytes())
    (dst / "new.vqc").mkdir()
    before = tree(dst), (dst / MANIFEST).read_bytes()
    code, stdout, stderr = run("--dry-run", "--json")
    actions = {file["source"]: file["action"] for file in json.loads(stdout)["files"]}
    assert actions == {"a/b/three.webp": "skip", "a/two.jpg": "skip", "new.png": "fail", "one.png": "replace"}
    assert code == 10
    assert "1 of 4 files would fail" in stderr
    assert (tree(dst), (dst / MANIFEST).read_bytes()) == before


def test_resume_after_a_kill(run: Run, src: Path, dst: Path) -> None:
    run()
    whole, book = tree(dst), (dst / MANIFEST).read_bytes().splitlines(keepends=True)
    (dst / MANIFEST).write_bytes(b"garbage\n[1]\n" + book[0] + book[1][:30])  # torn in the middle of a line
    (dst / "a" / "two.vqc").unlink()
    (dst / "one.vqc").unlink()
    touch(src / "a/b/three.webp", 5)  # trusted all the same
    code, stdout, _ = run("--resume", "--json")
    assert code == 0
    assert (json.loads(stdout)["done"], json.loads(stdout)["skipped"]) == (2, 1)
    assert tree(dst) == whole
    found = (dst / MANIFEST).read_bytes().splitlines()
    assert len(found) == 6
    assert set(Manifest(dst / MANIFEST).done) == set(whole)
    assert json.loads(run("--json")[1])["done"] == 1


def test_resume_redoes_what_is_not_whole(run: Run, dst: Path) -> None:
    code, _, stderr = run("--resume")
    assert code == 0
    assert "lists nothing as done" in stderr
    (dst / "one.vqc").unlink()
    assert json.loads(run("--resume", "--json")[1])["done"] == 1


def test_the_manifest_may_lie_elsewhere(run: Run, src: Path, dst: Path, tmp_path: Path) -> None:
    book = tmp_path / "logs" / "run.jsonl"
    run("--manifest", book)
    assert len(book.read_bytes().splitlines()) == 3
    assert not (dst / MANIFEST).exists()
    assert json.loads(run("--manifest", book, "--json", "--keep", 1)[1])["done"] == 3
    assert run("--manifest", tmp_path)[0] == 7
    book.write_text('{"target": "one.vqc", "status": "done", "bytes": "many"}\n{"target": 3}\n')
    assert Manifest(book).done == {}


def test_several_processes(run: Run, src: Path, dst: Path) -> None:
    (src / "bad.png").write_bytes(b"no picture")
    code, stdout, stderr = run("-j", 2, "--json", "-v")
    assert code == 10
    assert (json.loads(stdout)["done"], json.loads(stdout)["failed"]) == (3, 1)
    assert sorted(tree(dst)) == ["a/b/three.vqc", "a/two.vqc", "one.vqc"]
    assert "one.png -> one.vqc" in stderr
    assert "bad.png: failed" in stderr


def test_a_process_that_dies_takes_only_its_file_along(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The pool is played by one that breaks, with all that is in work, whenever it meets the file "bad"."""
    from concurrent.futures import Future

    class Pool:
        def __init__(self, workers: int, **_: object) -> None:
            self.waiting: list[tuple[Future, Job]] = []
            self.workers = workers

        def submit(self, _: object, job: Job, __: object) -> Future:
            self.waiting.append((Future(), job))
            future = self.waiting[-1][0]
            if len(self.waiting) == self.workers or job.source == "bad":
                broken = any(one.source == "bad" for _, one in self.waiting)
                for waiting, one in self.waiting:
                    if broken:
                        waiting.set_exception(BrokenProcessPool())
                    else:
                        waiting.set_result(batch_work.Outcome(one))
                self.waiting = []
            return future

        def shutdown(self, **_: object) -> None:
            pass

    monkeypatch.setattr(batch_work, "ProcessPoolExecutor", Pool)
    settings = module.Settings(tmp_path, tmp_path, "png", "", {}, False, "cpu", 1, False)
    jobs = [Job(name, name, NEW) for name in ("a", "b", "c", "bad", "d", "e")]
    outcomes = list(batch_work.run(jobs, settings, 2, 1, lambda: False))
    assert sorted(one.job.source for one in outcomes) == ["a", "b", "bad", "c", "d", "e"]
    assert [one.job.source for one in outcomes if one.error] == ["bad"]


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


def test_the_way_back(run: Run, invoke: Run, dst: Path, tmp_path: Path) -> None:
    run()
    for kind, format in {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}.items():
        back = tmp_path / kind
        assert invoke("batch", dst, back, "--to", kind)[0] == 0
        assert sorted(tree(back)) == [f"a/b/three.{kind}", f"a/two.{kind}", f"one.{kind}"]
        with Image.open(back / f"one.{kind}") as image:
            assert (image.format, image.size) == (format, (48, 32))
    wanted = vqcodec.decode((dst / "one.vqc").read_bytes())
    assert Image.open(tmp_path / "png" / "one.png").tobytes() == wanted.tobytes()
    (dst / "one.vqc").write_bytes((dst / "one.vqc").read_bytes()[:-3])
    code, stdout, _ = invoke("batch", dst, tmp_path / "again", "--to", "png", "--json")
    assert code == 10
    assert json.loads(stdout)["failures"][0]["exit_code"] == 4


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names are Unicode there")
def test_names_that_are_not_utf8(run: Run, src: Path, dst: Path) -> None:
    name = os.fsdecode(b"\xff\x1b[31m\n")
    (src / f"{name}.png").write_bytes((src / "one.png").read_bytes())
    (src / f"{name}2.png").write_bytes(b"bad")
    assert "\\x1b[31m\\n.vqc" in run("--dry-run")[1]
    code, stdout, stderr = run("-v", "--json")
    assert code == 10
    assert "\x1b" not in stderr
    assert json.loads(stdout)["failures"][0]["source"] == f"{name}2.png"
    assert (dst / f"{name}.vqc").is_file()
    assert f"{name}.vqc" in {line["target"] for line in lines(dst)}
    assert json.loads(run("--json")[1])["skipped"] == 4


def test_warnings_are_counted_and_kept(run: Run, src: Path, dst: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(src / "two.gif", save_all=True, append_images=frames[1:])
    code, stdout, stderr = run("--json")
    assert code == 0
    assert json.loads(stdout)["with_warnings"] == 1
    assert "with warnings 1" in stderr
    assert any("frames" in text for line in lines(dst) for text in line["warnings"])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("-q", 50, "--keep", 1), 2),
        (("--keep", 9), 2),
        (("--bpp", 0), 2),
        (("--to", "png", "-q", 50), 2),
        (("--to", "png", "--strip"), 2),
        (("--target-size", "much"), 2),
        (("-m", "no-such-model"), 5),
        (("--target-size", "10"), 10),
        (("--min-quality", "psnr=99"), 10),
        (("--target-size", "1k", "--strip"), 0),
        (("-q", 60), 0),
    ],
)
def test_options_are_checked_before_any_work(run: Run, dst: Path, options: tuple, code: int) -> None:
    found, _, stderr = run(*options)
    assert found == code
    assert "Traceback" not in stderr
    assert dst.exists() == (code in (0, 10))


def test_folders_are_checked_before_any_work(invoke: Run, src: Path, tmp_path: Path, tiny_model: str) -> None:
    assert invoke("batch", tmp_path / "none", tmp_path / "out", "-m", tiny_model)[0] == 3
    assert invoke("batch", src / "one.png", tmp_path / "out", "-m", tiny_model)[0] == 3
    assert invoke("batch", src, src / "one.png", "-m", tiny_model)[0] == 7
    empty = tmp_path / "empty"
    empty.mkdir()
    assert invoke("batch", empty, tmp_path / "out", "-m", tiny_model)[0] == 0
