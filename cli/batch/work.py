"""Conversion of one file of a batch; every failure becomes an `Outcome` with a message and an exit code."""

from __future__ import annotations

import hashlib
import os
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vqcodec.config.effort import EFFORT
from vqcodec.errors import InputError, LimitError, OutputError, VqcError, is_out_of_memory
from vqcodec.models.file_info import read_info

from ..files import read_input, write_new
from ..messages import refuse_losses
from .plan import FAIL, REPLACE, Job, file_digest


@dataclass(frozen=True)
class Settings:
    """Options of a batch, equal for all files."""

    src: Path
    dst: Path
    to: str
    """vqc, png, jpg or webp."""
    model: str | None
    """None: chosen for each picture, as `encode` does."""
    rate: dict[str, Any]
    """Keywords of `vqcodec.encode`, from `options.parse_rate`."""
    strip: bool
    device: str
    max_pixels: int
    debug: bool
    effort: int = EFFORT
    keep_times: bool = False
    strict: bool = False
    """A file that would need a warning fails."""


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
    model: str = ""
    """Model of the .vqc file."""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def convert(job: Job, settings: Settings) -> Outcome:
    """Read, convert and write one file; the outcome holds any error."""
    start, source = time.perf_counter(), settings.src / job.source
    try:
        return replace(_convert(job, settings), seconds=time.perf_counter() - start)
    except Exception as error:
        if settings.debug:
            traceback.print_exc()
        message, code = _message(error)
        return Outcome(job, message.removeprefix(f"{source}: "), code, seconds=time.perf_counter() - start)


def _convert(job: Job, settings: Settings) -> Outcome:
    if job.action == FAIL:
        raise OutputError(job.reason)
    source, target = settings.src / job.source, settings.dst / job.target
    try:
        before = os.stat(source)  # before reading: the next batch notices a change during the conversion
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from error
    data, coded, warnings = (_encode if settings.to == "vqc" else _decode)(source, settings)
    _make_folder(target.parent)
    if job.replaces is not None and file_digest(target) not in (job.replaces, None):
        raise OutputError(f"{target}: was changed during the batch; add -f to overwrite it")
    times = (before.st_atime_ns, before.st_mtime_ns) if settings.keep_times else None
    write_new(target, data, job.action == REPLACE, times)
    digest = hashlib.sha256(data).hexdigest()
    info = read_info(coded, None)
    return Outcome(
        job,
        source_size=before.st_size,
        source_mtime_ns=before.st_mtime_ns,
        bytes=len(data),
        sha256=digest,
        bpp=info.bpp,
        model=info.model or "",
        warnings=warnings,
    )


def _encode(source: Path, settings: Settings) -> tuple[bytes, bytes, tuple[str, ...]]:
    """(target, its .vqc file, warnings)."""
    import vqcodec
    from vqcodec.image.files import read_picture
    from vqcodec.image.picture import strip as strip_picture

    picture = read_picture(source, settings.max_pixels)
    picture = strip_picture(picture) if settings.strip else picture
    refuse_losses(picture.warnings, settings.strict)
    data = vqcodec.encode(
        picture,
        settings.model,
        effort=settings.effort,
        device=settings.device,
        **settings.rate,
    )
    return data, data, picture.warnings


def _decode(source: Path, settings: Settings) -> tuple[bytes, bytes, tuple[str, ...]]:
    """(target, its .vqc file, warnings)."""
    from vqcodec.api import decode_picture
    from vqcodec.image.files import write_picture

    coded = read_input(source)
    picture = decode_picture(coded, device=settings.device, max_pixels=settings.max_pixels)
    data, lost = write_picture(picture, settings.to)
    refuse_losses((*picture.warnings, *lost), settings.strict)
    return data, coded, (*picture.warnings, *lost)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{folder}: a file exists where a directory is needed") from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be created: {error.strerror or error}") from error


def _message(error: Exception) -> tuple[str, int]:
    """One line, and the exit code."""
    if isinstance(error, VqcError):
        message, code = str(error), error.exit_code
    elif is_out_of_memory(error):
        message, code = "out of memory; try a smaller -j or --max-pixels", LimitError.exit_code
    else:
        message, code = f"internal error: {type(error).__name__}: {error} (--debug shows where)", VqcError.exit_code
    return " ".join(message.split()), code
