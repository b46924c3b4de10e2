"""ARCHITECTURE.md against the tree: a row for every module, no row without one, and imports in the stated direction."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from .pages import ROOT, read

PAGE = read("ARCHITECTURE.md")
PACKAGES = ("vqcodec", "cli", "train")
SCRIPTS = ("scripts", "benchmarks", "samples")
FREE = {"runtime"}
"""Parts that the order of imports does not cover."""


def modules(folders: tuple[str, ...]) -> list[Path]:
    """Modules in the folders, relative to the root; `__init__` and `__main__` left out."""
    found = [path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sorted(path for path in found if path.name not in ("__init__.py", "__main__.py"))


def test_every_module_has_a_row() -> None:
    listed = []
    for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        folder = section.split("/\n")[0]
        listed += [Path(folder, name) for name in re.findall(r"^\| `(\w+\.py)` \| .", section, re.MULTILINE)]
    assert len(listed) == len(set(listed))
    assert sorted(listed) == modules(PACKAGES + SCRIPTS)


def read_levels() -> dict[str, int]:
    """Part -> its place in the order of imports; parts separated by commas share one."""
    (order,) = (
        block for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "->" in block[:40]
    )
    return {part.strip(): i for i, group in enumerate(order.split("->")) for part in group.split(",")}


LEVELS = read_levels()


def part_of(dotted: list[str]) -> str:
    """The folder or module directly under `vqcodec`."""
    return dotted[1] if len(dotted) > 1 else dotted[0]


def imports(path: Path) -> Iterator[str]:
    """Parts that a module imports when it runs: imports for type checkers left out."""
    package = [*(() if path.parts[0] == "vqcodec" else ("vqcodec",)), *path.parts[:-1]]
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    unused = {child for guard in guards for child in ast.walk(guard)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node in unused:
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        target = [*base, *(node.module.split(".") if node.module else [])]
        for dotted in [target] if node.module else [[*target, alias.name] for alias in node.names]:
            if dotted[0] == "vqcodec" and part_of(dotted) in LEVELS:  # not: names of the package itself
                yield part_of(dotted)


def test_imports_point_one_way() -> None:
    wrong = set()
    for path in modules(PACKAGES):
        own = part_of([*(() if path.parts[0] == "vqcodec" else ("vqcodec",)), *path.with_suffix("").parts])
        if own not in FREE:
            wrong |= {f"{path}: {part}" for part in set(imports(path)) - {own} if LEVELS[own] >= LEVELS[part]}
    assert wrong == set()
