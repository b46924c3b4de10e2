"""Rate and quality of models against JPEG, WebP, AVIF and JPEG XL: measurement, means, BD-rates, figures.

Every file is really made, so that rates are those of complete files. `vqcodec eval` prints what `compare` returns:

    from pathlib import Path

    from vqcodec.evaluation import compare, draw_curves, read_pictures

    pictures = read_pictures(["samples/lake.png"])
    result = compare(pictures, ["photo"], ["jpeg", "webp"], anchor="jpeg", effort=1)
    for row in result.rows:
        print(row.picture, row.codec, row.setting, row.n_bytes, row.scores["psnr"])
    for rate in result.bd_rates:
        print(rate.codec, rate.model, rate.metric, f"{rate.percent:+.1f} %")
    Path("report.json").write_bytes(result.to_json(pictures.skipped))
    Path("curves.svg").write_bytes(draw_curves(result, ".svg"))

BD-rates, figures and JPEG XL need the extra `eval`: pip install 'vqcodec[eval]'.
"""

from .bd_rate import Anchor, BdRate, Curve
from .codecs import CODECS, ReferenceCodec
from .comparison import Comparison, compare
from .means import Summary
from .measure import Row
from .pictures import PictureReader, read_pictures
from .plot import draw_curves

__all__ = [
    "CODECS",
    "Anchor",
    "BdRate",
    "Comparison",
    "Curve",
    "PictureReader",
    "ReferenceCodec",
    "Row",
    "Summary",
    "compare",
    "draw_curves",
    "read_pictures",
]
