"""Journal of an evaluation: the results of finished pictures, so that an interrupted run can be continued.

One JSON line per picture, under a key of the pixels and of everything that the result depends on. A line that was cut
off by the interruption is ignored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..models import registry
from ..runtime.backend import chosen_backend
from .job import Job


def conditions_of_models(names: Iterable[str]) -> dict[str, Any]:
    """Conditions of the results of models: their configurations, with the digests of their weights, and the backend.

    Raises ModelError if a model is not found.
    """
    configs = {name: repr(registry.find(name).config) for name in names}
    return {"backend": chosen_backend(), "configs": configs}


class Journal:
    """Results by key in the file `path`, which is made with the first one.

    Args:
        path: the file.
        conditions: everything that a result depends on except its picture, as JSON can hold it.

    Raises OutputError.
    """

    def __init__(self, path: Path, conditions: Any) -> None:
        from .. import __version__

        self.path = path
        self._conditions = json.dumps([__version__, conditions], sort_keys=True).encode()
        self._places = self._read()
        """Key -> offset of its line in the file; results of many pictures do not fit in memory."""

    def find(self, job: Job) -> Any:
        """The record of an earlier run under equal conditions of a picture with equal pixels, else None."""
        place = self._places.get(self._key(job))
        if place is None:
            return None
        try:
            with open(self.path, "rb") as file:
                file.seek(place)
                return json.loads(file.readline())["result"]
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error

    def add(self, job: Job, record: Any) -> None:
        """Append the result of a picture, as JSON can hold it. Raises OutputError."""
        line = json.dumps({"key": self._key(job), "result": record}) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def _key(self, job: Job) -> str:
        head = json.dumps([job.name, job.show, job.pixels.shape]).encode()
        return hashlib.sha256(self._conditions + head + job.pixels.tobytes()).hexdigest()

    def _read(self) -> dict[str, int]:
        places: dict[str, int] = {}
        place, line = 0, b"\n"
        try:
            with open(self.path, "rb") as file:
                for line in file:
                    with suppress(ValueError, LookupError, TypeError):
                        places[json.loads(line)["key"]] = place
                    place += len(line)
            if not line.endswith(b"\n"):
                with open(self.path, "ab") as file:
                    file.write(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unreadable(error) from error
        return places

    def _unreadable(self, error: Exception) -> OutputError:
        return OutputError(f"{self.path}: cannot be read: {error}; remove it to start anew")
