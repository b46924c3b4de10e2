"""Result of one file of a batch, and its line in the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from vqcodec.errors import LimitError, VqcError, is_out_of_memory

from .plan import Job


class MemberFailure(NamedTuple):
    """A picture of a shard that failed."""

    member: str
    error: str
    exit_code: int


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
    pictures: int = 1
    """Pictures in the target: more than one in a shard."""
    failures: tuple[MemberFailure, ...] = ()
    """Pictures of a shard that failed; their samples are not in the target."""

    def line(self, identity: str) -> dict[str, Any]:
        """The outcome as a line of the manifest."""
        line: dict[str, Any] = {"source": self.job.source, "target": self.job.target, "settings": identity}
        line["seconds"] = round(self.seconds, 3)
        if self.error:
            return line | {"status": "failed", "error": self.error, "exit_code": self.exit_code}
        if self.pictures != 1 or self.failures:
            line |= {"pictures": self.pictures, "failures": [failure._asdict() for failure in self.failures]}
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


def message_of(error: Exception) -> tuple[str, int]:
    """Message of one line, and the exit code."""
    if isinstance(error, VqcError):
        message, code = str(error), error.exit_code
    elif is_out_of_memory(error):
        message, code = "out of memory; try a smaller -j or --max-pixels", LimitError.exit_code
    else:
        message, code = f"internal error: {type(error).__name__}: {error} (--debug shows where)", VqcError.exit_code
    return " ".join(message.split()).removeprefix("<bytes>: "), code
