"""Files are there whole or not at all, and JSONL that a kill tore is read and appended to."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from selectit.data.jsonl import append_jsonl, iter_jsonl, new_lines, whole_lines, write_jsonl
from selectit.data.whole_files import part_of, whole_file, write_whole
from selectit.errors import UserError

MODULES = {"selectit/data/whole_files.py", "selectit/data/jsonl.py", "selectit/data/kept.py"}
"""The last one's files are named by their content, which is known when they are written."""
NOT_WRITING = {"selectit/audit/unused.py", "finetune/weights.py", "finetune/card.py", "selectit/data/fetch.py"}
"""These rename what is there already: a folder that is removed, files that stay next to new weights, a card that
somebody edited, a file that another library wrote."""


def test_no_other_module_writes_under_another_name_and_renames(root: Path):
    found = []
    for path in (path for room in ("selectit", "finetune", "evaluate") for path in sorted((root / room).rglob("*.py"))):
        name, text = path.relative_to(root).as_posix(), path.read_text()
        if name in MODULES or name.startswith(("selectit/finetune", "selectit/evaluate")):
            continue
        texts = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        renames = "os.replace(" in text and name not in NOT_WRITING
        if renames or any(one.endswith((".part", ".tmp", ".partial")) for one in texts):
            found.append(name)
    assert found == [], "write with selectit.data.whole_files"


def test_a_file_is_as_it_was_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file.json"
    write_whole(path, "old", durable=True)
    with pytest.raises(KeyboardInterrupt), whole_file(path) as part:
        part.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    part_of(path).write_text("what a killed process left")
    write_whole(path, "é\r\n", shared=True)
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_torn_last_line_swallows_no_other_and_is_passed_over(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert list(whole_lines(path)) == []
    append_jsonl(path, [{"a": 1}, {"a": "é"}])
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        append_jsonl(path, [["new"]], durable=True)
        whole = [json.loads(line) for line in content[:length].split(b"\n")[:2] if line.endswith(b"}")]
        assert list(whole_lines(path)) == [*whole, ["new"]]


def test_lines_are_read_once_they_are_ended(tmp_path):
    path = tmp_path / "events.jsonl"
    assert new_lines(path, 0) == ([], 0)
    path.write_bytes(b'{"a": 1}\n{"a"')
    values, position = new_lines(path, 0)
    assert values == [{"a": 1}]
    with path.open("ab") as f:
        f.write(b": 2}\n")
    assert new_lines(path, position) == ([{"a": 2}], path.stat().st_size)


def test_a_line_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"a": "é"}])
    assert path.read_text(encoding="utf-8") == '{"a": "é"}\n'
    path.write_text('{"a": 1}\n\n{"a"\n')
    with pytest.raises(UserError, match=r"rows\.jsonl, line 3: not JSON"):
        list(iter_jsonl(path))
