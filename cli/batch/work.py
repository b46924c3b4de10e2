"""Conversion of one file of a batch in three stages; every failure becomes an `Outcome`.

The first stage and the last wait for storage, the second one uses the processor: `pipeline.py` overlaps those of
different files.
"""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vqcodec.errors import LimitError, OutputError, VqcError, is_out_of_memory
from vqcodec.models.file_info import read_info

from .conversions import CONVERSIONS, Code, Pack
from .plan import FAIL, Job
from .settings import Settings
from .storage import Source, StorageFullError, read_source, write_target

HEADROOM_BYTES = 2**26
"""Bytes of a source beyond 8 for each of the pixels allowed."""


@dataclass(frozen=True)
class Outcome:
    """Result of one file."""

    job: Job
    error: str = ""
    """Message; empty if the file was converted."""
    exit_code: int = 0
    """Exit code of a command that ends with this error."""
    source_size: int = 0
    source_mtime_ns: int = 0
    bytes: int = 0
    """Bytes of the target."""
    sha256: str = ""
    bpp: float = 0.0
    """Bits per pixel of the .vqc file, source or target."""
    pixels: int = 0
    """Width x height."""
    model: str = ""
    """Model of the .vqc file."""
    seconds: float = 0.0
    """Time of the three stages, without the time between them."""
    warnings: tuple[str, ...] = ()
    fatal: bool = False
    """Every further file would fail too."""

    def line(self, identity: str) -> dict[str, Any]:
        """The outcome as a line of the manifest."""
        line: dict[str, Any] = {"source": self.job.source, "target": self.job.target, "settings": identity}
        line["seconds"] = round(self.seconds, 3)
        if self.error:
            return line | {"status": "failed", "error": self.error, "exit_code": self.exit_code}
        return line | {
            "status": "done",
            "model": self.model,
            "bytes": self.bytes,
            "bpp": round(self.bpp, 5),
            "sha256": self.sha256,
            "source_size": self.source_size,
            "source_mtime_ns": self.source_mtime_ns,
            "warnings": list(self.warnings),
        }


def convert(job: Job, settings: Settings) -> Outcome:
    """Read, convert and write one file."""
    work = Work(job, settings)
    work.read()
    work.code()
    return work.write()


class Work:
    """One file on its way through the stages `read`, `code` and `write`, called in this order, in any thread.

    After a failure the later stages do nothing.
    """

    def __init__(self, job: Job, settings: Settings) -> None:
        self.job, self.settings = job, settings
        self.seconds = 0.0
        self.held_bytes = 0
        """Size of the source, once it was read."""
        self._failure: Outcome | None = None
        self._source: Source
        self._code: Code
        self._pack: Pack

    def read(self) -> None:
        """Read the source and decode an image file."""
        self._run(self._read)

    def code(self) -> None:
        """Run the model."""
        self._run(self._run_model)

    def write(self) -> Outcome:
        """Write the target; the outcome holds any error of the three stages."""
        made = self._run(self._write)
        if made is None:
            assert self._failure is not None
            return self._failure
        return made

    def _run(self, stage: Callable[[], Outcome | None]) -> Outcome | None:
        if self._failure is not None:
            return None
        start = time.perf_counter()
        try:
            return stage()
        except Exception as error:
            if self.settings.debug:
                traceback.print_exc()
            self._fail(error, self.seconds + time.perf_counter() - start)
        finally:
            self.seconds += time.perf_counter() - start
        return None

    def _fail(self, error: Exception, seconds: float) -> None:
        message, code = _message(error)
        for name in ("<bytes>", str(self.settings.src / self.job.source)):
            message = message.removeprefix(f"{name}: ")
        self._failure = Outcome(self.job, message, code, seconds=seconds, fatal=isinstance(error, StorageFullError))

    def _read(self) -> None:
        if self.job.action == FAIL:
            raise OutputError(self.job.reason)
        settings = self.settings
        self._source = read_source(settings.src, self.job.source, 8 * settings.max_pixels + HEADROOM_BYTES)
        self.held_bytes = self._source.size
        self._code = CONVERSIONS[settings.to](self._source.data, settings)

    def _run_model(self) -> None:
        self._pack = self._code()

    def _write(self) -> Outcome:
        start, job, settings, source = time.perf_counter(), self.job, self.settings, self._source
        made = self._pack()
        info = read_info(made.coded, None)
        outcome = Outcome(
            job,
            source_size=source.size,
            source_mtime_ns=source.mtime_ns,
            bytes=len(made.data),
            sha256=hashlib.sha256(made.data).hexdigest(),
            bpp=info.bpp,
            pixels=info.width * info.height,
            model=info.model or "",
            seconds=self.seconds + time.perf_counter() - start,
            warnings=made.warnings,
        )
        record = json.dumps(outcome.line(settings.identity)).encode("ascii")
        times = (source.atime_ns, source.mtime_ns) if settings.keep_times else None
        write_target(settings.dst, job, made.data, record, times)
        return outcome


def _message(error: Exception) -> tuple[str, int]:
    """One line, and the exit code."""
    if isinstance(error, VqcError):
        message, code = str(error), error.exit_code
    elif is_out_of_memory(error):
        message, code = "out of memory; try a smaller -j or --max-pixels", LimitError.exit_code
    else:
        message, code = f"internal error: {type(error).__name__}: {error} (--debug shows where)", VqcError.exit_code
    return " ".join(message.split()), code
