"""`vqcodec batch --verify`, and `--to npz`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

import vqcodec
from vqcodec.cli.batch.manifest import MANIFEST
from vqcodec.tokens.npz import read_arrays

from ..commands import Invoke, fails
from ..trees import Run, tree


def test_good_targets(run_batch: Run, dst: Path) -> None:
    run_batch()
    before = tree(dst), (dst / MANIFEST).read_bytes()
    code, stdout, stderr = run_batch("--verify", "--json")
    assert code == 0
    assert json.loads(stdout) == {"good": 3, "left": 0, "missing": [], "failures": []}
    assert "good 3, bad 0, not converted 0" in stderr
    assert (tree(dst), (dst / MANIFEST).read_bytes()) == before


def test_bad_missing_and_new_files(run_batch: Run, src: Path, dst: Path) -> None:
    run_batch()
    whole = (dst / "one.vqc").read_bytes()
    (dst / "one.vqc").write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    (dst / "a" / "two.vqc").unlink()
    (src / "new.png").write_bytes((src / "one.png").read_bytes())
    code, stdout, stderr = run_batch("--verify", "--json", "-v")
    found = json.loads(stdout)
    assert code == 10
    assert (found["good"], found["missing"]) == (1, ["new.png"])
    assert {one["target"]: one["exit_code"] for one in found["failures"]} == {"one.vqc": 4, "a/two.vqc": 3}
    assert "2 of 3 files are not good, 1 sources are not converted" in stderr
    (dst / "one.vqc").unlink()
    assert run_batch()[0] == 0
    assert run_batch("--verify", "--quiet") == (0, "", "")


def test_a_file_that_was_bad_when_it_was_recorded(run_batch: Run, dst: Path) -> None:
    """A checksum in the manifest cannot vouch for the file: its indices are decoded too."""
    run_batch()
    bad = (dst / "one.vqc").read_bytes()[:-5]
    (dst / "one.vqc").write_bytes(bad)
    lines = [json.loads(line) for line in (dst / MANIFEST).read_bytes().splitlines()]
    for line in lines:
        if line["target"] == "one.vqc":
            line |= {"sha256": hashlib.sha256(bad).hexdigest(), "bytes": len(bad)}
    (dst / MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, stdout, _ = run_batch("--verify", "--json")
    assert code == 10
    assert [one["exit_code"] for one in json.loads(stdout)["failures"]] == [4]


def test_nothing_to_check(run_batch: Run, src: Path, dst: Path) -> None:
    fails(run_batch("--verify"), 7, "lists no finished file")
    assert not dst.exists()


def test_arrays_of_a_tree(run_batch: Run, invoke: Invoke, dst: Path, tmp_path: Path) -> None:
    run_batch()
    assert invoke("batch", dst, tmp_path / "arrays", "--to", "npz")[0] == 0
    made = tree(tmp_path / "arrays")
    assert sorted(made) == ["a/b/three.npz", "a/two.npz", "one.npz"]
    wanted = vqcodec.decode_tokens((dst / "one.vqc").read_bytes())
    for one, other in zip(read_arrays(made["one.npz"]).planes, wanted.planes, strict=True):
        np.testing.assert_array_equal(one, other)
    assert invoke("batch", dst, tmp_path / "arrays", "--to", "npz", "--verify")[0] == 0
