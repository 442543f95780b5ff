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


def files(root: Path) -> list[Path]:
    found = []
    for room in ROOMS:
        for path in (root / room).rglob("*"):
            relative = path.relative_to(root)
            through_a_link = relative.parts[:2] in (("selectit", "finetune"), ("selectit", "evaluate"))
            if path.is_file() and path.suffix in SUFFIXES and path.name not in NOT_LISTED and not through_a_link:
                found.append(relative)
    return found


def test_every_file_of_the_rooms_is_in_the_tree(root, tree):
    named = set(re.findall(r"[\w.-]+\.(?:py|yaml|txt|jinja|css)\b", tree))
    in_folders = ("profiles", "tasks")  # told by their folder's line
    missing = [str(f) for f in files(root) if f.name not in named and f.parent.name not in in_folders]
    assert not missing, f"add a line for each to the tree in README.md: {missing}"


def test_every_name_in_the_tree_is_there(root, tree):
    names = {path.name for path in root.rglob("*") if ".venv" not in path.parts and "runs" not in path.parts}
    listed = re.findall(r"[\w.-]+\.(?:py|yaml|yml|txt|jinja|css|toml)\b", tree)
    assert listed and not [name for name in listed if name not in names]
