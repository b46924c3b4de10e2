"""Memory is estimated before it is allocated: a picture beyond it ends in one line, exit code 6 and no file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vqcodec
from tests.commands import Invoke
from vqcodec.errors import LimitError
from vqcodec.models import loading
from vqcodec.runtime import control_groups, memory

GIB = 2**30


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder that the system's files are read from; empty. The process is in the control group `own` of its mount."""
    (tmp_path / "cgroup").write_text("0::/own\n")
    (tmp_path / "mountinfo").write_text(f"31 22 0:26 / {tmp_path}/groups rw - cgroup2 cgroup rw\n")
    (tmp_path / "groups" / "own").mkdir(parents=True)
    monkeypatch.setattr(control_groups, "PROC", tmp_path)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    return tmp_path


def test_the_memory_of_a_control_group_counts(system: Path) -> None:
    assert memory.free_memory() == memory.UNKNOWN
    (system / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 4 kB\n")
    assert memory.free_memory() == 4096
    own, around = system / "groups" / "own", system / "groups"
    (own / "memory.max").write_text("5000\n")
    (own / "memory.current").write_text("2000\n")
    assert memory.free_memory() == 3000
    (own / "memory.stat").write_text("anon 1700\ninactive_file 300\n")
    assert memory.free_memory() == 3300
    (around / "memory.max").write_text("9000\n")
    (around / "memory.current").write_text("6500\n")
    assert memory.free_memory() == 2500
    (around / "memory.max").write_text("max\n")
    assert memory.free_memory() == 3300
    (own / "memory.current").write_text("7000\n")
    assert memory.free_memory() == 0


def test_the_memory_of_a_control_group_of_version_1_counts(system: Path) -> None:
    (system / "cgroup").write_text("5:cpu,cpuacct:/other\n4:memory:/own\n")
    (system / "mountinfo").write_text(f"31 22 0:26 / {system}/groups rw - cgroup cgroup rw,memory\n")
    own = system / "groups" / "own"
    (own / "memory.limit_in_bytes").write_text("5000\n")
    (own / "memory.usage_in_bytes").write_text("1000\n")
    assert memory.free_memory() == 4000
    (own / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 200\n")
    assert memory.free_memory() == 4200


def test_swap_counts_and_small_amounts_are_not_checked(system: Path) -> None:
    memory.check_memory("x.png", 2**40)  # nothing is known
    (system / "meminfo").write_text(f"MemAvailable: {GIB // 1024} kB\nSwapFree: {GIB // 1024} kB\n")
    memory.check_memory("x.png", 2 * GIB)
    with pytest.raises(LimitError, match=r"x\.png: needs at least 2\.15 GB of memory, and 2\.15 GB can be allocated"):
        memory.check_memory("x.png", 2 * GIB + 1)
    (system / "meminfo").write_text("MemAvailable: 0 kB\n")
    memory.check_memory("x.png", memory.UNCHECKED)


@pytest.mark.skipif(sys.platform != "linux", reason="the size of the address space is read from /proc")
def test_the_limit_of_the_address_space_counts(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (3 * GIB, resource.RLIM_INFINITY))
    monkeypatch.setattr(memory, "STATM", system / "statm")
    (system / "statm").write_text(f"{GIB // resource.getpagesize()} 1 1\n")
    memory.check_memory("x.png", 2 * GIB)
    with pytest.raises(LimitError, match=r"2\.15 GB can be allocated"):
        memory.check_memory("x.png", 2 * GIB + 1)


def test_commands_refuse_and_write_nothing(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invoke: Invoke, tiny_model: str
) -> None:
    pixels = np.zeros((300, 400, 3), np.uint8)
    source, coded = tmp_path / "x.png", tmp_path / "x.vqc"
    Image.fromarray(pixels).save(source)
    coded.write_bytes(vqcodec.encode(pixels, tiny_model))
    monkeypatch.setattr(memory, "UNCHECKED", 0)
    (system / "meminfo").write_text("MemAvailable: 800 kB\n")
    for arguments in (
        ("encode", source, "-o", tmp_path / "y.vqc", "-m", tiny_model),
        ("decode", coded, "-o", tmp_path / "y.png"),
    ):
        code, _, told = invoke(*map(str, arguments))
        assert code == LimitError.exit_code
        assert "needs at least 0.00 GB of memory" in told
        assert len(told.strip().splitlines()) == 1
    assert not list(tmp_path.glob("y.*"))
    code, _, _ = invoke("decode", str(coded), "-o", str(tmp_path / "part.png"), "--region", "0,0,64,64")
    assert code == 0


def test_planes_of_stepped_files_count(system: Path, monkeypatch: pytest.MonkeyPatch, stepped: str) -> None:
    """The pixels alone would fit, and so would the planes; both are checked before the model is loaded."""
    data = vqcodec.encode(np.zeros((300, 400, 3), np.uint8), stepped)
    monkeypatch.setattr(memory, "UNCHECKED", 0)
    (system / "meminfo").write_text("MemAvailable: 1500 kB\n")
    assert 300 * 400 * 12 < 1500 * 1024 < 300 * 400 * memory.STEPPED_BYTES_PER_PIXEL
    monkeypatch.setattr(loading, "load", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(LimitError, match=r"needs at least 0\.00 GB"):
        vqcodec.decode(data)
