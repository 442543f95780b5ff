"""Folders of lm-eval task YAMLs: which file defines a name, which tasks have a tag, and a file with what it includes.

Reads them as lm-eval's index does, and without it: that index parses 14,000 files, this one looks for names in them.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from selectit.errors import UserError

_NAME = re.compile(
    rb"""^["']?(?:task|group)["']?[ \t]*:[ \t]+(?:"([^"\n]+)"|'([^'\n]+)'|([^\s\[{#&*!|>][^\n#]*))""", re.M
)
_INCLUDE = re.compile(rb"""^["']?include["']?[ \t]*:([^\n]*(?:\n[ \t]*-[^\n]*)*)""", re.M)
_FILE_NAME = re.compile(rb"[\w./-]+")
_LARGEST_YAML_BYTES = 1 << 24
_HIDDEN = ("__pycache__", ".ipynb_checkpoints")


def lm_eval_folder() -> Path:
    """Of lm-eval's own tasks; lm-eval is not imported."""
    found = find_spec("lm_eval")
    assert found is not None and found.submodule_search_locations
    return Path(next(iter(found.submodule_search_locations))) / "tasks"


def is_visible(path: Path, root: Path) -> bool:
    return not any(part.startswith(".") or part in _HIDDEN for part in path.relative_to(root).parts)


class _Function(str):
    """`module.function` of a `!function` in a YAML."""


class _TaskLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    pass


_TaskLoader.add_constructor("!function", lambda loader, node: _Function(loader.construct_scalar(node)))


class TaskFolder:
    """The YAMLs below a folder; read when they are first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._contents: dict[Path, bytes] = {}
        self._includes: dict[Path, frozenset[bytes]] = {}
        self.names: dict[str, Path] = {}
        """Task or group -> the first file that defines it."""
        self.again: dict[str, Path] = {}
        """Task or group -> another file that defines it, too."""
        for path in sorted(root.glob("**/*"), key=lambda path: path.as_posix()):
            # those without a suffix are there to be included
            if path.suffix in (".yaml", ".yml", "") and is_visible(path, root) and _is_text(path):
                content = self._contents[path] = path.read_bytes()
                for name in _defined(content) if path.suffix == ".yaml" else ():
                    if self.names.setdefault(name, path) != path:
                        self.again.setdefault(name, path)

    def tagged(self, tag: str) -> set[str]:
        """The tasks that have a tag, which may stand in a file that they include."""
        found = set()
        for path in self._may_have(tag.encode()):
            try:
                content, _ = read_with_includes(path)
            except UserError:
                continue  # as lm-eval's index does
            tags = content.get("tag") or []
            if isinstance(content.get("task"), str) and tag in ([tags] if isinstance(tags, str) else tags):
                found.add(content["task"])
        return found

    def _may_have(self, word: bytes) -> set[Path]:
        """The files with a word in them, and those that include one of these."""
        if not self._includes:
            self._includes = {path: _included(content) for path, content in self._contents.items()}
        found = more = {path for path, content in self._contents.items() if word in content}
        while more:
            names = {path.name.encode() for path in more}
            more = {path for path, included in self._includes.items() if not names.isdisjoint(included)} - found
            found = found | more
        return found


def _is_text(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _LARGEST_YAML_BYTES


@cache
def lm_eval_tasks_folder() -> TaskFolder:
    return TaskFolder(lm_eval_folder())


def _defined(content: bytes) -> Iterator[str]:
    for match in _NAME.finditer(content.removeprefix(codecs.BOM_UTF8)):
        yield next(part for part in match.groups() if part).decode(errors="replace").strip()


def _included(content: bytes) -> frozenset[bytes]:
    texts = _INCLUDE.findall(content)
    return frozenset(name.rpartition(b"/")[2] for text in texts for name in _FILE_NAME.findall(text))


def read_with_includes(path: Path, below: tuple[Path, ...] = ()) -> tuple[dict[str, Any], list[Path]]:
    """A YAML merged with those that it includes, its own keys last; and those files, with all Python files of the
    folders whose functions they name.

    Args:   below: the files that include it.
    Raises: UserError naming the file that cannot be read.
    """
    path = path.resolve()
    if path in below:
        raise UserError(f"{path}: it includes itself")
    try:
        content = yaml.load(path.read_bytes(), Loader=_TaskLoader)
    except OSError as error:
        raise UserError(f"{below[-1] if below else path}: {path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a YAML that can be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: a task is a mapping; found {type(content).__name__}")
    others = list(_python_files(content, path.parent))
    merged: dict[str, Any] = {}
    includes = content.pop("include", None) or []
    for include in [includes] if isinstance(includes, str) else includes:
        included, further = read_with_includes(path.parent / include, (*below, path))
        merged.update(included)
        others += [(path.parent / include).resolve(), *further]
    return {**merged, **content}, others


def _python_files(value: Any, folder: Path) -> Iterator[Path]:
    """A module may import others of its folder."""
    if isinstance(value, _Function):
        module = folder / f"{value.rpartition('.')[0].replace('.', '/')}.py"
        if module.is_file():
            yield from sorted(module.resolve().parent.glob("*.py"))
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _python_files(one, folder)
