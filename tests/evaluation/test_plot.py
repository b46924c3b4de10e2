"""The figure: formats, points as means of pictures, and equal files from equal runs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.errors import OutputError
from vqcodec.evaluation.comparison import Comparison
from vqcodec.evaluation.lines import lines
from vqcodec.evaluation.means import summarise
from vqcodec.evaluation.measure import OURS, Row
from vqcodec.evaluation.plot import draw_curves
from vqcodec.metrics import METRICS

from ..stand_ins import run, stand_in
from ..test_metrics import picture

METRICS_SHOWN = [METRICS["psnr"], METRICS["ms-ssim"]]


@pytest.fixture
def library() -> None:
    pytest.importorskip("matplotlib", reason="figures come with matplotlib, of the extra `eval`")


def row(name: str, codec: str, setting: int, bpp: float, psnr: float, subset: str = "small") -> Row:
    scores = {"psnr": psnr, "ms_ssim": 1 - 10 ** (-psnr / 20)}
    return Row(name, 9, 9, subset, codec, "m" if codec == OURS else "", setting, None, 9, bpp, scores)


def a_comparison(rows: list[Row]) -> Comparison:
    return Comparison(rows, summarise(rows, ["jpeg"]), {}, METRICS_SHOWN, None, [])


ROWS = [
    *[row(name, OURS, keep, 0.1 * keep, 20 + keep) for name in "ab" for keep in (1, 2, 3)],
    *[row(name, "jpeg", setting, 0.2 * setting, 19 + setting) for name in "ab" for setting in (1, 2, 4)],
    row("a", "jpeg", 3, 0.6, 22),
]


def test_points_are_means_over_all_pictures() -> None:
    rows = [*ROWS, row("c", OURS, 1, 0.4, 30, "hd")]
    ours, jpeg = lines(rows, "small")
    assert (ours.codec, ours.model) == (OURS, "m")
    assert np.allclose(ours.xy("psnr"), [(0.1, 21), (0.2, 22), (0.3, 23)])
    assert np.allclose(jpeg.xy("psnr"), [(0.2, 20), (0.4, 21), (0.8, 23)])  # 3 was measured for one alone
    (alone,) = lines(rows, "hd")
    assert alone.xy("psnr") == [(0.4, 30)]


def test_values_that_no_axis_has_are_left_out() -> None:
    rows = [row("a", OURS, 1, 0.1, 20), row("a", OURS, 2, 0.2, math.inf)]
    (line,) = lines(rows, "small")
    assert line.xy("psnr") == [(0.1, 20)]


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".SVG", b"<?xml"), (".pdf", b"%PDF")])
def test_formats(suffix: str, start: bytes) -> None:
    comparison = a_comparison(ROWS)
    data = draw_curves(comparison, suffix)
    assert data.startswith(start)
    assert draw_curves(comparison, suffix) == data


@pytest.mark.usefixtures("library")
def test_odd_values_are_drawn_without_a_warning() -> None:
    rows = [row("a", OURS, 1, 0.1, math.nan), row("b", OURS, 1, 0.1, math.inf, "hd"), row("b", OURS, 2, 0.2, 400, "hd")]
    assert draw_curves(a_comparison(rows), ".png")


@pytest.mark.slow
@pytest.mark.usefixtures("library")
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    Image.fromarray(picture(64, 80)).save(tmp_path / "p.png")
    words = [tmp_path / "p.png", "--codecs", "vqcodec,jpeg", "-m", "photo", "-m", "other", "--bd-anchor", "none"]
    run(*words, "--plot", tmp_path / "curve.svg")
    text = (tmp_path / "curve.svg").read_text()
    # Letters are drawn as shapes, but each is named in a comment.
    for shown in ("vqcodec photo", "vqcodec other", "jpeg", "rate (bits per pixel)", "PSNR (dB)", "MS-SSIM (0..1)"):
        assert shown in text, shown
    assert "1 picture of under 0.5 megapixels" in text
    with pytest.raises(OutputError, match="exists already"):
        run(*words, "--plot", tmp_path / "curve.svg")
    run(*words, "--plot", tmp_path / "curve.svg", "-f")
