"""Journal of an evaluation: the results of finished pictures, so that an interrupted run can be continued.

One JSON line per picture, under a key of the pixels and of everything that the result depends on. A line that was cut
off by the interruption is ignored.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from ..errors import OutputError
from .job import Job
from .picture_job import Options, PictureResult


class Journal:
    """Results by key in the file `path`, which is made with the first one. Raises OutputError."""

    def __init__(self, path: Path, options: Options, about: dict[str, str]) -> None:
        self.path = path
        from .. import __version__

        # The cache holds equal results, wherever it is.
        known = {key: str(value) for key, value in asdict(options).items() if key != "cache"}
        self._options = json.dumps([__version__, known, about], sort_keys=True).encode()
        self._records = self._read()

    def find(self, job: Job) -> PictureResult | None:
        """The result of an earlier run, if that run had equal options and pixels."""
        record = self._records.get(self._key(job))
        return None if record is None else PictureResult.of_record(json.loads(record)["result"])

    def add(self, job: Job, result: PictureResult) -> None:
        """Append the result of a picture, unless a codec failed on it: it is tried again. Raises OutputError."""
        if result.failures:
            return
        line = json.dumps({"key": self._key(job), "result": result.record()}) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def _key(self, job: Job) -> str:
        head = json.dumps([job.name, job.show, job.pixels.shape]).encode()
        return hashlib.sha256(self._options + head + job.pixels.tobytes()).hexdigest()

    def _read(self) -> dict[str, str]:
        records = {}
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.path}: cannot be read: {error}; remove it to start anew") from error
        for line in text.splitlines():
            try:
                records[json.loads(line)["key"]] = line
            except (ValueError, LookupError, TypeError):
                continue
        if text and not text.endswith("\n"):
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("\n")
        return records
