"""Logs of a run: log.jsonl, TensorBoard's files, and a live table on a terminal."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from torch import Tensor

LOG = "log.jsonl"

Report = Callable[[str], None]
"""Receives one line for the user."""


class Logs:
    """Context that writes rows `{"step": ..., "group/name": number or list}`.

    Rows after `step` are removed first: an interrupted run may have logged steps after its last checkpoint.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool, live: bool, report: Report) -> None:
        self.folder, self.report = folder, report
        self.live = Live(console=Console(stderr=True), auto_refresh=False) if live and sys.stderr.isatty() else None
        self.latest: dict[str, Any] = {}
        _cut_log(folder / LOG, step)
        self.board: Any = None
        if tensorboard and importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        elif tensorboard:
            report("no TensorBoard files: install vqcodec[train] for them, or set run.tensorboard=false")

    def __enter__(self) -> Logs:
        self.file: IO[str] = open(self.folder / LOG, "a", encoding="utf-8")
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self.live:
            self.live.stop()
        if self.board:
            self.board.close()

    def row(self, step: int, values: dict[str, Any]) -> None:
        """One line of log.jsonl, the same in TensorBoard, and the live table."""
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()
        self.latest |= {"step": step, **values}
        for name, value in values.items() if self.board else ():
            if isinstance(value, list):
                for i, entry in enumerate(value):
                    self.board.add_scalar(f"{name}/{i + 1}", entry, step)
            else:
                self.board.add_scalar(name if "/" in name else f"run/{name}", value, step)
        if self.live:
            self.live.update(live_table(self.latest), refresh=True)

    def pictures(self, step: int, pictures: dict[int, Tensor]) -> None:
        """Reconstructions by number of layers, uint8 [3, H, W], for TensorBoard."""
        for keep, picture in pictures.items() if self.board else ():
            self.board.add_image(f"val/keep-{keep}", picture, step)

    def text(self, lines: str) -> None:
        """Lines for the user, unless the live table shows the values."""
        for line in () if self.live else lines.splitlines():
            self.report(line)


def live_table(latest: dict[str, Any]) -> Table:
    """Table of the newest logged values; lists are per number of layers or per group."""
    table = Table(title=f"step {latest.get('step', 0):,}", title_justify="left", show_header=False)
    for name, value in latest.items():
        if name == "step":
            continue
        cells = value if isinstance(value, list) else [value]
        table.add_row(name, "  ".join(f"{cell:.4g}" for cell in cells))
    return table


def _cut_log(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):  # an interrupted run may leave half a line
            continue
    path.write_text("".join(kept), encoding="utf-8")
