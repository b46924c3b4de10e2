"""`vqcodec batch`: the tree, conversion and skipping of files, names, options, and decoding of the results."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vqcodec
from vqcodec.cli.batch.manifest import MANIFEST, Manifest
from vqcodec.cli.batch.plan import list_sources, target_names

from ..trees import Run, lines, touch, tree


def test_the_tree_is_mirrored(run_batch: Run, src: Path, dst: Path, tiny_model: str) -> None:
    before = tree(src)
    code, stdout, stderr = run_batch()
    assert (code, stdout) == (0, "")
    assert "done 3, skipped 0, failed 0, ignored 1 (.txt 1)" in stderr
    assert "--to png" not in stderr
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


def test_what_is_done_is_skipped_and_leaves_no_trace(run_batch: Run, dst: Path) -> None:
    run_batch()
    before, times = (dst / MANIFEST).read_bytes(), {p: p.stat().st_mtime_ns for p in dst.rglob("*")}
    code, _, stderr = run_batch()
    assert code == 0
    assert "done 0, skipped 3" in stderr
    assert run_batch("-f", "--quiet") == (0, "", "")
    assert (dst / MANIFEST).read_bytes() == before
    assert {p: p.stat().st_mtime_ns for p in dst.rglob("*")} == times


def test_changed_sources_and_settings_are_done_again(run_batch: Run, src: Path, dst: Path, tiny_model: str) -> None:
    run_batch()
    Image.open(src / "one.png").rotate(180).save(src / "one.png")
    touch(src / "one.png", -3600)  # changed, though older than its target
    assert json.loads(run_batch("--json")[1])["done"] == 1
    assert (dst / "one.vqc").read_bytes() == vqcodec.encode(src / "one.png", tiny_model)
    assert json.loads(run_batch("--json", "--keep", 2)[1])["done"] == 3
    assert vqcodec.inspect((dst / "one.vqc").read_bytes()).layers[2:] == ()
    assert json.loads(run_batch("--json", "--keep", 2, "--effort", 6)[1])["skipped"] == 3
    assert json.loads(run_batch("--json", "--keep", 2, "--effort", 9)[1])["done"] == 3


def test_colliding_names_are_both_kept(run_batch: Run, src: Path, dst: Path) -> None:
    Image.open(src / "one.png").save(src / "one.jpg")
    assert run_batch()[0] == 0
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


def test_a_dry_run_writes_nothing(run_batch: Run, src: Path, dst: Path) -> None:
    code, stdout, _ = run_batch("--dry-run")
    assert code == 0
    assert not dst.exists()
    assert stdout.splitlines()[2] == "new     one.png -> one.vqc"
    run_batch()
    touch(src / "one.png", 5)
    (src / "new.png").write_bytes((src / "one.png").read_bytes())
    (dst / "new.vqc").mkdir()
    before = tree(dst), (dst / MANIFEST).read_bytes()
    code, stdout, stderr = run_batch("--dry-run", "--json")
    actions = {file["source"]: file["action"] for file in json.loads(stdout)["files"]}
    assert actions == {"a/b/three.webp": "skip", "a/two.jpg": "skip", "new.png": "fail", "one.png": "replace"}
    assert code == 10
    assert "1 of 4 files would fail" in stderr
    assert (tree(dst), (dst / MANIFEST).read_bytes()) == before


def test_the_manifest_may_lie_elsewhere(run_batch: Run, src: Path, dst: Path, tmp_path: Path) -> None:
    book = tmp_path / "logs" / "run.jsonl"
    run_batch("--manifest", book)
    assert len(book.read_bytes().splitlines()) == 3
    assert not (dst / MANIFEST).exists()
    assert json.loads(run_batch("--manifest", book, "--json", "--keep", 1)[1])["done"] == 3
    assert run_batch("--manifest", tmp_path)[0] == 7
    book.write_text('{"target": "one.vqc", "status": "done", "bytes": "many"}\n{"target": 3}\n')
    assert Manifest(book).done == {}


@pytest.mark.slow
def test_several_processes(run_batch: Run, src: Path, dst: Path) -> None:
    (src / "bad.png").write_bytes(b"no picture")
    code, stdout, stderr = run_batch("-j", 2, "--json", "-v")
    assert code == 10
    assert (json.loads(stdout)["done"], json.loads(stdout)["failed"]) == (3, 1)
    assert sorted(tree(dst)) == ["a/b/three.vqc", "a/two.vqc", "one.vqc"]
    assert "one.png -> one.vqc" in stderr
    assert "bad.png: failed" in stderr


def test_the_way_back(run_batch: Run, invoke: Run, dst: Path, tmp_path: Path) -> None:
    run_batch()
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
def test_names_that_are_not_utf8(run_batch: Run, src: Path, dst: Path) -> None:
    name = os.fsdecode(b"\xff\x1b[31m\n")
    (src / f"{name}.png").write_bytes((src / "one.png").read_bytes())
    (src / f"{name}2.png").write_bytes(b"bad")
    assert "\\x1b[31m\\n.vqc" in run_batch("--dry-run")[1]
    code, stdout, stderr = run_batch("-v", "--json")
    assert code == 10
    assert "\x1b" not in stderr
    assert json.loads(stdout)["failures"][0]["source"] == f"{name}2.png"
    assert (dst / f"{name}.vqc").is_file()
    assert f"{name}.vqc" in {line["target"] for line in lines(dst)}
    assert json.loads(run_batch("--json")[1])["skipped"] == 4


def test_warnings_are_counted_and_kept(run_batch: Run, src: Path, dst: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(src / "two.gif", save_all=True, append_images=frames[1:])
    code, stdout, stderr = run_batch("--json")
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
def test_options_are_checked_before_any_work(run_batch: Run, dst: Path, options: tuple, code: int) -> None:
    found, _, stderr = run_batch(*options)
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


def test_a_tree_of_tokens_names_the_option_that_decodes_it(
    invoke: Callable[..., Any], tmp_path: Path, tiny_vqc: bytes, tiny_model: str
) -> None:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "a.vqc").write_bytes(tiny_vqc)
    code, _, stderr = invoke("batch", tmp_path / "tokens", tmp_path / "pictures", "-m", tiny_model)
    assert code == 0
    assert "no images found; to decode .vqc files add --to png" in stderr
