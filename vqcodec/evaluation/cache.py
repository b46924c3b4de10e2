"""Cache folder for the measurements of reference codecs' files.

A reference codec's file depends on pixels, encoder and setting only. One JSON file per picture and codec, named by the
SHA-256 of both, holds sizes, scores and seconds, but not the files. A report made with the cache equals the one made
without it except for the seconds, which are those of the first run.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..errors import OutputError
from ..metrics import Metric, Pixels
from .codecs import ReferenceCodec
from .rate_sweep import CodedFile, RateSweep

LAYOUT = 1
"""Version of the stored values; raise it when the meaning of a file's values or of a metric's name changes."""


class SweepCache:
    """Rate sweeps that start from the results in `folder`, which is created if missing. Raises OutputError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be a folder: {error.strerror or error}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"{folder}: not writable")

    def load(self, codec: ReferenceCodec, pixels: Pixels, metrics: Sequence[Metric]) -> RateSweep:
        """The sweep of `codec` over `pixels`, uint8 [H, W, 3], with the stored results."""
        return RateSweep(codec, pixels, metrics, self._read(self._path(codec, pixels)))

    def store(self, sweep: RateSweep) -> None:
        """Write the results of `sweep` if any is new. Raises OutputError."""
        if not sweep.changed:
            return
        height, width = sweep.pixels.shape[:2]
        files = {str(setting): asdict(file) for setting, file in sorted(sweep.files.items())}
        record = {"rival": sweep.codec.describe(), "width": width, "height": height, "files": files}
        text = json.dumps(record, indent=1) + "\n"  # nan and infinity are written as Python reads them
        _write_whole(self._path(sweep.codec, sweep.pixels), text.encode())
        sweep.changed = False

    def _path(self, codec: ReferenceCodec, pixels: Pixels) -> Path:
        key = json.dumps([LAYOUT, codec.name, codec.describe(), pixels.shape])
        return self.folder / f"{hashlib.sha256(key.encode() + pixels.tobytes()).hexdigest()}.json"

    def _read(self, path: Path) -> dict[float, CodedFile]:
        try:
            files = json.loads(path.read_bytes())["files"]
            return {json.loads(setting): CodedFile(**file) for setting, file in files.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}  # missing or damaged: measured again and replaced


def _write_whole(target: Path, data: bytes) -> None:
    """Replace `target` in one step, so that an interrupted run leaves no partial file."""
    draft = None
    try:
        handle, draft = tempfile.mkstemp(prefix=f".{target.name[:40]}.", suffix=".part", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(draft, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        if draft is not None and os.path.exists(draft):
            os.unlink(draft)
