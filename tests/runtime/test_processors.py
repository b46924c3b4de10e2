"""CPU quotas of control groups, in files as Linux shows them, and the number of threads that follows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vqcodec.runtime import processors, threads
from vqcodec.runtime.processors import quota, usable_processors


class Tree:
    """Files of /proc/self in `proc`, and mounted control groups."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.mounts = folder / "proc", folder / "my groups"
        self.proc.mkdir()

    def show(self, groups: str, *mounts: tuple[str, str, str]) -> None:
        """`groups`: text of `cgroup`; mounts: (root, folder below `mounts`, kind and options)."""
        (self.proc / "cgroup").write_text(groups)
        lines = ["22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/root rw"]
        for root, place, kind in mounts:
            path = str(self.mounts / place).replace(" ", r"\040")
            lines.append(f"31 22 0:26 {root} {path} rw,nosuid shared:9 - {kind}")
        (self.proc / "mountinfo").write_text("\n".join(lines) + "\n")

    def limit(self, place: str, **files: str) -> None:
        """Write files of a group: cpu_max="50000 100000" is the file cpu.max."""
        folder = self.mounts / place
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_", ".", 1)).write_text(text + "\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


VERSION_2 = ("/", "", "cgroup2 cgroup rw,nsdelegate")


@pytest.mark.parametrize(
    ("text", "count"),
    [("150000 100000", 2), ("100000 100000", 1), ("1000 100000", 1), ("400000 50000", 8), ("max 100000", None)],
)
def test_version_2(tree: Tree, text: str, count: int | None) -> None:
    tree.show("0::/\n", VERSION_2)
    tree.limit("", cpu_max=text)
    assert quota(tree.proc) == count


@pytest.mark.parametrize(("own", "around", "count"), [("max", "300000", 3), ("200000", "300000", 2), ("9", "5", 1)])
def test_the_smallest_limit_of_a_group_and_those_around_it_holds(tree: Tree, own: str, around: str, count: int) -> None:
    tree.show("0::/user/own\n", VERSION_2)
    tree.limit("user", cpu_max=f"{around} 100000")
    tree.limit("user/own", cpu_max=f"{own} 100000")
    tree.limit("other", cpu_max="1000 100000")
    assert quota(tree.proc) == count


def test_version_1_with_the_controller_among_others(tree: Tree) -> None:
    tree.show(
        "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/\n",
        ("/docker/x", "memory", "cgroup cgroup rw,memory"),
        ("/docker/x", "cpu", "cgroup cgroup rw,cpu,cpuacct"),
        ("/", "unified", "cgroup2 cgroup2 rw"),
    )
    tree.limit("memory", cpu_cfs_quota_us="1", cpu_cfs_period_us="1")
    tree.limit("cpu", cpu_cfs_quota_us="250000", cpu_cfs_period_us="100000")
    assert quota(tree.proc) == 3
    tree.limit("cpu", cpu_cfs_quota_us="-1")
    assert quota(tree.proc) is None


def test_mounted_groups_of_others_do_not_count(tree: Tree) -> None:
    tree.show("0::/own\n", VERSION_2, ("/other", "seen", "cgroup2 cgroup rw"))
    tree.limit("own", cpu_max="300000 100000")
    tree.limit("seen", cpu_max="100000 100000")
    assert quota(tree.proc) == 3


@pytest.mark.parametrize("text", ["", "max", "x 100000", "100000 0", "1 2 3", "\u0663 x"])
def test_what_cannot_be_read_is_no_limit(tree: Tree, text: str) -> None:
    tree.show("0::/\n", VERSION_2)
    tree.limit("", cpu_max=text)
    assert quota(tree.proc) is None


@pytest.mark.parametrize("name", ["cgroup", "mountinfo"])
def test_missing_and_odd_files_of_the_process(tree: Tree, name: str) -> None:
    tree.show("0::/\n", VERSION_2)
    tree.limit("", cpu_max="100000 100000")
    (tree.proc / name).write_bytes(b"\xff:\n")
    assert quota(tree.proc) is None
    (tree.proc / name).unlink()
    assert quota(tree.proc) is None


def test_threads_follow_quota_and_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    for limit, count in ((None, 6), (2, 2), (9, 6)):
        monkeypatch.setattr(processors, "_own_quota", lambda limit=limit: limit)
        assert usable_processors() == threads.thread_count() == count
        threads.prepare()
        assert os.environ.get(threads.VARIABLE) == ("2" if count == 2 else None)
        monkeypatch.delenv(threads.VARIABLE, raising=False)
    monkeypatch.setenv(threads.VARIABLE, "4")
    assert threads.thread_count() == 4
