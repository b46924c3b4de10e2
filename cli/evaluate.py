"""`vqcodec eval`: our files beside those of other codecs, as a table on stdout and a report.

Differs from ruler.py, which measures: here are options, pictures from files, folders and shards, and the output.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqcodec.errors import InputError, LimitError, UsageError

from . import options, output

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from vqcodec.metrics import Metric, Pixels

    from .ruler import Row, Summary

SUFFIXES = frozenset(".jpg .jpeg .png .webp .avif .bmp .gif .tif .tiff .ppm .pgm .pnm .qoi .jp2".split())
"""Names of pictures in folders and shards; a file that is named itself may be called anything."""
RULE = (
    "For each vqcodec file the rival is its own largest file that is not larger, whole files counted; n/a where it has "
    "none. Means of per-picture values; a rival's beside ours over the same pictures."
)


def evaluate(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGES", show_default=False, help="Pictures, folders (recursive), .tar shards."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="REPORT", show_default="table only", help="A .json or .csv file."),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("-m", "--model", show_default="photo", help="Model name or folder; may be given several times."),
    ] = None,
    codecs: Annotated[
        str, typer.Option("--codecs", metavar="LIST", help="vqcodec and its rivals: jpeg, webp, avif.")
    ] = "vqcodec,jpeg,webp,avif",
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="LIST", help="psnr (dB), ms-ssim (0..1); over all of R, G and B.")
    ] = "psnr,ms-ssim",
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, show_default="all", help="The first N pictures of each subset."),
    ] = None,
    force: options.Force = False,
    device: options.Device = "cpu",
    threads: options.Threads = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no warnings; the tables stay.")] = False,
    debug: options.Debug = False,
    max_pixels: options.MaxPixels = options.DEFAULT_MAX_PIXELS,
) -> None:
    """Measure every keep of a model beside JPEG, WebP and AVIF.

    For each of our files the rival is its own largest file that is not larger than ours; where it has none, n/a.
    Sizes are of whole files. Pictures under 0.5 megapixels and larger ones have tables of their own. Transparency is
    left out. A picture that cannot be read is skipped and named.

    A .json report holds `summary` (means per subset, model and keep) and `rows` (one per file); a .csv report the rows.
    """
    if out is not None:
        if out.suffix.lower() not in (".json", ".csv"):
            raise UsageError(f"-o {out}: a report ends in .json or .csv")
        output.check_target(out, force)
    from vqcodec import registry
    from vqcodec.metrics import METRICS

    from . import rivals, ruler

    names = _listed(codecs, "--codecs")
    if ruler.OURS not in names:
        raise UsageError(f"--codecs {codecs}: {ruler.OURS} must be in it, since rivals are matched to its files")
    against = [rivals.make_rival(name) for name in names if name != ruler.OURS]
    measures = []
    for name in _listed(metrics, "--metrics"):
        if name not in METRICS:
            raise UsageError(f"--metrics: no metric {name!r}; there are {', '.join(METRICS)}")
        measures.append(METRICS[name])
    ours = [ruler.Vqc(model, device) for model in dict.fromkeys(models or ["photo"])]
    for codec in ours:
        registry.find(codec.model)
    reader = Reader(find(images), limit, max_pixels, quiet)
    rows = ruler.measure(reader, ours, against, measures)
    if not rows:
        raise InputError(f"{images[0]}: none of {len(reader.sources)} pictures could be read")
    summaries = ruler.summarise(rows, [rival.name for rival in against])
    _print(tables(summaries, measures))
    if out is not None:
        about = {rival.name: rival.describe() for rival in against}
        encode = to_json if out.suffix.lower() == ".json" else to_csv
        output.write_new(out, encode(rows, summaries, about, reader.skipped), force)


def _listed(text: str, option: str) -> list[str]:
    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(f"{option}: name at least one")
    return names


@dataclass(frozen=True)
class Source:
    """One picture: a file, or `size` bytes at `offset` of a tar shard."""

    name: str
    """Path as the user wrote it; of a member, `shard.tar:member`."""
    path: Path
    offset: int = 0
    size: int = -1

    def open(self) -> io.BytesIO:
        """The bytes of the picture's file, under its name. Raises InputError."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                stream = io.BytesIO(file.read(self.size))
                stream.name = self.name
                return stream
        except OSError as error:
            raise InputError(f"{self.name}: cannot be read: {error.strerror or error}") from error


def find(images: Sequence[Path]) -> list[Source]:
    """The pictures in files, folders and shards, in the order given, sorted within a folder, each once.

    Raises InputError if a path does not exist or holds no picture.
    """
    found: dict[tuple[str, int], Source] = {}
    for path in images:
        sources = list(_find(path))
        if not sources:
            hint = "; name its .tar shards one by one" if path.is_dir() and any(path.glob("*.tar")) else ""
            raise InputError(f"{path}: no picture in there{hint}")
        for source in sources:
            found.setdefault((str(source.path.resolve()), source.offset), source)
    return list(found.values())


def _find(path: Path) -> Iterator[Source]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in SUFFIXES and file.is_file():
                yield Source(str(file), file)
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    elif path.suffix.lower() == ".tar":
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if member.isreg() and Path(member.name).suffix.lower() in SUFFIXES:
                        yield Source(f"{path}:{member.name}", path, member.offset_data, member.size)
        except (tarfile.TarError, OSError) as error:
            raise InputError(f"{path}: not an uncompressed tar shard: {error}") from error
    else:
        yield Source(str(path), path)


class Reader:
    """Iterates (name, sRGB pixels) of the readable sources, with progress on a terminal; notes what was left out."""

    def __init__(self, sources: list[Source], limit: int | None, max_pixels: int, quiet: bool) -> None:
        self.sources = sources
        self.limit = limit
        """Pictures per subset."""
        self.max_pixels = max_pixels
        self.quiet = quiet
        self.skipped: list[str] = []
        """The reason for each, beginning with the picture's name."""

    def __iter__(self) -> Iterator[tuple[str, Pixels]]:
        from rich.console import Console
        from rich.progress import Progress

        from .ruler import SUBSETS, subset_of

        room = dict.fromkeys(SUBSETS, len(self.sources) if self.limit is None else self.limit)
        with Progress(console=Console(stderr=True), disable=self.quiet or not sys.stderr.isatty()) as progress:
            task = progress.add_task("measuring", total=len(self.sources))
            for source in self.sources:
                if not any(room.values()):
                    break
                pixels = self._read(source)
                if pixels is not None and room[subset := subset_of(pixels.shape[1], pixels.shape[0])]:
                    room[subset] -= 1
                    yield source.name, pixels
                progress.advance(task)

    def _read(self, source: Source) -> Pixels | None:
        from vqcodec.image import read_picture, strip

        try:
            return strip(read_picture(source.open(), self.max_pixels)).pixels  # strip converts to sRGB
        except (InputError, LimitError) as error:
            self.skipped.append(str(error))
            if not self.quiet:
                output.say(f"warning: skipped: {error}")
            return None


def tables(summaries: Sequence[Summary], metrics: Sequence[Metric]) -> Iterator[Table]:
    """One table per subset and model; under each keep a line for ours and one for each rival."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from .ruler import OURS, SUBSETS

    columns = [("bpp", 4), *((metric.column, metric.digits) for metric in metrics)]
    for subset, model in dict.fromkeys((line.subset, line.model) for line in summaries):
        chosen = [line for line in summaries if (line.subset, line.model) == (subset, model)]
        table = Table(box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
        table.title = Text(f"{model}, pictures of {SUBSETS[subset]}")
        table.caption = Text("in brackets: ours minus the rival's, over the same pictures")
        for title in ("keep", "codec", "pictures", "bpp", *(metric.title for metric in metrics)):
            table.add_column(title, justify="left" if title == "codec" else "right")
        for line in chosen:
            n = line.ours.n_pictures
            cells = [Text(f"{line.ours.values[column]:.{digits}f}") for column, digits in columns]
            table.add_row(str(line.keep), OURS, str(n), *cells, style="bold")
            for name, match in line.rivals.items():
                if match is None:
                    table.add_row("", name, f"0 of {n}", *["n/a"] * len(columns))
                    continue
                cells = [_cell(match.rival.values[c], match.difference[c], digits, c) for c, digits in columns]
                table.add_row("", name, f"{match.rival.n_pictures} of {n}", *cells)
            table.add_section()
        yield table


def _cell(value: float, difference: float, digits: int, column: str) -> Text:
    from rich.text import Text

    style = "green" if difference > 0 else "red" if difference < 0 else ""
    return Text(f"{value:.{digits}f}").append(f" ({difference:+.{digits}f})", "" if column == "bpp" else style)


def _print(tables: Iterator[Table]) -> None:
    from rich.console import Console

    # A pipe has no width of its own, and Rich would fold columns at 80.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    for table in tables:
        console.print(table, "")


def to_json(rows: Sequence[Row], summaries: Sequence[Summary], rivals: dict[str, str], skipped: Sequence[str]) -> bytes:
    """The whole report; an undefined value is null, an infinite PSNR the string "inf". No times: same in, same out."""
    from vqcodec import __version__

    report = {
        "vqcodec": __version__,
        "rule": RULE,
        "rivals": rivals,
        "skipped": list(skipped),
        "summary": [line.record() for line in summaries],
        "rows": [row.record() for row in rows],
    }
    return (json.dumps(_plain(report), indent=1, allow_nan=False) + "\n").encode()


def to_csv(rows: Sequence[Row], summaries: Sequence[Summary], rivals: dict[str, str], skipped: Sequence[str]) -> bytes:
    """The rows alone; an undefined value is empty, an infinite PSNR `inf`."""
    text = io.StringIO()
    records = [_plain(row.record()) for row in rows]
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def _plain(value: Any) -> Any:
    """`value` with floats that JSON has no word for replaced."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
