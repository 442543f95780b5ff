"""What the files of finished work are called is written in one module."""

from __future__ import annotations

import ast
from pathlib import Path

from selectit.config.recipe import RUNS_FOLDERS
from selectit.data import hashes
from selectit.store import names
from selectit.store.kinds import KINDS

HERE = "selectit/store/names.py"
BELOW = ("selectit/config/recipe.py", "selectit/data/hashes.py")
"""Rooms below the store's, which cannot import from it."""
FILES = {value for name, value in vars(names).items() if name.isupper() and "." in value}


def test_no_other_module_writes_the_name_of_a_file_of_finished_work(root: Path):
    found = [
        f"{path.relative_to(root)}:{node.lineno}: {node.value}"
        for folder in ("selectit", "finetune", "evaluate")
        for path in sorted((root / folder).rglob("*.py"))
        if path.relative_to(root).as_posix() not in (HERE, *BELOW)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in FILES
    ]
    assert found == [], f"import these from {HERE}"


def test_rooms_below_know_the_same_names():
    assert {names.ARTIFACTS_FOLDER, names.HASHES_FILE} <= set(RUNS_FOLDERS)
    assert hashes.MEMORY == names.HASHES_FILE


def test_every_output_of_a_kind_has_its_name_there():
    known = {value for name, value in vars(names).items() if name.isupper()}
    assert {output for kind in KINDS.values() for output in kind.outputs} <= known
