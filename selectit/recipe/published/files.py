"""Reading a file of published results: single `numbers`, and whole `tables` whose cells share settings.

TEMPLATE.yaml in this folder shows both forms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from selectit import yaml_text
from selectit.config import BenchmarkConfig, Config, as_written, is_execution
from selectit.config.recipe import SHIPPED_NUMBERS
from selectit.errors import UserError, did_you_mean
from selectit.evaluate.profile import load_profile
from selectit.recipe.published.numbers import AVERAGE, OF_TRAINING, UNTRAINED, Published, PublishedNumber

OF_A_ROW = ("values",)
"""Keys of a table's row that are not settings."""
APART = {"name", "metric", "revision"}
"""Fields of a profile's entry that are compared as settings of their own, or not at all."""
NOT_COMPARED = {name for name, info in BenchmarkConfig.model_fields.items() if name in APART or is_execution(info)}


class PublishedTable(Config):
    """A table of a paper. Settings of the table, of the column and of the row are joined, the last one winning."""

    table: str
    """Where it stands in the paper."""
    settings: dict[str, Any] = Field({})
    """Fields that all of its numbers share."""
    columns: dict[str, dict[str, Any]]
    """Column -> its fields; its name is the benchmark where it names no other."""
    rows: tuple[dict[str, Any], ...]
    """Fields of each row, and `values`: one for each column, null where the cell is empty or unknown."""


class PublishedFile(Config):
    """A file as it is written."""

    source: str
    tables: tuple[PublishedTable, ...] = ()
    numbers: tuple[dict[str, Any], ...] = ()


def read_published(location: str) -> Published:
    """Args:   location: one of the names that ship, or the path of a YAML file.
    Raises: UserError with every error of the file, each with where it stands.
    """
    path = (
        Path(str(files("selectit.recipe.published") / f"{location}.yaml"))
        if location in SHIPPED_NUMBERS
        else Path(location)
    )
    if not path.is_file():
        raise UserError(
            f"published: there is no file {location}.{did_you_mean(location, SHIPPED_NUMBERS)} Write one of "
            f"{', '.join(SHIPPED_NUMBERS)}, or the path of a YAML file"
        )
    try:
        raw_file, lines = yaml_text.read_with_lines(path, f"published: {location}")
        written = as_written(PublishedFile, raw_file)
    except ValidationError as error:
        faults = yaml_text.with_lines(_faults(error, PublishedFile), lines)
        raise _refused(location, [f"  {fault}" for fault in faults]) from error
    numbers: list[PublishedNumber] = []
    faults = []
    for where, raw in _cells(written, faults):
        try:
            numbers.append(as_written(PublishedNumber, _with_profile(raw, path.parent)))
        except ValidationError as error:
            faults += [f"{where}{fault}" for fault in _faults(error, PublishedNumber)]
        except UserError as error:
            faults.append(f"{where}{error}")
    if faults:
        placed = yaml_text.with_lines(dict.fromkeys(faults), lines)
        raise _refused(location, [f"  {fault}" for fault in placed])
    if not numbers:
        raise _refused(location, ["  it has no number; give `numbers` or `tables`"])
    return Published(source=written.source, numbers=tuple(numbers))


def profiles_named(path: Path) -> list[str]:
    """Profiles that a file of published results names by a path, which is relative to its own folder."""
    found: dict[str, None] = {}

    def visit(raw: Any) -> None:
        if isinstance(raw, Mapping):
            profile = raw.get("profile")
            if isinstance(profile, str) and profile.endswith((".yaml", ".yml")):
                found[profile] = None
            for value in raw.values():
                visit(value)
        elif isinstance(raw, list):
            for value in raw:
                visit(value)

    visit(yaml_text.read(path, str(path)))
    return list(found)


def _cells(written: PublishedFile, faults: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every number as the fields of a PublishedNumber, with where it stands."""
    for at, table in enumerate(written.tables):
        for position, row in enumerate(table.rows):
            where = f"tables.{at}.rows.{position}"
            values, own = row.get("values"), {key: value for key, value in row.items() if key not in OF_A_ROW}
            if not isinstance(values, list) or len(values) != len(table.columns):
                found = f"{len(values)} values" if isinstance(values, list) else "no list"
                faults.append(f"{where}.values: found {found}, and the table has {len(table.columns)} columns")
                continue
            for (name, column), value in zip(table.columns.items(), values, strict=True):
                if value is None:
                    continue
                shared = _join({"table": table.table, **table.settings}, {"benchmark": name, **column})
                if own.get("strategy") == UNTRAINED:  # its table's selection and training are not those of this row
                    shared = {key: value for key, value in shared.items() if key not in (*OF_TRAINING, "num_seeds")}
                yield f"{where} ({own.get('arm', 'no arm')}, {name}): ", {**_join(shared, own), "value": value}
    for at, raw in enumerate(written.numbers):
        yield f"numbers.{at}: ", raw


def _join(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings such as `finetune` are put together key by key."""
    joined = dict(base)
    for key, value in top.items():
        both = isinstance(value, Mapping) and isinstance(joined.get(key), Mapping)
        joined[key] = _join(joined[key], value) if both else value
    return joined


def _with_profile(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With every field of the benchmark's entry in the number's profile in `evaluate`.

    Raises: UserError where there is no such profile or entry, or `evaluate` contradicts it.
    """
    profile, benchmark = raw.get("profile"), raw.get("benchmark")
    if not isinstance(profile, str) or benchmark == AVERAGE:
        return raw
    if profile.endswith((".yaml", ".yml")):
        profile = str(folder / profile)
    entries = load_profile(profile).benchmarks
    if benchmark not in entries:
        raise UserError(f"profile {raw['profile']} has no benchmark {benchmark}; it has {', '.join(entries)}")
    entry = entries[benchmark].model_dump(mode="json", exclude=NOT_COMPARED)
    given = raw.get("evaluate") or {}
    for key, value in given.items():
        if key in entry and entry[key] != value:
            raise UserError(f"evaluate.{key} is {value}, and {entry[key]} in profile {raw['profile']}; remove one")
    return {**raw, "evaluate": {**entry, **given}}


def _faults(error: ValidationError, schema: type[Config]) -> Iterator[str]:
    for one in error.errors():
        where, found = ".".join(map(str, one["loc"])), one["input"]
        if one["type"] == "extra_forbidden":
            near = did_you_mean(str(one["loc"][-1]), schema.model_fields)
            yield f"{where}: unknown key.{near} Allowed here: {', '.join(schema.model_fields)}"
        elif one["type"] == "missing":
            yield f"{where}: missing; it must be given"
        elif one["type"] == "value_error":
            yield str(one["ctx"]["error"])
        else:
            hint = "; 1 is the whole pool, 0.25 is 25 %" if where == "ratio" else ""
            yield f"{where or 'the file'}: {one['msg']} (found {found!r:.60}){hint}"


def _refused(location: str, faults: list[str]) -> UserError:
    return UserError("\n".join([f"published: {location}:", *faults]))
