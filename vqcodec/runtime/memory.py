"""Memory that this process may still allocate, and the check of a picture before it is allocated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import LimitError
from .control_groups import groups

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
UNKNOWN = 2**62
UNCHECKED = 2**26
"""Bytes that are allocated without a check."""
BYTES_PER_PIXEL = 7
"""An array of pixels, 3 bytes, and an image of Pillow, 4: the least that a picture takes."""

STEPPED_BYTES_PER_PIXEL = 15
"""The least that decoding a file with a quantization step takes: three planes of int32 a pixel, beside the pixels."""


def free_memory() -> int:
    """Bytes that can be allocated without swapping, by the system and control groups; UNKNOWN if not told."""
    free = 1024 * _numbers(MEMINFO).get("MemAvailable", UNKNOWN // 1024)
    return max(0, min([free, *(left for folder in groups("memory") for left in _left(folder))]))


def _left(folder: Path) -> Iterator[int]:
    """Bytes that a control group may still allocate, if it has a limit: version 2 of control groups, or version 1."""
    for most, now, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _text(folder / most).strip(), _text(folder / now).strip()
        if limit.isdigit() and used.isdigit():
            # Files in the cache count as used, and make room when it is needed.
            yield int(limit) - int(used) + _numbers(folder / "memory.stat").get(cached, 0)


def check_memory(name: str, needed: int) -> None:
    """Raise LimitError where fewer than `needed` bytes can be allocated, swap included; `name` begins the message."""
    if needed <= UNCHECKED:
        return
    free = min(free_memory() + 1024 * _numbers(MEMINFO).get("SwapFree", 0), _address_space())
    if needed > free:
        start = f"{name}: " if name else ""
        raise LimitError(
            f"{start}needs at least {needed / 1e9:.2f} GB of memory, and {free / 1e9:.2f} GB can be allocated; "
            "try a smaller picture, or --region"
        )


def _address_space() -> int:
    """Bytes left below the limit on the address space of the process (`ulimit -v`)."""
    try:
        import resource
    except ImportError:  # Windows
        return UNKNOWN
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _text(STATM).split()
    if limit == resource.RLIM_INFINITY or not pages:
        return UNKNOWN
    return max(0, limit - int(pages[0]) * resource.getpagesize())


def _numbers(path: Path) -> dict[str, int]:
    """First number of each line of a file of the system, by its name: kB in MEMINFO, bytes in `memory.stat`."""
    pairs = (line.split() for line in _text(path).splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in pairs if len(words) > 1 and words[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
