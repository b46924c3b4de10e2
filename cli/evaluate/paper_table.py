"""`vqcodec eval --table NAME`: one table of a paper, measured on the pictures given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqcodec.errors import InputError, UsageError

from .. import files, messages
from ..progress import Bar, bar
from .choices import in_option
from .report import journal_of
from .run import telling_of_journal

if TYPE_CHECKING:
    from rich.table import Table

    from vqcodec.evaluation.papers import PaperRow, PaperTable

FID_PICTURES = 2048
"""Fewest pictures from which on the covariance of Inception's features has full rank."""


@dataclass(frozen=True)
class Request:
    """Options of a paper's table."""

    table: str
    images: Sequence[Path]
    models: Sequence[str]
    weights: Sequence[Path]
    limit: int | None
    out: Path | None
    force: bool
    device: str
    workers: int
    threads: int
    max_pixels: int
    as_json: bool
    quiet: bool

    @property
    def journal(self) -> Path | None:
        """File that keeps finished pictures until the report is written; None without one."""
        return journal_of(self.out)


def run(request: Request) -> None:
    """Measure every model and print the table, or the JSON object of the report."""
    from vqcodec.evaluation.papers import TABLES, PaperWork, measure_model
    from vqcodec.evaluation.pictures import PictureReader, find
    from vqcodec.models import registry
    from vqcodec.tokens.tokens import has_step

    if request.table not in TABLES:
        raise UsageError(f"--table {request.table}: not one of {', '.join(TABLES)}")
    if not request.models:
        raise UsageError("--table needs -m MODEL: a released model, imported with `vqcodec models import`, or your own")
    if request.out is not None:
        if request.out.suffix.lower() != ".json":
            raise UsageError(f"-o {request.out}: the report of --table ends in .json")
        files.check_target(request.out, request.force)
    for model in request.models:
        if has_step(registry.find(model).config):
            raise UsageError(f"model '{model}': its indices are numbers, not codewords; --table has no row for it")
    table, weights = TABLES[request.table], tuple(request.weights)
    sources = find(request.images)
    with_lpips, with_fid = _usable(weights, request.quiet)
    rows: list[PaperRow] = []
    problems: list[str] = []
    for model in request.models:
        reader = PictureReader(sources, request.limit, request.max_pixels, preparation=table.preparation)
        total = min(len(sources), request.limit or len(sources))
        work = PaperWork(table, model, request.device, with_lpips, with_fid, weights)
        with telling_of_journal(request.journal, request.quiet), bar(f"measuring {model}", request.quiet) as state:
            running = (request.workers, request.threads, Advance(state, total), request.journal)
            own, failures = measure_model(reader, work, *running)
        rows += own
        problems += [*reader.skipped, *map(str, failures)]
    _write(request, table, rows, list(dict.fromkeys(problems)))


class Advance:
    """Progress of `total` pictures, shown by `state`."""

    def __init__(self, state: Bar, total: int) -> None:
        self._state, self._total = state, total
        self._shares: dict[str, float] = {}

    def __call__(self, name: str, share: float) -> None:
        """Set the share of a picture, 0..1."""
        self._shares[name] = max(share, self._shares.get(name, 0.0))
        done = sum(self._shares.values())
        self._state.update(min(done / self._total, 1.0), note=f"{done:.0f}/{self._total}")


def _usable(weights: tuple[Path, ...], quiet: bool) -> tuple[bool, bool]:
    """True if LPIPS and rFID can be computed; one line on stderr for each that cannot."""
    from vqcodec.evaluation import pretrained
    from vqcodec.evaluation.frechet import load_inception
    from vqcodec.evaluation.quality import metric_of

    with in_option("--weights"):
        pretrained.check_files(weights)
    found = []
    for name, load in (("LPIPS", lambda: metric_of("lpips-vgg", weights)), ("rFID", lambda: load_inception(weights))):
        try:
            load()
            found.append(True)
        except (InputError, UsageError) as error:
            found.append(False)
            if not quiet:
                messages.say(f"no {name}: {error}")
    return found[0], found[1]


def _write(request: Request, table: PaperTable, rows: Sequence[PaperRow], problems: Sequence[str]) -> None:
    import json

    from .tables import show

    record = {"table": request.table, "title": table.title, "rows": [row.record() for row in rows], "skipped": problems}
    if request.as_json:
        messages.print_json(record)
    else:
        show([_table(table.title, rows)])
        for line in problems:
            messages.print_line(f"failed: {line}")
        if any(not math.isnan(row.rfid) and row.n_pictures < FID_PICTURES for row in rows):
            messages.print_line(f"rFID of fewer than {FID_PICTURES} pictures is not comparable with the paper's 50,000")
    if request.out is not None:
        files.write_new(request.out, (json.dumps(record, indent=1) + "\n").encode(), request.force)
    if request.journal is not None:
        request.journal.unlink(missing_ok=True)


def _table(title: str, rows: Sequence[PaperRow]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    table.title = Text(title)
    table.caption = Text("raw bpp: log2 K for each index; file bpp: complete files, entropy-coded")
    columns = {
        "model": [row.model for row in rows],
        "layers": [str(row.keep) for row in rows],
        "pictures": [f"{row.n_pictures:,}" for row in rows],
        "PSNR dB": [f"{row.psnr:.2f}" for row in rows],
        "SSIM": [f"{row.ssim:.4f}" for row in rows],
        "LPIPS": [f"{row.lpips:.4f}" for row in rows],
        "rFID": [f"{row.rfid:.2f}" for row in rows],
        "usage %": [" ".join(f"{100 * share:.1f}" for share in row.usage) for row in rows],
        "raw bpp": [f"{row.raw_bpp:.4f}" for row in rows],
        "file bpp": [f"{row.coded_bpp:.4f}" for row in rows],
        "saved": [f"{1 - row.coded_bpp / row.raw_bpp:.1%}" for row in rows],
    }
    kept = {name: cells for name, cells in columns.items() if any(cell != "nan" for cell in cells)}
    for name in kept:
        table.add_column(name, justify="left" if name == "model" else "right")
    for cells in zip(*kept.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table
