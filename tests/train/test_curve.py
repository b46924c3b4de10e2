"""Curve of a run: the lines of the log that it uses, and missing values."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def curve() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "curve.py"
    spec = importlib.util.spec_from_file_location("curve", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LINES = [
    json.dumps(row)
    for row in (
        {"step": 100, "total": 9.0},
        {"step": 200, "total": 8.0, "lr": 0.1},
        {"step": 200, "val/psnr": [18.0, 19.0, 20.0, 21.0], "val/bpp": 0.2},
        {"step": 300, "total": 7.0},
        {"step": 400, "val/psnr": [1.0, 1.0, 1.0, 1.0], "val/bpp": 9.0},
        {"step": 400, "val/psnr": [18.5, 19.5, 20.5, 22.0], "val/bpp": 0.21, "val/rate-4": [0.1, 20.0]},
    )
]


def test_a_row_for_each_validation(curve: ModuleType) -> None:
    rows = curve.read([*reversed(LINES[:3]), *LINES[3:], '{"step": 500, "val/ps'])
    assert [(row["step"], row["total"], row["val/psnr"][-1]) for row in rows] == [(200, 8.0, 21.0), (400, 7.0, 22.0)]
    assert curve.read(LINES[:2]) == []


def test_columns_are_as_long_as_there_are_steps(curve: ModuleType) -> None:
    found = curve.columns(curve.read(LINES))
    assert found["step"] == [200, 400]
    assert found["PSNR dB"] == [21.0, 22.0]
    assert found["k=1"] == [18.0, 18.5]
    assert found["k=2"] == [19.0, 19.5]
    assert math.isnan(found["rate 4 bpp"][0])
    assert (found["rate 4 bpp"][1], found["rate 4 dB"][1]) == (0.1, 20.0)
    assert {len(values) for values in found.values()} == {2}


def test_the_table_and_the_figure(curve: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures come with matplotlib, of the extra `eval`")
    found = curve.columns(curve.read(LINES))
    assert curve.table_of("run", found).row_count == 2
    curve.plot({"run": found}, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
