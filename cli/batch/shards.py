"""Conversion of a tar shard: the pictures in it become a shard of the same name, whose other members are copied.

As in WebDataset, a sample is a run of members whose names agree up to the first dot of the file name, and the order of
samples stays. A sample with a picture that fails is left out whole. The new shard grows in PARTS, beside a journal with
a line for each sample, so that a killed batch continues behind the last sample.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import tarfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from vqcodec.errors import InputError, OutputError
from vqcodec.models.file_info import read_info

from .conversions import CONVERSIONS, Code, Converted
from .outcome import MemberFailure, Outcome, message_of
from .parts import SHARD
from .plan import FAIL, Job
from .settings import Settings
from .storage import discard_shard, output_errors, publish_shard, shard_parts
from .work import Work

AHEAD = 2
"""Samples that are read while another one is coded."""
TAIL = 2 * tarfile.BLOCKSIZE
"""Zero bytes that end an archive, padded to RECORDSIZE."""


@dataclass
class Member:
    """A member of a sample: copied, or a picture on its way."""

    info: tarfile.TarInfo
    data: bytes = b""
    code: Code | None = None
    """Second stage of a picture; None for members that are copied."""


@dataclass
class Sample:
    """Members of one sample, and the number of members of the shard up to its end."""

    members: list[Member]
    n_read: int
    failures: list[MemberFailure] = field(default_factory=list)


@dataclass
class Progress:
    """Contents of the new shard so far: a line of the journal, which the last one replaces."""

    end: int = 0
    """Bytes of the new shard."""
    n_read: int = 0
    """Members of the source up to here."""
    pictures: int = 0
    pixels: int = 0
    coded_bytes: int = 0
    """Bytes of all .vqc files, sources or targets."""
    model: str = ""
    warnings: int = 0
    failures: list[MemberFailure] = field(default_factory=list)

    def count(self, converted: Converted) -> None:
        """Count a picture."""
        info = read_info(converted.coded, None)
        self.pictures += 1
        self.pixels += info.width * info.height
        self.coded_bytes += len(converted.coded)
        self.model = info.model or ""
        self.warnings += bool(converted.warnings)


class ShardWork(Work):
    """A tar shard on its way; nearly all of the work is in the stage `code`."""

    def _read(self) -> None:
        self._path, self._stat = stat_shard(self.job, self.settings)

    def _run_model(self) -> None:
        job, settings = self.job, self.settings
        head: dict[str, Any] = {"target": job.target, "source": job.source, "settings": settings.identity}
        head |= {"source_size": self._stat.st_size, "source_mtime_ns": self._stat.st_mtime_ns}
        draft, journal = shard_parts(Path(str(settings.dst)), job.target)
        self._progress = _resume(draft, journal, head)
        try:
            with (
                tarfile.open(self._path, "r:") as source,
                open(draft, "r+b", buffering=0) as out,
                open(journal, "ab", buffering=0) as lines,
            ):
                out.seek(self._progress.end)
                for sample in _ahead(source, self._progress.n_read, settings):
                    if self.stop():
                        self.dropped = True
                        return
                    self._add(sample, out)
                    with output_errors(self.settings.dst, draft):
                        lines.write(_line(vars(self._progress)))
        except tarfile.TarError as error:
            discard_shard(draft, journal)
            raise InputError(f"not an uncompressed tar shard, or a damaged one: {error}") from error
        if not self._progress.pictures and not self._progress.failures:
            discard_shard(draft, journal)
            raise InputError("holds no picture to convert")

    def _add(self, sample: Sample, out: BinaryIO) -> None:
        """Code a sample and append it to the new shard."""
        progress, failures, made = self._progress, list(sample.failures), dict[str, Converted]()
        for member in sample.members:
            if member.code is not None and not failures:
                try:
                    made[member.info.name] = member.code()()
                except Exception as error:
                    failures.append(MemberFailure(member.info.name, *message_of(error)))
        if failures:
            progress.failures.extend(failures)
        else:
            for converted in made.values():
                progress.count(converted)
            names = _names(sample.members, self.settings.to)
            blocks = [
                _block(member.info, name, made[member.info.name].data if member.code else member.data)
                for member, name in zip(sample.members, names, strict=True)
            ]
            with output_errors(self.settings.dst, Path(self.job.target)):
                progress.end += out.write(b"".join(blocks))
        progress.n_read = sample.n_read

    def _write(self) -> Outcome | None:
        start, progress = time.perf_counter(), self._progress
        draft, journal = shard_parts(Path(str(self.settings.dst)), self.job.target)
        with open(draft, "r+b") as file:
            file.seek(progress.end)
            file.truncate()
            file.write(bytes(-(progress.end + TAIL) % tarfile.RECORDSIZE + TAIL))
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            n_bytes = file.seek(0, os.SEEK_END)
        outcome = Outcome(
            self.job,
            source_size=self._stat.st_size,
            source_mtime_ns=self._stat.st_mtime_ns,
            bytes=n_bytes,
            sha256=digest,
            bpp=8 * progress.coded_bytes / max(1, progress.pixels),
            pixels=progress.pixels,
            model=progress.model,
            seconds=self.seconds + time.perf_counter() - start,
            warnings=(f"pictures with warnings: {progress.warnings}",) * bool(progress.warnings),
            pictures=progress.pictures,
            failures=tuple(progress.failures),
        )
        record = json.dumps(outcome.line(self.settings.identity)).encode("ascii")
        publish_shard(Path(str(self.settings.dst)), self.job, draft, record)
        discard_shard(draft, journal)
        return outcome


def stat_shard(job: Job, settings: Settings) -> tuple[Path, os.stat_result]:
    """Path and state of the source. Raises InputError, and OutputError for a job that is planned to fail."""
    if job.action == FAIL:
        raise OutputError(job.reason)
    path = Path(str(settings.src), job.source)
    try:
        return path, os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def is_shard(source: str) -> bool:
    """True for the name of a tar shard."""
    return source.lower().endswith(SHARD)


def _resume(draft: Path, journal: Path, head: dict[str, Any]) -> Progress:
    """Progress of an earlier batch with the same `head`, to which `draft` is cut; otherwise empty files."""
    draft.parent.mkdir(exist_ok=True)
    progress = Progress()
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() and draft.exists() else []
    if lines and lines[0] == _line(head):
        whole = [line for line in lines[1:] if line.endswith(b"\n")]
        if whole:
            values = json.loads(whole[-1])
            values["failures"] = [MemberFailure(*failure) for failure in values["failures"]]
            progress = Progress(**values)
        with open(journal, "r+b") as file:
            file.truncate(sum(map(len, [lines[0], *whole])))
    else:
        draft.write_bytes(b"")
        journal.write_bytes(_line(head))
    os.truncate(draft, progress.end)
    return progress


def _line(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode("ascii") + b"\n"


def _ahead(source: tarfile.TarFile, n_done: int, settings: Settings) -> Iterator[Sample]:
    """Samples behind the first `n_done` members; a thread reads them ahead and decodes image files."""
    samples = _samples(source, n_done, settings)
    waiting: deque[Future[Sample | None]] = deque()
    with ThreadPoolExecutor(1) as reader:
        while True:
            while len(waiting) < AHEAD:
                waiting.append(reader.submit(next, samples, None))
            sample = waiting.popleft().result()
            if sample is None:
                return
            yield sample


def _samples(source: tarfile.TarFile, n_done: int, settings: Settings) -> Iterator[Sample]:
    sample, key = Sample([], 0), None
    for count, info in enumerate(source, 1):
        if count <= n_done or not info.isreg():
            continue
        folder, _, name = info.name.rpartition("/")
        if sample.members and key != (folder, name.partition(".")[0]):
            yield sample
            sample = Sample([], 0)
        key = (folder, name.partition(".")[0])
        sample.n_read = count
        file = source.extractfile(info)
        data = b"" if file is None else file.read()
        if len(data) < info.size:
            raise tarfile.ReadError(f"ends within {info.name}")
        member = Member(info, data)
        sample.members.append(member)
        if os.path.splitext(name)[1].lower() in _wanted(settings):
            try:
                member.code = CONVERSIONS[settings.to](data, settings)
            except Exception as error:
                sample.failures.append(MemberFailure(info.name, *message_of(error)))
    if sample.members:
        yield sample


def _wanted(settings: Settings) -> frozenset[str]:
    """Suffixes of the members that are converted."""
    from vqcodec.image.files import suffixes

    return suffixes() if settings.to == "vqc" else frozenset({".vqc"})


def _names(members: list[Member], to: str) -> list[str]:
    """Names in the new shard; a picture keeps its whole name before the new suffix where two would be equal."""
    short = [m.info.name if m.code is None else f"{os.path.splitext(m.info.name)[0]}.{to}" for m in members]
    counts = Counter(short)
    pairs = zip(members, short, strict=True)
    return [f"{m.info.name}.{to}" if m.code and counts[name] > 1 else name for m, name in pairs]


def _block(info: tarfile.TarInfo, name: str, data: bytes) -> bytes:
    """A member with its header, padded to blocks."""
    new = copy.copy(info)
    new.name, new.size = name, len(data)
    new.pax_headers = {key: value for key, value in info.pax_headers.items() if key not in ("path", "size")}
    header = new.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    return header + data + bytes(-len(data) % tarfile.BLOCKSIZE)
