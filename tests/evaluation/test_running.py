"""Worker processes, the journal of an interrupted run, progress, preparation and verdict."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.errors import InputError
from vqcodec.evaluation import compare, parallel, read_pictures
from vqcodec.evaluation.comparison import Running
from vqcodec.evaluation.job import Job
from vqcodec.evaluation.picture_job import PictureResult
from vqcodec.evaluation.pictures import PictureReader, find
from vqcodec.evaluation.preparation import Preparation
from vqcodec.evaluation.verdict import verdict
from vqcodec.metrics import METRICS
from vqcodec.runtime.backend import VARIABLE

from ..stand_ins import Loaded, stand_in
from ..test_metrics import picture
from .test_bd_rate import own, reference


def work(job: Job, advance: Callable[[float], None]) -> str:
    """The mean of a picture; one named `dies` ends its process."""
    if job.name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    advance(0.5)
    return f"{job.name} {job.pixels.mean():.0f}"


def jobs(*names: str) -> list[Job]:
    return [Job(name, np.full((2, 2, 3), number, np.uint8)) for number, name in enumerate(names)]


def test_in_this_process() -> None:
    shares = []
    run = parallel.run(iter(jobs("a", "b")), work, lambda job, why: why, 1, 1, lambda *share: shares.append(share))
    assert list(run) == ["a 0", "b 1"]
    assert shares == [("a", 0.5), ("b", 0.5)]


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_picture_only() -> None:
    shares: list[tuple[str, float]] = []
    run = parallel.run(
        iter(jobs("a", "dies", "c", "d")),
        work,
        lambda job, why: f"{job.name}: {why}",
        2,
        1,
        lambda *s: shares.append(s),
    )
    found = sorted(run)
    assert found == ["a 0", "c 2", "d 3", f"dies: {parallel.WORKER_DIED}"]
    assert sorted(shares) == [("a", 0.5), ("c", 0.5), ("d", 0.5)]


@pytest.mark.slow
def test_processes_give_the_same_rows(tmp_path: Path) -> None:
    for name in "abc":
        Image.fromarray(picture(40, 48, ord(name))).save(tmp_path / f"{name}.png")
    options = {"models": [], "codecs": ["jpeg"], "anchor": None, "times": False}
    alone = compare(read_pictures([tmp_path]), **options)
    both = compare(read_pictures([tmp_path]), **options, running=Running(workers=2))
    assert both.rows == alone.rows


def test_an_interrupted_run_is_continued(tmp_path: Path) -> None:
    pictures = [(name, picture(40, 48, ord(name))) for name in "abc"]
    journal = tmp_path / "r.json.partial"
    options = {"models": [], "codecs": ["jpeg"], "anchor": None, "times": False, "n_shown": 2}
    seen: list[tuple[str, bool]] = []

    def stop(result: PictureResult, known: bool) -> None:
        seen.append((result.picture, known))
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(pictures, **options, running=Running(journal=journal, on_result=stop))
    journal.write_text(journal.read_text() + '{"key": "cut o')

    def tell(result: PictureResult, known: bool) -> None:
        seen.append((result.picture, known))

    found = compare(pictures, **options, running=Running(journal=journal, on_result=tell))
    assert seen[2:] == [("a", True), ("b", True), ("c", False)]
    whole = compare(pictures, **options)
    assert found.rows == whole.rows
    assert found.shown == whole.shown
    assert len(whole.shown) == 2
    seen.clear()
    other = options | {"metrics": ["psnr"]}
    compare(pictures, **other, running=Running(journal=journal, on_result=tell))
    assert not any(known for _, known in seen)


def test_results_of_another_backend_or_configuration_are_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)
    pictures = [(name, picture(40, 48, ord(name))) for name in "ab"]
    found: list[bool] = []
    running = Running(journal=tmp_path / "r.partial", on_result=lambda _, known: found.append(known))
    for backend, config in (("auto", "one"), ("auto", "one"), ("torch", "one"), ("auto", "two")):
        monkeypatch.setenv(VARIABLE, backend)
        monkeypatch.setattr(Loaded, "config", config)
        compare(pictures, ["photo"], ["jpeg"], anchor=None, by="keep", metrics=["psnr"], times=False, running=running)
    assert found == [False] * 2 + [True] * 2 + [False] * 4


def test_progress_is_work_done(tmp_path: Path) -> None:
    for name, side in (("a", 40), ("b", 80)):
        Image.fromarray(picture(side, side)).save(tmp_path / f"{name}.png")
    steps: list[tuple[float, float]] = []
    compare(
        read_pictures([tmp_path]), [], ["jpeg"], anchor=None, running=Running(on_progress=lambda *s: steps.append(s))
    )
    shares = [done / total for done, total in steps]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert 40 * 40 / (40 * 40 + 80 * 80) in shares
    assert len(shares) > 10


def test_preparation_of_the_papers(tmp_path: Path) -> None:
    pixels = picture(300, 520)
    cover = Preparation(crop=(256, 128), method="cover").apply(pixels)
    image = Image.fromarray(pixels).resize((256, 148), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(cover, np.asarray(image)[10:138])
    adm = Preparation(64, (64, 64)).apply(pixels)
    image = Image.fromarray(pixels).resize((260, 150), Image.Resampling.BOX).resize((130, 75), Image.Resampling.BOX)
    image = image.resize((111, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(adm, np.asarray(image)[:, 23:87])
    np.testing.assert_array_equal(Preparation(crop=(520, 300)).apply(pixels), pixels)
    with pytest.raises(InputError, match="smaller than the crop"):
        Preparation(crop=(521, 300)).apply(pixels)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    reader = PictureReader(find([tmp_path]), preparation=Preparation(64, (64, 64)))
    assert [p.shape for _, p in reader] == [(64, 64, 3)]


def test_the_verdict_names_sizes_at_equal_quality() -> None:
    pytest.importorskip("bjontegaard")
    rows = own("a", "low", 0.5)[:3] + own("a", "high", 0.5)[1:] + reference("a", "jpeg", 1) + reference("a", "webp", 2)
    pictures = "1 of 1 pictures under 0.5 megapixels"
    assert verdict(rows, [], ["jpeg", "webp"], [METRICS["psnr"]]) == [
        f"vqcodec (best of low, high) against jpeg, {pictures}: 50 % smaller files at equal PSNR",
        f"vqcodec (best of low, high) against webp, {pictures}: 75 % smaller files at equal PSNR",
    ]
    more = rows + own("b", "low", 2)[:3] + own("b", "high", 2)[1:] + reference("b", "jpeg", 1)
    assert verdict(more, [], ["jpeg"], [METRICS["psnr"]]) == [
        "vqcodec (best of low, high) against jpeg, 2 of 2 pictures under 0.5 megapixels: "
        "25 % larger files at equal PSNR (single pictures -50 to +100 %)"
    ]
    alone = [row for row in rows if row.kind != "ours"]
    assert verdict(alone, [], ["jpeg", "webp"], [METRICS["psnr"]]) == [
        "webp against jpeg, 1 of 1 pictures under 0.5 megapixels: 100 % larger files at equal PSNR"
    ]
