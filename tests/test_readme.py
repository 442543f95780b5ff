"""The README's tree is the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOMS = ("selectit", "finetune", "evaluate", "recipes")
SUFFIXES = (".py", ".yaml", ".txt", ".jinja", ".css")
NOT_LISTED = ("__init__.py", "__main__.py")


@pytest.fixture(scope="module")
def tree(root: Path) -> str:
    text = (root / "README.md").read_text()
    return text[text.index("## The tree") :].split("```")[1]


def benchmark_folders(root: Path) -> set[Path]:
    """Each has a README of its own, and one line in the tree."""
    return {path.parent for path in (root / "evaluate" / "benchmarks").glob("*/benchmark.py")}


def files(root: Path) -> set[str]:
    found = set()
    for room in ROOMS:
        for path in (root / room).rglob("*"):
            relative = path.relative_to(root)
            through_a_link = relative.parts[:2] in (("selectit", "finetune"), ("selectit", "evaluate"))
            named = ("profiles", "deepspeed", "strategies")
            told_by_folder = path.parent.name in named or path.parent in benchmark_folders(root)
            if path.is_file() and path.suffix in SUFFIXES and not through_a_link and not told_by_folder:
                found.add(str(relative))
    return {name for name in found if Path(name).name not in NOT_LISTED}


def listed(tree: str) -> set[str]:
    """Files by their whole path, which the indentation of a line gives."""
    found, folders = set(), {}
    for line in tree.strip("\n").splitlines():
        depth = len(line) - len(line.lstrip())
        if depth > 20:  # what a long line says of its names
            continue
        if folder := re.match(r" *([\w-]+)/", line):
            folders = {at: name for at, name in folders.items() if at < depth} | {depth: folder[1]}
            continue
        above = [name for at, name in sorted(folders.items()) if at < depth]
        names = re.match(r" *((?:[\w.-]+\.\w+(?:, |,$)?)+)", line)
        found |= {"/".join([*above, name.strip()]) for name in (names[1].split(",") if names else ()) if name.strip()}
    return found


def test_the_tree_is_that_of_the_rooms(root, tree):
    reported = {name for name in listed(tree) if name.split("/")[0] in ROOMS}
    assert files(root) - reported == set(), "add a line for each to the tree in README.md"
    assert reported - files(root) == set(), "these are not there"


def test_each_benchmark_has_one_line(root, tree):
    inside = tree[tree.index("  benchmarks/") : tree.index("  model/")]
    assert sorted(re.findall(r"^    (\w+)/ +\S", inside, re.M)) == sorted(p.name for p in benchmark_folders(root))
