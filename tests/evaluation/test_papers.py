"""The papers' tables: protocol, values by hand, Fréchet distance, and the command with a small model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

import vqcodec
from vqcodec.cli.evaluate import paper_table
from vqcodec.errors import UsageError
from vqcodec.evaluation import frechet
from vqcodec.evaluation.array_record import array_of_record, array_record
from vqcodec.evaluation.frechet import Statistics, frechet_distance
from vqcodec.evaluation.job import Job
from vqcodec.evaluation.papers import TABLES, PaperPicture, PaperWork, measure_model, ssim_uniform
from vqcodec.evaluation.pictures import PictureReader, find
from vqcodec.metrics import psnr
from vqcodec.models import registry
from vqcodec.runtime.backend import VARIABLE

from ..object_store import memory_store
from ..stand_ins import run
from ..test_metrics import picture


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "val"
    folder.mkdir()
    for number, (height, width) in enumerate([(300, 400), (520, 300)]):
        Image.fromarray(picture(height, width, number)).save(folder / f"{number}.png")
    return folder


def work(table: str, model: str) -> PaperWork:
    return PaperWork(TABLES[table], model, "cpu", with_lpips=False, with_fid=False, weights=())


def test_values_are_those_of_the_decoded_files(tiny_model: str, pictures: Path) -> None:
    table = TABLES["mgvq-6"]
    reader = PictureReader(find([pictures]), preparation=table.preparation)
    rows, failures = measure_model(reader, work("mgvq-6", tiny_model))
    assert failures == []
    assert [row.keep for row in rows] == [1, 2, 3, 4]
    originals = [pixels for _, pixels in reader]
    assert {pixels.shape for pixels in originals} == {(256, 256, 3)}
    files = [vqcodec.encode_tokens(vqcodec.tokenize(p, tiny_model, effort=1), keep=2) for p in originals]
    decoded = [np.array(vqcodec.decode(data).convert("RGB")) for data in files]
    errors = [np.square(a.astype(float) - b).mean() for a, b in zip(originals, decoded, strict=True)]
    row = rows[1]
    assert row.psnr == pytest.approx(10 * math.log10(255**2 / np.mean(errors)))  # of the mean squared error
    assert row.ssim == pytest.approx(np.mean([ssim_uniform(a, b) for a, b in zip(originals, decoded, strict=True)]))
    assert row.coded_bpp == pytest.approx(8 * sum(map(len, files)) / (2 * 256 * 256))
    assert row.raw_bpp == pytest.approx(2 * 4 / 16**2)  # two groups, 4 bits for each 16x16 pixels
    assert len(row.usage) == 4
    assert all(0 < share <= 1 for share in row.usage)
    assert math.isnan(row.rfid)


def test_other_papers_take_the_mean_of_psnr_and_twice_the_range(tiny_model: str, pictures: Path) -> None:
    reader = PictureReader(find([pictures]), preparation=TABLES["fqgan-1"].preparation)
    (row,), _ = measure_model(reader, work("fqgan-1", tiny_model))
    originals = [pixels for _, pixels in reader]
    decoded = [np.array(vqcodec.decode(vqcodec.encode(p, tiny_model, effort=1)).convert("RGB")) for p in originals]
    pairs = list(zip(originals, decoded, strict=True))
    assert row.psnr == pytest.approx(np.mean([psnr(a, b) for a, b in pairs]))
    assert row.ssim == pytest.approx(np.mean([ssim_uniform(a, b, 510.0) for a, b in pairs]))


def test_the_distance_of_normal_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frechet, "FEATURES", 3)
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(400, 3))
    a, shifted, scaled, other = Statistics(), Statistics(), Statistics(), Statistics()
    mixing = rng.normal(size=(3, 3))
    for vector in samples:
        a.add(vector)
        shifted.add(vector + np.array([3, 0, 4]))
        scaled.add(2 * vector)
        other.add(mixing @ vector)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, shifted) == pytest.approx(25)
    # Sigma and 4 Sigma: the trace of Sigma + 4 Sigma - 2 * 2 Sigma; the means differ by a's mean.
    expected = np.trace(a.covariance) + np.square(a.mean).sum()
    assert frechet_distance(a, scaled) == pytest.approx(expected)
    root = np.sqrt(np.linalg.eigvals(a.covariance @ other.covariance).real).sum()
    expected = np.square(a.mean - other.mean).sum() + np.trace(a.covariance + other.covariance) - 2 * root
    assert frechet_distance(a, other) == pytest.approx(expected)
    assert math.isnan(frechet_distance(Statistics(), a))


def test_the_command(tiny_model: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vqcodec.errors import InputError
    from vqcodec.evaluation import pretrained

    def missing(*_: object) -> None:
        raise InputError("no weights here")

    said: list[str] = []
    monkeypatch.setattr("vqcodec.cli.messages.say", said.append)
    monkeypatch.setattr(pretrained, "path_of", missing)
    printed = run(pictures, "--table", "mgvq-1", "-m", tiny_model, "-o", tmp_path / "t.json")
    assert "MGVQ, table 1" in printed
    assert "file bpp" in printed
    assert said == ["no LPIPS: no weights here", "no rFID: no weights here"]
    assert "rFID" not in printed  # without weights there is no column
    (row,) = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert (row["model"], row["keep"], row["pictures"], row["rfid"]) == (tiny_model, 4, 2, None)
    assert row["raw_bpp"] == pytest.approx(4 * 4 / 256)


def test_a_table_behind_a_url_has_no_journal(
    tiny_model: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper_table, "_usable", lambda *_: (False, False))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with memory_store() as store:
        run(pictures, "--table", "mgvq-1", "-m", tiny_model, "-o", store.url("t.json"))
        assert store.names() == ["t.json"]
    assert sorted(tmp_path.iterdir()) == before


def test_another_backend_or_configuration_is_another_condition(
    tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, found = registry.find(tiny_model), []
    for backend, config in (
        ("auto", entry.config),
        ("torch", entry.config),
        ("auto", msgspec.structs.replace(entry.config, ladder=entry.config.ladder[:1])),
        ("auto", entry.config),
    ):
        monkeypatch.setenv(VARIABLE, backend)
        monkeypatch.setattr(registry, "find", lambda _, config=config: replace(entry, config=config))
        found.append(json.dumps(work("mgvq-1", tiny_model).conditions()))
    assert found[0] == found[3]
    assert len({*found}) == 3


def test_an_interrupted_table_is_continued(
    tiny_model: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished pictures are not measured again; the report is that of a run without interruption."""
    measured: list[str] = []
    stops = [True]
    measure = PaperWork._measured
    features = np.random.default_rng(0).random((2, frechet.FEATURES), np.float32)

    def counted(self: PaperWork, job: Job, advance: Callable[[float], None]) -> PaperPicture:
        if len(measured) == 1 and stops:
            raise KeyboardInterrupt
        measured.append(job.name)
        found = measure(self, job, advance)
        (whole,) = found.reconstructions
        return replace(found, features=features[0], reconstructions=[replace(whole, features=features[1])])

    said: list[str] = []
    monkeypatch.setattr("vqcodec.cli.messages.say", said.append)
    monkeypatch.setattr(paper_table, "_usable", lambda *_: (False, False))
    monkeypatch.setattr(PaperWork, "_measured", counted)
    out = tmp_path / "t.json"
    words = [pictures, "--table", "fqgan-1", "-m", tiny_model, "-j", 1, "-o"]
    with pytest.raises(SystemExit):
        run(*words, out)
    assert said[-1] == f"finished pictures are kept in {out}.partial: the same command continues"
    assert not out.exists()
    stops.clear()
    run(*words, out)
    assert len(measured) == 2  # the second picture alone
    assert not out.with_name("t.json.partial").exists()
    run(*words, tmp_path / "whole.json")
    assert len(measured) == 4
    assert out.read_text() == (tmp_path / "whole.json").read_text()


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4)])
def test_arrays_are_kept_without_loss(kind: type, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).uniform(0, 255, shape).astype(kind)
    found = array_of_record(json.loads(json.dumps(array_record(array))))
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--table", "mgvq-9", "-m", "photo"], "not one of mgvq-1"),
        (["--table", "mgvq-1"], "needs -m MODEL"),
        (["--table", "mgvq-1", "-m", "photo", "-o", "t.html"], r"ends in \.json"),
    ],
)
def test_mistakes(words: list[str], message: str, pictures: Path) -> None:
    with pytest.raises(UsageError, match=message):
        run(pictures, *words)
