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

from vqcodec.errors import OutputError
from vqcodec.models.file_info import read_info

from .conversions import CONVERSIONS, Code, Pack
from .outcome import Outcome, message_of
from .plan import FAIL, Job
from .settings import Settings
from .storage import Source, StorageFullError, read_source, write_target

HEADROOM_BYTES = 2**26
"""Bytes of a source beyond 8 for each of the pixels allowed."""


def convert(job: Job, settings: Settings) -> Outcome:
    """Read, convert and write one file."""
    work = Work(job, settings)
    work.read()
    work.code()
    outcome = work.write()
    assert outcome is not None  # nothing interrupts it
    return outcome


class Work:
    """One file on its way through the stages `read`, `code` and `write`, called in this order, in any thread.

    After a failure the later stages do nothing.
    """

    def __init__(self, job: Job, settings: Settings, stop: Callable[[], bool] = lambda: False) -> None:
        self.job, self.settings, self.stop = job, settings, stop
        self.dropped = False
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

    def write(self) -> Outcome | None:
        """Write the target; the outcome holds any error of the three stages. None if `stop` interrupted the work."""
        if self.dropped:
            return None
        made = self._run(self._write)
        return self._failure if made is None else made

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
        message, code = message_of(error)
        message = message.removeprefix(f"{self.settings.src / self.job.source}: ")
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

    def _write(self) -> Outcome | None:
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
