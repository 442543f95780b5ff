"""Data flows one way: a room imports only rooms before it, and no file imports itself through others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOMS = (
    "errors", "text", "environment", "secrets", "yaml_text", "config", "templates", "data", "store",
    "tracking", "inference", "statistics", "scoring", "selection", "finetune", "evaluate", "recipe", "plan", "cost",
    "report", "run", "audit", "api", "cli", "__main__",
)  # fmt: skip
"""The order in which they may be read: each imports from those before it only."""
LOOSE_MODULES = 8


def module_files(root: Path) -> dict[str, Path]:
    """Module name -> its file; finetune/ and evaluate/ through their links."""
    found = {}
    for folder in ("selectit", "finetune", "evaluate"):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if parts[:2] not in (("selectit", "finetune"), ("selectit", "evaluate")):
                parts = parts if parts[0] == "selectit" else ("selectit", *parts)
                found[".".join(parts).removesuffix(".__init__")] = path
    return found


@pytest.fixture(scope="module")
def imports(root) -> dict[str, set[str]]:
    """Module -> the modules of this project that it imports, inside functions and for type checking too."""
    files = module_files(root)
    return {name: set(imported(ast.parse(path.read_text()), files)) - {name} for name, path in files.items()}


def imported(tree: ast.Module, known: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in known or node.module in known:
                    yield name if name in known else str(node.module)


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_room_imports_only_rooms_before_it(imports):
    order = {name: place for place, name in enumerate(ROOMS)}
    upward = [
        f"{module} imports {other}"
        for module, others in imports.items()
        for other in sorted(others)
        if room(module) and room(other) and order[room(other)] > order[room(module)]
    ]
    assert upward == []


def test_no_file_imports_itself_through_others(imports):
    try:
        order = list(TopologicalSorter(imports).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")
    assert len(order) == len(imports) > 100


def test_few_modules_lie_loose(root):
    assert len(list((root / "selectit").glob("*.py"))) <= LOOSE_MODULES


def test_the_test_sees_imports_inside_functions(root):
    files = module_files(root)
    inside = "def f():\n    from selectit.cost import price\n    import selectit.run.engine"
    code = f"from selectit.errors import E\n{inside}"
    assert set(imported(ast.parse(code), files)) == {"selectit.errors", "selectit.cost.price", "selectit.run.engine"}


def test_only_known_names_lie_at_the_top(root):
    tracked = {path.name for path in root.iterdir() if not path.name.startswith(".")}
    made = {"runs", "selectit.egg-info", "build", "wandb", "site"}
    assert tracked - made == {
        "selectit", "finetune", "evaluate", "recipes", "tests", "docs", "demo", "benchmarks", "README.md", "LICENSE",
        "Makefile", "constraints.txt", "environment.yml", "pyproject.toml",
    }  # fmt: skip


def test_no_two_classes_have_one_name(root):
    """A reader who meets a name in a signature knows which class it is."""
    files: dict[str, list[str]] = {}
    for module, path in module_files(root).items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files.setdefault(node.name, []).append(module)
    assert {name: found for name, found in files.items() if len(found) > 1} == {}
