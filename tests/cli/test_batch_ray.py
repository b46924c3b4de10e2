"""`vqcodec batch --ray`: tasks, their files, and a worker that is killed midway."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.batch_places import places
from benchmarks.batch_scale import ray_worker_killed, write_pictures
from vqcodec.cli.batch import ray_pool
from vqcodec.cli.batch.checks import check
from vqcodec.cli.batch.outcome import Outcome
from vqcodec.cli.batch.plan import NEW, Job
from vqcodec.cli.batch.settings import Settings
from vqcodec.errors import ModelError

from ..commands import fails
from ..trees import Run, tree

JOBS = [Job(source, target, NEW) for source, target in (("one.png", "one.vqc"), ("a/two.jpg", "a/two.vqc"))]
RATE = dict.fromkeys(("quality", "bpp", "max_bytes", "min_quality", "keep"))


@pytest.fixture
def settings(src: Path, dst: Path, tiny_model: str) -> Settings:
    dst.mkdir()
    plain = Settings(src, dst, "vqc", tiny_model, RATE, False, "cpu", 10**6, False)
    return replace(plain, identity=check(plain))


def test_a_task_repeated_after_a_death_converts_the_rest_only(settings: Settings, dst: Path) -> None:
    first = ray_pool._convert(JOBS[:1], (settings, {}, 1))
    before = (dst / "one.vqc").stat().st_mtime_ns
    again = ray_pool._convert(JOBS, (settings, {}, 1))
    assert (dst / "one.vqc").stat().st_mtime_ns == before
    assert [outcome.error for outcome in again] == ["", ""]
    assert again[0].line("x") | {"seconds": 0} == first[0].line("x") | {"seconds": 0}
    assert sorted(name for name in tree(dst) if name.endswith(".vqc")) == ["a/two.vqc", "one.vqc"]


def test_a_machine_with_another_model_converts_nothing(settings: Settings, dst: Path) -> None:
    with pytest.raises(ModelError, match="another one"):
        ray_pool._convert(JOBS, (replace(settings, identity="0" * 16), {}, 1))
    assert tree(dst) == {}


def test_tasks_grow_until_they_take_two_seconds() -> None:
    chunks = ray_pool._Chunks([Job(str(i), str(i), NEW) for i in range(100)])
    sizes = []
    for _ in range(6):
        jobs = chunks.next()
        sizes.append(len(jobs))
        chunks.learn([Outcome(job, seconds=0.2) for job in jobs])
    assert sizes == [1, 2, 4, 8, 10, 10]
    chunks.separate([Job("a", "a", NEW), Job("b", "b", NEW)])
    assert [len(chunks.next()) for _ in range(3)] == [1, 1, 10]


def test_without_ray(run_batch: Run, dst: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    fails(run_batch("--ray", "auto", "--quiet"), 2, "--ray: Ray comes with the extra", "vqcodec[ray]")
    assert tree(dst) == {}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers by /proc")
@pytest.mark.parametrize("s3", [False, True])
def test_a_killed_worker_costs_nothing(tmp_path: Path, tiny_model: str, s3: bool) -> None:
    """Two workers of a local cluster, SRC and DST in folders or in a store; Ray ends with the command."""
    write_pictures(tmp_path / "pictures", 60, (48, 48))
    with places(tmp_path, s3, src=tmp_path / "pictures") as given:
        found = ray_worker_killed(*given, ["-m", tiny_model, "--effort", "1"])
    assert found["exit code"] == 0
    assert found["done / failed"] == "60 / 0"
    assert found["files finished when a worker was killed"] != "never"
    assert found["files converted twice"] == 0
    assert found["trees equal, no unfinished files"]
    assert found["manifests equal but for seconds"]
