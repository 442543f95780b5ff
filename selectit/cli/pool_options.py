"""The options of every command on a file that are fields of its pool, made from the schema of that section."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_args

import typer

from selectit.errors import UserError

NOT_OPTIONS = ("path", "sample")
"""The first is the command's argument, the second a section of a recipe."""
NAMES = {"revision": "pool_revision"}
"""Field -> option, where the option of its name is another one's."""
GROUP = "The pool"


def with_pool_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command an option for each field of its pool. It gets them, and its argument POOL, as one section."""
    from selectit.config import PoolConfig

    fields = {name: info for name, info in PoolConfig.model_fields.items() if name not in NOT_OPTIONS}
    signature = inspect.signature(command, eval_str=True)
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        section = {"path": given.pop("pool")}
        for name, info in fields.items():
            value = given.pop(NAMES.get(name, name))
            if isinstance(value, list):
                value = _pairs(f"--{name}", value, _sections(info)[0]) if value else None
            if value != info.default:
                section[name] = value
        command(pool=section, **given)

    options = [
        inspect.Parameter(
            NAMES.get(name, name),
            inspect.Parameter.KEYWORD_ONLY,
            annotation=Annotated[
                _type(info), typer.Option(help=_help(info), rich_help_panel=GROUP, metavar=_metavar(info))
            ],
            default=[] if _sections(info) else info.default,
        )
        for name, info in fields.items()
    ]
    run.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return run


def input_paths(pool: dict[str, Any]) -> Sequence[str]:
    """The files that a command must not write over."""
    from selectit.config import PoolConfig

    files = PoolConfig(path=pool["path"]).files()
    return [pool["path"]] if files is None else [str(path) for path in files]


def _sections(info: Any) -> list[Any]:
    from selectit.config import nested_configs

    return nested_configs(info)


def _type(info: Any) -> Any:
    if _sections(info):
        return list[str]
    return int | None if int in get_args(info.annotation) else (str if isinstance(info.default, str) else str | None)


def _metavar(info: Any) -> str | None:
    return (
        "PART=COLUMN"
        if _sections(info) and "instruction" in _sections(info)[0].model_fields
        else ("ROLE=NAME" if _sections(info) else None)
    )


def _help(info: Any) -> str:
    text = " ".join(str(info.description).replace("`", "").split())
    return text.replace("[", r"\[")


def _pairs(option: str, values: Sequence[str], section: Any) -> dict[str, Any]:
    """`response=answer` as a field of a section; a field that holds several takes each."""
    found: dict[str, Any] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals or key not in section.model_fields:
            raise UserError(f"{option} {value}: write PART=NAME; PART is one of {', '.join(section.model_fields)}")
        if isinstance(section.model_fields[key].default, tuple):
            found.setdefault(key, []).append(text)
        elif key in found:
            raise UserError(f"{option} {value}: {key} is given twice; name one column")
        else:
            found[key] = text
    return found
