"""Installed and tracked files: packages, package data, public names, version, and rules on source files."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import vqcodec

ROOT = Path(__file__).parents[1]
SOURCES = ("vqcodec", "cli", "train")
MOST_LINES = 400

SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = SETTINGS["tool"]["setuptools"]


def package_folder(package: str) -> Path:
    """Folder of the files of `package` according to pyproject.toml."""
    for name, folder in SETUPTOOLS["package-dir"].items():
        if package == name or package.startswith(f"{name}."):
            return ROOT / (folder + package.removeprefix(name).replace(".", "/"))
    return ROOT / package.replace(".", "/")


def tracked_files() -> list[Path]:
    """Files that git tracks; skips in an unpacked sdist, which has no list of them."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_every_module_is_in_a_listed_package() -> None:
    folders = {package_folder(package) for package in SETUPTOOLS["packages"]}
    modules = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 40
    assert {str(path.relative_to(ROOT)) for path in modules if path.parent not in folders} == set()


def test_every_listed_package_is_there() -> None:
    for package in SETUPTOOLS["packages"]:
        assert (package_folder(package) / "__init__.py").is_file(), package


def test_every_other_file_of_the_packages_is_package_data() -> None:
    data = set()
    for package, patterns in SETUPTOOLS["package-data"].items():
        assert package in SETUPTOOLS["packages"]
        data |= {path for pattern in patterns for path in package_folder(package).glob(pattern)}
    other = {path for path in tracked_files() if path.relative_to(ROOT).parts[0] in SOURCES and path.suffix != ".py"}
    assert {str(path.relative_to(ROOT)) for path in other - data} == set()
    for needed in (
        "vqcodec/container/FORMAT.md",
        "vqcodec/py.typed",
        "cli/preview/page.html",
        "cli/preview/page.html",
        "train/recipes/photo.toml",
    ):
        assert ROOT / needed in data


def test_bundled_models_are_package_data() -> None:
    from vqcodec.models.registry import CONFIG, WEIGHTS

    patterns = SETUPTOOLS["package-data"]["vqcodec.models"]
    for name in (CONFIG, WEIGHTS, "README.md"):
        assert any(Path("photo", name).match(pattern) for pattern in patterns), name


def test_public_names_are_the_lazy_ones_and_all_resolve() -> None:
    assert set(vqcodec.__all__) == {"__version__", *vqcodec._HOME}
    for name in vqcodec.__all__:
        assert getattr(vqcodec, name) is not None
    assert set(dir(vqcodec)) == set(vqcodec.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = vqcodec.nonsense


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING repeat the table of the lazy ones."""
    tree = ast.parse((ROOT / "vqcodec" / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    assert {alias.name: node.module for node in imports for alias in node.names} == vqcodec._HOME


def test_version() -> None:
    assert SETTINGS["project"]["version"] == vqcodec.__version__ == metadata.version("vqcodec")
    changelog = ROOT / "CHANGELOG.md"
    assert f"\n## [{vqcodec.__version__}]" in changelog.read_text(encoding="utf-8")


def test_licence_is_the_full_text() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert SETTINGS["project"]["license"] == "Apache-2.0"
    for part in ("Version 2.0, January 2004", "9. Accepting Warranty", "END OF TERMS AND CONDITIONS", "APPENDIX"):
        assert part in text


def test_no_module_is_too_long() -> None:
    modules = [path for folder in (*SOURCES, "samples", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in modules}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_file_names_a_machine_or_a_package_index() -> None:
    # Each with a letter in brackets, so that this file is not found itself.
    forbidden = re.compile(rb"/[w]ork/|/[r]oot/|[p]ypi\.org|download\.[p]ytorch\.org|files\.[p]ythonhosted")
    found = []
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data and (word := forbidden.search(data)):
            found.append((str(path.relative_to(ROOT)), word[0]))
    assert found == []
