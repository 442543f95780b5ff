"""What a task of lm-eval is made of: its YAML and Python files, its data files and its data sets on the hub.

Reads a user's folder of task YAMLs (`include_path`) and lm-eval's own. Imports neither lm-eval nor anything heavy: a
plan is made and fingerprinted from this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selectit.errors import UserError, did_you_mean
from selectit.evaluate.benchmarks.task_yamls import TaskFolder, is_visible, lm_eval_tasks_folder, read_with_includes

_BUILDERS = ("json", "csv", "text", "parquet", "arrow", "pandas", "xml", "imagefolder", "audiofolder", "webdataset")
"""Words that stand for a format as `dataset_path`; the files are named in `dataset_kwargs`."""


@dataclass(frozen=True)
class TaskFiles:
    """Of a task, or of a group with all its members; each in a fixed order."""

    tasks: tuple[str, ...]
    """Names of the tasks; of a group, those of its members and of theirs."""
    defining: tuple[Path, ...]
    """YAML files that name a task or a group."""
    others: tuple[Path, ...]
    """YAML files that those include, and Python files whose functions they name."""
    data: tuple[Path, ...]
    datasets: tuple[tuple[str, str | None], ...]
    """Of the hub, with the revision where a YAML names one."""
    untracked: tuple[str, ...]
    """What else is read and not known before it is: addresses, and data sets that Python code loads."""

    @property
    def files(self) -> tuple[Path, ...]:
        return self.defining + self.others + self.data


def find_task(name: str, include_path: str | None) -> TaskFiles:
    """A name in the user's folder comes before the same name of lm-eval.

    Args:   name: of a task or of a group.
    Raises: UserError for a name that neither has, a tag, a file that cannot be read and a data file that is not there.
    """
    if include_path is not None and not Path(include_path).is_dir():
        raise UserError(f"include_path: there is no folder {include_path}")
    finder = _Finder(None if include_path is None else Path(include_path))
    finder.add(name)
    return finder.found()


class _Finder:
    def __init__(self, include_path: Path | None) -> None:
        self._own = include_path
        self._own_folder = None if include_path is None else TaskFolder(include_path)
        self._tasks: dict[str, None] = {}
        self._defining, self._others, self._data = dict[Path, None](), dict[Path, None](), dict[Path, None]()
        self._datasets: dict[tuple[str, str | None], None] = {}
        self._untracked: dict[str, None] = {}

    def found(self) -> TaskFiles:
        others = [path for path in self._others if path not in self._defining]
        return TaskFiles(
            tuple(self._tasks), tuple(self._defining), tuple(others), tuple(self._data),
            tuple(self._datasets), tuple(self._untracked),
        )  # fmt: skip

    def add(self, name: str) -> None:
        if (path := self._file(name)) is None:
            raise self._unknown(name)
        self._add_member(name, ())
        if not self._tasks:
            raise UserError(f"{path}: the group {name} has no task; name some under `task:`")

    def _file(self, name: str) -> Path | None:
        if self._own_folder is not None and name in self._own_folder.names:
            if name in self._own_folder.again:
                raise UserError(
                    f"{self._own_folder.again[name]} defines {name}, and so does {self._own_folder.names[name]}; give "
                    "one of them another name"
                )
            return self._own_folder.names[name]
        return lm_eval_tasks_folder().names.get(name)

    @property
    def _folders(self) -> list[TaskFolder]:
        return [*([self._own_folder] if self._own_folder else []), lm_eval_tasks_folder()]

    def _tagged(self, tag: str) -> list[str]:
        return sorted(set().union(*(folder.tagged(tag) for folder in self._folders)))

    def _add_member(self, name: str, above: tuple[str, ...]) -> None:
        """Args: above: the groups that it is a member of."""
        if (path := self._file(name)) is None:
            if not (tasks := self._tagged(name)):
                raise self._unknown(name)
            for task in tasks:
                self._add_member(task, above)
            return
        if name in above:
            raise UserError(f"{path}: the group {name} is a member of itself")
        self._defining[path.resolve()] = None
        content = self._read(path)
        self._add_data(content, path)
        if _is_group(content):
            self._add_members(content, path, (*above, name))
        else:
            self._tasks[name] = None

    def _add_members(self, group: Mapping[str, Any], path: Path, above: tuple[str, ...]) -> None:
        members = group.get("task") or []
        for member in members if isinstance(members, list) else [members]:
            if isinstance(member, str):
                self._add_member(member, above)
                continue
            name = member.get("group", member.get("task")) if isinstance(member, dict) else None
            if not isinstance(name, str):
                raise UserError(f"{path}: a member of a group is a name or has `task` or `group`; found {member!r}")
            self._add_data(member, path)
            if isinstance(member.get("task"), list):
                self._add_members(member, path, above)
            elif self._file(name) is not None or self._tagged(name):
                self._add_member(name, above)
            else:  # defined where it stands
                self._tasks[f"{above[-1]}::{name}"] = None

    def _unknown(self, name: str) -> UserError:
        if tasks := self._tagged(name):
            shown = ", ".join(tasks[:8]) + (f" and {len(tasks) - 8} more" if len(tasks) > 8 else "")
            return UserError(
                f"'{name}' is a tag of lm-eval, which has no number of its own; name one of its tasks ({shown}), or a "
                "group with `aggregate_metric_list` that has them as members"
            )
        near = did_you_mean(name, [one for folder in self._folders for one in folder.names])
        where = "lm-eval has" if self._own is None else f"{self._own} and lm-eval have"
        return UserError(
            f"{where} no task or group '{name}'.{near} `lm-eval ls tasks` lists lm-eval's; a YAML of your own is found "
            "with include_path"
        )

    def _read(self, path: Path) -> dict[str, Any]:
        content, others = read_with_includes(path)
        self._others.update(dict.fromkeys(others))
        return content

    def _add_data(self, config: Mapping[str, Any], path: Path) -> None:
        """Of a task, or of what a group changes in its members."""
        if config.get("class") or config.get("custom_dataset"):
            self._untracked["a data set that its Python code loads"] = None
        where = config.get("dataset_path")
        if not isinstance(where, str):
            return
        options = config.get("dataset_kwargs") or {}
        root = self._own or Path()
        if where in _BUILDERS:
            root = root / str(options.get("data_dir") or "")
            for text in list(_texts(options.get("data_files"))) or ([""] if options.get("data_dir") else []):
                self._add_files(text, root, path)
        elif where.startswith(("/", "./", "../", "~")) or (self._own is not None and (root / where).exists()):
            self._add_files(where, root, path)
        else:
            revision = options.get("revision")
            self._datasets[where, None if revision is None else str(revision)] = None

    def _add_files(self, text: str, root: Path, path: Path) -> None:
        if "://" in text:
            self._untracked[text] = None
            return
        place = root / Path(text).expanduser()
        if place.is_dir():
            found = [file for file in sorted(place.rglob("*")) if file.is_file() and is_visible(file, place)]
        elif any(sign in text for sign in "*?["):
            found = sorted(file for file in root.glob(text) if file.is_file())
        else:
            found = [place] if place.is_file() else []
        if not found:
            raise UserError(
                f"{path}: there is no data file {place}; a relative path in a task is read from include_path, the "
                "folder of your task YAMLs"
            )
        self._data.update(dict.fromkeys(found))


def _is_group(content: Mapping[str, Any]) -> bool:
    return "group" in content and "class" not in content


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)
