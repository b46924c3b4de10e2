"""A folder that remembers what rivals' files measured, so that the next model is not held up by them.

A rival's file follows from pixels, encoder and setting alone. One JSON file for each picture and rival, named by the
SHA-256 of both, holds sizes, scores and seconds, not the files: a report made with it is the one made without, but
for the seconds, which are those of the first time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vqcodec.cli import output
from vqcodec.errors import OutputError
from vqcodec.metrics import Metric, Pixels

from .codecs import Rival
from .rate_sweep import File, Ladder

LAYOUT = 1
"""To be raised when files, or what metrics of the same name measure, change their meaning."""


class RivalCache:
    """Ladders that begin with what `folder` knows, which is made if it is not there. Raises OutputError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be a folder: {error.strerror or error}") from error
        output.check_target(folder / "x.json", force=True)

    def ladder(self, rival: Rival, pixels: Pixels, metrics: Sequence[Metric]) -> Ladder:
        """The ladder of `rival` for `pixels`, uint8 [H, W, 3]."""
        return Ladder(rival, pixels, metrics, self._read(self._path(rival, pixels)))

    def keep(self, ladder: Ladder) -> None:
        """Remember what `ladder` has learnt since the last time."""
        if not ladder.grown:
            return
        height, width = ladder.pixels.shape[:2]
        files = {str(setting): asdict(file) for setting, file in sorted(ladder.files.items())}
        record = {"rival": ladder.rival.describe(), "width": width, "height": height, "files": files}
        text = json.dumps(record, indent=1) + "\n"  # nan and infinity are written as Python reads them
        output.write_new(self._path(ladder.rival, ladder.pixels), text.encode(), force=True)
        ladder.grown = False

    def _path(self, rival: Rival, pixels: Pixels) -> Path:
        about = json.dumps([LAYOUT, rival.name, rival.describe(), pixels.shape])
        return self.folder / f"{hashlib.sha256(about.encode() + pixels.tobytes()).hexdigest()}.json"

    def _read(self, path: Path) -> dict[int, File]:
        try:
            files = json.loads(path.read_bytes())["files"]
            return {int(setting): File(**file) for setting, file in files.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}  # new, or damaged: measured again and replaced
