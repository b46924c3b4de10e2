"""Control groups of Linux that the process is in: its own group and those around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")
"""Folder with the files `cgroup` and `mountinfo` of the process."""


def groups(controller: str, proc: Path | None = None) -> Iterator[Path]:
    """Folders of the process's group and of those around it that are in sight, for every hierarchy with a controller.

    Groups of which nothing can be read are left out.

    Args:
        controller: cpu or memory.
        proc: folder of the process's files; default PROC.
    """
    with suppress(OSError, ValueError):
        for folder, top in _hierarchies(controller, proc or PROC):
            yield folder
            while folder != top:
                folder = folder.parent
                yield folder


def _hierarchies(controller: str, proc: Path) -> Iterator[tuple[Path, Path]]:
    """(folder of the process's group, folder of the outermost one in sight) of each hierarchy."""
    paths = {}
    for line in (proc / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            paths["cgroup" if controllers else "cgroup2"] = PurePosixPath(path)
    for line in (proc / "mountinfo").read_text().splitlines():
        place, _, source = line.partition(" - ")
        root, mounted = (_unescaped(field) for field in place.split()[3:5])
        kind, _, options = source.split(" ", 2)
        if kind not in paths or (kind == "cgroup" and controller not in options.split()[-1].split(",")):
            continue
        if paths[kind].is_relative_to(root):  # else other groups are mounted there
            yield Path(mounted, paths[kind].relative_to(root)), Path(mounted)


def _unescaped(field: str) -> str:
    """A path of `mountinfo`, which has spaces and such as octal numbers."""
    return field.encode().decode("unicode_escape") if "\\" in field else field
