"""Strategies that are not this project's: of Python files, and of installed distributions.

A file is read once: what was read is hashed and executed, so a strategy's fingerprint holds the content of the code
that runs, whatever becomes of the file. A strategy that is sent to another process takes its source along; the file is
read there too, and refused where it is another one by then.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import inspect
import linecache
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from selectit.config import SelectFields
from selectit.errors import UserError
from selectit.selection.outside import NAME, first_line, guard, line_of, not_functions, wrong_fields
from selectit.selection.strategy import PluginSource, Strategy
from selectit.store.fingerprint import PLUGIN

GROUP = "selectit.strategies"


def source_text(schema: type[Strategy]) -> str:
    """Such as `plugin mine.py`, for messages."""
    if schema.source is None:
        return "selectit"
    return f"plugin {schema.source.name}" if schema.source.is_file else f"the distribution {schema.source.identity}"


def name_of(schema: type[Strategy]) -> str:
    """The name under which recipes have it: the one word of `strategy: Literal["name"]`."""
    [name] = get_args(schema.model_fields["strategy"].annotation)
    return str(name)


def classes_in(module: ModuleType) -> list[type[Strategy]]:
    """The strategies that a module defines: classes with a `strategy: Literal["name"]`.

    Raises: UserError for one that lacks something.
    """
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Strategy)
        and value.__module__ == module.__name__
        and get_args(value.model_fields["strategy"].annotation)
    ]
    for schema in found:
        _check(schema, str(module.__file__))
    return found


def _check(schema: type[Strategy], where: str) -> None:
    """Raises: UserError naming everything that a strategy lacks."""
    faults = []
    names = get_args(schema.model_fields["strategy"].annotation)
    if len(names) != 1 or not NAME.fullmatch(str(names[0])):
        faults.append('strategy must be one name in lower case, such as Literal["my_strategy"]')
    for method in sorted(getattr(schema, "__abstractmethods__", ())):
        what = (getattr(Strategy, method).__doc__ or "").strip().splitlines()[0]
        faults.append(f"the method {method} is missing ({what})")
    faults += [f"{name} must be a method, def {name}(self, ...)" for name in not_functions(schema)]
    if not (schema.__doc__ or "").strip():
        faults.append("a docstring is missing, whose first line is what selectit strategies shows")
    for name, info in schema.model_fields.items():
        if name == PLUGIN:
            faults.append(f"no field may be named {PLUGIN}")
        elif name not in Strategy.model_fields and hasattr(Strategy, name):
            faults.append(f"field {name} has the name of a method of every strategy")
        if not info.description and name not in SelectFields.model_fields:
            faults.append(f"field {name}: a docstring under it is missing")
    faults += wrong_fields(schema)
    if faults:
        raise UserError(f"{where}: strategy class {schema.__name__}: {'; '.join(faults)}")


def of_file(path: Path) -> list[type[Strategy]]:
    """The strategies of a plugin file.

    Raises: UserError naming file and line where it cannot be imported, or what is missing in it.
    """
    path = path.resolve()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"plugin {path} cannot be read ({error.strerror}); name a Python file") from error
    return list(_classes_of(path, content))


@functools.lru_cache(maxsize=64)
def _classes_of(path: Path, content: bytes) -> tuple[type[Strategy], ...]:
    """Once in a process for each content, so that equal strategies of two readings are equal."""
    digest = hashlib.sha256(content).hexdigest()
    module = ModuleType(f"selectit_plugin_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}")
    module.__file__ = str(path)
    # pydantic looks for the names in annotations here, and for the fields' docstrings among the lines of the file
    sys.modules[module.__name__] = module
    text = content.decode("utf-8", errors="replace").splitlines(keepends=True)
    linecache.cache[str(path)] = (len(content), None, text, str(path))
    try:
        exec(compile(content, str(path), "exec", dont_inherit=True), module.__dict__)
    except UserError:
        raise
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise UserError(f"plugin {path}{line}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise UserError(
            f"plugin {path}{line_of(error, str(path))}: {type(error).__name__}: {first_line(error)}"
        ) from error
    found = classes_in(module)
    if not found:
        raise UserError(
            f"plugin {path} has no strategy: a class of selectit.selection.strategy.Strategy with "
            'strategy: Literal["name"]'
        )
    source = PluginSource(str(path), f"sha256:{digest}")
    for schema in found:
        schema.source = source
        guard(schema, source_text(schema), str(path))
        copyreg.pickle(schema, _reduced)  # type: ignore[arg-type]
    return tuple(found)


def _reduced(strategy: Strategy) -> tuple[Any, ...]:
    """How a plugin's strategy is pickled: by what it was read from, for no module of its name can be imported."""
    assert strategy.source is not None
    return restored, (strategy.source, strategy.strategy, dict(strategy))


def restored(source: PluginSource, name: str, fields: dict[str, Any]) -> Strategy:
    """Raises: UserError where the file is no longer the one that was read when the run began."""
    for schema in of_file(Path(source.name)):
        if name_of(schema) == name:
            if schema.source != source:
                raise UserError(
                    f"plugin {source.name} has changed since the run began ({source.content[:19]} then, "
                    f"{schema.source.content[:19] if schema.source else None} now); run the command again"
                )
            return schema.model_construct(**fields)
    raise UserError(f"plugin {source.name} has changed since the run began: it has no strategy '{name}' any more")


def of_distributions() -> tuple[list[type[Strategy]], dict[str, str]]:
    """Strategies of the entry points of the group, each a class or a module of classes; and name of the entry point ->
    why it cannot be used. One broken package does not stop what others are used for.
    """
    found: list[type[Strategy]] = []
    broken: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        assert point.dist is not None
        named = f"strategy '{point.name}' of the distribution {point.dist.name} {point.dist.version}"
        try:
            loaded = point.load()
            classes = classes_in(loaded) if isinstance(loaded, ModuleType) else [loaded]
            for schema in classes:
                if not (isinstance(schema, type) and issubclass(schema, Strategy)):
                    raise UserError(f"{point.value} is not a subclass of selectit.selection.strategy.Strategy")
                _check(schema, point.value)
            if not classes:
                raise UserError(f'{point.value} has no strategy: a class of Strategy with strategy: Literal["name"]')
        except (Exception, SystemExit) as error:
            broken[point.name] = f"{named} cannot be imported ({type(error).__name__}: {first_line(error)})"
            continue
        for schema in classes:
            schema.source = PluginSource(point.dist.name, point.dist.version, is_file=False)
            guard(schema, source_text(schema), str(inspect.getsourcefile(schema)))
        found += classes
    return found, broken
