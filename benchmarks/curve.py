"""Validation over steps: PSNR, bits and loss of a run's log.jsonl, as a table and as a figure.

    python benchmarks/curve.py runs/photo [runs/other ...] [--plot curve.png]

PSNR is that of all sub-tokens and of a quarter and half of the layers, over the validation crops; `rate 0` and `rate 4`
are bpp and PSNR at 0 and 4 times the recipe's rate. The loss is the mean training loss logged last before that step. A
resumed run may have logged a step twice: the last entry counts.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vqcodec.train.logs import LOG

Row = dict[str, Any]


def read(lines: Iterable[str]) -> list[Row]:
    """Rows of log.jsonl -> one row for each validated step, in order; `total` is the last training loss logged."""
    logged: dict[int, Row] = {}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # a kill may leave half a line
            continue
        logged[row["step"]] = logged.get(row["step"], {}) | row
    rows, loss = [], math.nan
    for step in sorted(logged):
        loss = logged[step].get("total", loss)
        if "val/psnr" in logged[step]:
            rows.append({**logged[step], "total": loss})
    return rows


def columns(rows: list[Row]) -> dict[str, list[float]]:
    """Validated rows -> numbers over steps by title; NaN where a row lacks the title."""
    found: dict[str, list[float]] = {"step": [], "loss": [], "PSNR dB": [], "bpp": []}
    for number, row in enumerate(rows):
        psnr = row["val/psnr"]
        cells = {"step": row["step"], "loss": row["total"], "PSNR dB": psnr[-1], "bpp": row.get("val/bpp", math.nan)}
        cells |= {f"k={keep}": psnr[keep - 1] for keep in (len(psnr) // 4, len(psnr) // 2) if keep}
        for name, value in row.items():
            if name.startswith("val/rate-"):
                weight = name.removeprefix("val/rate-")
                cells |= {f"rate {weight} bpp": value[0], f"rate {weight} dB": value[-1]}
        for name, value in cells.items():
            found.setdefault(name, [math.nan] * number).append(value)
        for values in found.values():
            values.extend([math.nan] * (number + 1 - len(values)))
    return found


def table_of(name: str, found: dict[str, list[float]]) -> Table:
    """Table of one run: a line for each validation."""
    table = Table(title=name)
    for title in found:
        table.add_column(title, justify="right")
    for values in zip(*found.values(), strict=True):
        table.add_row(f"{values[0]:,.0f}", *("-" if math.isnan(v) else f"{v:.4g}" for v in values[1:]))
    return table


def plot(runs: dict[str, dict[str, list[float]]], target: Path) -> None:
    """PSNR with all sub-tokens over steps, and bits over steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for panel, title in zip(figure.subplots(1, 2), ("PSNR dB", "bpp"), strict=True):
        for name, found in runs.items():
            panel.plot(found["step"], found[title], marker="o", label=name)
        panel.set(xlabel="step", ylabel=title)
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(target)


def main() -> None:
    """Print the tables, and draw the figure on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders or log files")
    parser.add_argument("--plot", type=Path, help="a figure: .png, .svg or .pdf")
    arguments = parser.parse_args()
    runs = {}
    for path in arguments.runs:
        log = path / LOG if path.is_dir() else path
        if rows := read(log.read_text(encoding="utf-8").splitlines()):
            runs[str(path)] = columns(rows)
            Console(width=140).print(table_of(str(path), runs[str(path)]))
        else:
            print(f"{path}: holds no validation yet")
    if arguments.plot and runs:
        plot(runs, arguments.plot)


if __name__ == "__main__":
    main()
