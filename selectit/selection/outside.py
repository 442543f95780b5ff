"""Strategies from outside: their fields have a stable form, what their methods raise is named with file and line, and
what they state of themselves is checked. What they make of a pool is checked by `selectit/selection/checks.py`, as of
every strategy.
"""

from __future__ import annotations

import functools
import json
import re
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import FunctionType
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError

from selectit.config import Config, Need, NeedsArm, NeedsLosses, NeedsRatings, as_written
from selectit.errors import NotRun, UserError, is_full
from selectit.selection.strategy import Scored, Strategy
from selectit.store.fingerprint import canonical_json

NAME = re.compile(r"[a-z][a-z0-9_]*")


def _is_list(value: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, kinds) for one in value)


GIVEN: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "needs": (
        lambda value: _is_list(value, get_args(Need)),
        f"a tuple of {', '.join(one.__name__ for one in get_args(Need))} of selectit.config",
    ),
    "score_name": (lambda value: value is None or (isinstance(value, str) and bool(value.strip())), "a text or None"),
    "sentence": (lambda value: isinstance(value, str) and bool(value.strip()), "a text"),
    "notes": (lambda value: _is_list(value, str), "a list of texts"),
    "readings": (lambda value: isinstance(value, Mapping), "a mapping from a reading's name to its scores, or None"),
    "unread_fields": (lambda value: _is_list(value, str), "a tuple of names of fields"),
    "expected_rows": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
}
"""Method -> whether it may give a value, and what it must give."""
OTHERS = ("scores", "count", "arranged", "check_size", "check_arm", "preflight")
METHODS = (*GIVEN, *OTHERS)


def not_functions(schema: type[Strategy]) -> list[str]:
    """Names of methods that a class has as something else, such as a property or a text."""
    found = [next(vars(owner)[name] for owner in schema.__mro__ if name in vars(owner)) for name in METHODS]
    return [name for name, method in zip(METHODS, found, strict=True) if not isinstance(method, FunctionType)]


def guard(schema: type[Strategy], where: str, file: str) -> None:
    """Replace the methods that a class or its bases from outside define.

    Args: where: such as `plugin mine.py`; file: in which the line is looked for.
    """
    for name in METHODS:
        method = getattr(schema, name)
        if not method.__module__.startswith("selectit.") and not hasattr(method, "guarded"):
            setattr(schema, name, _guarded(name, method, where, file))


def _guarded(name: str, method: Callable[..., Any], where: str, file: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Strategy, *args: Any, **kwargs: Any) -> Any:
        given = named(lambda: method(self, *args, **kwargs), self, name, where, file)
        may_be, wanted = GIVEN.get(name, (lambda value: True, ""))
        if not may_be(given):
            raise UserError(f"{where}: strategy {self.strategy}: {name} gave {given!r:.60}; it must give {wanted}")
        if name == "needs" and (fault := wrong_need(self, given)):
            raise UserError(f"{where}: strategy {self.strategy}: needs gave {fault}")
        if isinstance(given, Scored) and callable(details := given.details):
            given.details = lambda at: named(lambda: details(at), self, "details", where, file)
        return given

    call.guarded = True  # type: ignore[attr-defined]
    return call


def named(call: Callable[[], Any], strategy: Strategy, what: str, where: str, file: str) -> Any:
    """What a call of a strategy's code gives.

    Raises: UserError naming file, line, strategy and method in place of what it raises.
    """
    try:
        return call()
    except (UserError, NotRun):
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise UserError(
            f"{where}{line_of(error, file)}: strategy {strategy.strategy}: {what} raised {type(error).__name__}: "
            f"{first_line(error)}"
        ) from error


def line_of(error: BaseException, file: str) -> str:
    """`, line 12`, the last line of a file on an error's way; an empty text where it did not pass there."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f", line {lines[-1]}" if lines else ""


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def wrong_need(strategy: Strategy, needs: Sequence[Need]) -> str | None:
    """The first need that no stage can meet: which, and why."""
    names = Counter(
        need.name if isinstance(need, NeedsLosses) else need.field
        for need in needs
        if isinstance(need, NeedsLosses | NeedsArm)
    )
    if sum(isinstance(need, NeedsRatings) for need in needs) > 1:
        return "NeedsRatings twice; a selection reads the ratings of one set of prompts"
    for need in needs:
        try:
            TypeAdapter(type(need)).validate_json(json.dumps(asdict(need), default=repr), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            return f"{need!r}; {'.'.join(map(str, first['loc']))}: {first['msg']}"
        if isinstance(need, NeedsRatings) and need.num_prompts is not None and need.num_prompts < 1:
            return f"{need!r}; num_prompts must be 1 or more, or None"
        if isinstance(need, NeedsArm) and need.field not in type(strategy).model_fields:
            return f"{need!r}; field must be one of its fields ({', '.join(type(strategy).model_fields)})"
        if isinstance(need, NeedsLosses) and not NAME.fullmatch(need.name):
            return f"{need!r}; name must be one word in lower case"
    twice = next((name for name, times in names.items() if times > 1), None)
    return None if twice is None else f"two needs of the name {twice}; each has a name of its own"


def unstable(value: Any) -> str | None:
    """Why a field's value cannot be part of a fingerprint; None: it can."""
    if isinstance(value, Config):
        return next((fault for _, one in value if (fault := unstable(one))), None)
    if isinstance(value, tuple):
        return next((fault for one in value if (fault := unstable(one))), None)
    try:
        canonical_json(value)
        hash(value)
    except TypeError:
        return (
            f"{value!r:.40} is a {type(value).__name__}, which a fingerprint does not take; annotate it as a text, a "
            "finite number, true or false, null, a tuple of these, or a class of selectit.config.Config"
        )
    return None


def wrong_fields(schema: type[Strategy]) -> list[str]:
    """What is wrong with the annotations and the defaults of a class's fields."""
    try:
        schema.model_rebuild()
    except Exception as error:
        return [f"its annotations cannot be read ({first_line(error)})"]
    faults = [
        f"later_defaults names {name}, which is not a field"
        for name in schema.later_defaults
        if name not in schema.model_fields
    ]
    for name, info in schema.model_fields.items():
        if info.is_required():
            continue
        default = info.get_default(call_default_factory=True)
        try:
            annotation: Any = Annotated[(info.annotation, None, *info.metadata)]  # with one thing at least
            TypeAdapter(annotation).validate_python(default, strict=True)
        except ValidationError as error:
            faults += [f"field {name}: its default {default!r:.40} is wrong ({one['msg']})" for one in error.errors()]
            continue
        if fault := unstable(default):
            faults.append(f"field {name}: {fault}")
    return faults


def read_outside(schema: type[Strategy], raw: Mapping[str, Any], where: str) -> Strategy:
    """A `select` section as it is written.

    Raises: pydantic.ValidationError for what is wrong with its fields; ValueError for what has no stable form, and for
        what validators of the class raise.
    """
    try:
        found = as_written(schema, raw)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{where}: reading the fields raised {type(error).__name__}: {first_line(error)}") from error
    faults = [f"field {name}: {fault}" for name, value in found if (fault := unstable(value))]
    if faults:
        raise ValueError(f"{where}: {'; '.join(faults)}")
    return found
