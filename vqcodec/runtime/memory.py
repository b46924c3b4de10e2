"""Memory that this process may still allocate, and the check of a picture before it is allocated."""

from __future__ import annotations

from pathlib import Path

from ..errors import LimitError

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
CGROUP = Path("/sys/fs/cgroup")
UNKNOWN = 2**62
UNCHECKED = 2**26
"""Bytes that are allocated without a check."""
BYTES_PER_PIXEL = 7
"""An array of pixels, 3 bytes, and an image of Pillow, 4: the least that a picture takes."""


def free_memory() -> int:
    """Bytes that can be allocated without swapping, by the system and the control group; UNKNOWN if not told."""
    free = 1024 * _meminfo().get("MemAvailable", UNKNOWN // 1024)
    limit, used = _text(CGROUP / "memory.max").strip(), _text(CGROUP / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        free = min(free, int(limit) - int(used))
    return max(0, free)


def check_memory(name: str, needed: int) -> None:
    """Raise LimitError where fewer than `needed` bytes can be allocated, swap included; `name` begins the message."""
    if needed <= UNCHECKED:
        return
    free = min(free_memory() + 1024 * _meminfo().get("SwapFree", 0), _address_space())
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


def _meminfo() -> dict[str, int]:
    """Entries of MEMINFO, kB."""
    pairs = (line.split() for line in _text(MEMINFO).splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in pairs if len(words) > 1 and words[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
