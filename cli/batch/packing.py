"""`vqcodec batch --to tokens`: a tar shard of .vqc files to a packed shard of raw indices, for training."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

from .outcome import Outcome
from .shards import stat_shard
from .storage import output_errors, part, publish_shard
from .work import Work

PACKED = ".vqtok"
"""Suffix of packed shards."""


class PackWork(Work):
    """A tar shard on its way to a packed shard; nearly all of the work is in the stage `code`."""

    def _read(self) -> None:
        self._path, self._stat = stat_shard(self.job, self.settings)
        self._draft = part(Path(str(self.settings.dst)), self.job.target, PACKED)

    def _run_model(self) -> None:
        from vqcodec.data.packing import pack

        with output_errors(self.settings.dst, self._draft):
            self._draft.parent.mkdir(exist_ok=True)
        self._pictures = pack([str(self._path)], self._draft, max_pixels=self.settings.max_pixels)

    def _write(self) -> Outcome | None:
        start = time.perf_counter()
        with open(self._draft, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        outcome = Outcome(
            self.job,
            source_size=self._stat.st_size,
            source_mtime_ns=self._stat.st_mtime_ns,
            bytes=os.path.getsize(self._draft),
            sha256=digest,
            pictures=self._pictures,
            seconds=self.seconds + time.perf_counter() - start,
        )
        record = json.dumps(outcome.line(self.settings.identity)).encode("ascii")
        publish_shard(Path(str(self.settings.dst)), self.job, self._draft, record)
        return outcome
