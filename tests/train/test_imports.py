"""Imports within the trainer: no circle, imports for type checking included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "vqcodec.train"


def imported(module: str, source: str) -> Iterator[str]:
    """Full names of the modules, and of the names within them, that `source` imports from the trainer."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (base, *(f"{base}.{name.name}" for name in node.names))


def test_no_import_circles() -> None:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    paths = {".".join([PACKAGE, *path.relative_to(root).with_suffix("").parts]): path for path in root.rglob("*.py")}
    graph = {name: set(imported(name, path.read_text())) & paths.keys() for name, path in paths.items()}
    assert graph[f"{PACKAGE}.run"]
    TopologicalSorter(graph).prepare()  # raises CycleError naming the circle
