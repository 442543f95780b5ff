"""Formats of a pool's rows: which columns hold what, and a row's columns as messages.

A column that changes what a row says is read, or makes the row a bad row that names the cure; columns that only
describe a row (a source, a category) are kept with it and not read.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selectit.config import PoolConfig
from selectit.data.turns import ROLES, Message, Unreadable, is_nothing, text_of, turns_of, with_context
from selectit.errors import UserError

FORMATS = {
    "alpaca": {"instruction": "instruction", "response": "output", "input": "input"},
    "sharegpt": {"conversation": "conversations"},
    "messages": {"conversation": "messages"},
    "prompt_completion": {"instruction": "prompt", "response": "completion"},
    "dolly": {"instruction": "instruction", "response": "response", "input": "context"},
    "magpie": {"instruction": "instruction", "response": "response"},
    "question_answer": {"instruction": "question", "response": "answer", "input": "context"},
}
"""Part of a row -> the column that holds it; `auto` takes the first format whose columns a row has."""
NO_STRATUM = "no_stratum"
"""A row without a value in the column of `pool.stratify_by`."""
REQUIRED = ("instruction", "response", "conversation")
"""Parts whose column a row must have; of the others it may be absent."""
DISTINCTIVE = {"dolly": ("context",)}
"""Columns that a row has, in addition to the required ones, where `auto` takes the format."""
OTHER_PARTS = {"system": "system", "history": "history", "tools": "tools"}
ALIASES = {
    "input": ("input", "context"),
    "system": ("system", "system_prompt"),
    "history": ("history",),
    "tools": ("tools", "functions"),
    "images": ("images", "image", "audio", "audios", "videos"),
}
"""Part -> columns that change what a row says, and are refused where they hold something and are not read."""


@dataclass(frozen=True)
class Format:
    """How the rows of one pool are read."""

    name: str
    columns: Mapping[str, str]
    """Part -> column; a part with an empty one is not read."""
    roles: Mapping[str, str]

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(self.columns[part] for part in REQUIRED if part in self.columns)

    @property
    def is_pair(self) -> bool:
        """A row is one instruction and its response, whatever came before them."""
        return "conversation" not in self.columns

    def messages(self, row: Mapping[str, Any]) -> tuple[list[Message], bool]:
        """The row's turns, and whether they are a conversation's.

        Raises: Unreadable.
        """
        for column in self.required:
            if not _has(row, column):
                raise Unreadable(
                    "missing_column", f"column '{column}' is missing; found {', '.join(sorted(map(str, row)))}"
                )
        self._refuse_unread(row)
        is_conversation = not self.is_pair or isinstance(_value(row, self.columns["instruction"]), list)
        own = self._conversation(row) if is_conversation else self._pair(row)
        return with_context(own, self._part(row, "system"), self._part(row, "history")), is_conversation

    def own_turns(self, row: Mapping[str, Any]) -> list[Any]:
        """The turns of a conversation as they stand in the row, which are its last messages; none of a pair's."""
        parts = ("instruction", "response") if self.is_pair else ("conversation",)
        values = [_value(row, self.columns[part]) for part in parts]
        return [turn for value in values if isinstance(value, list) for turn in value]

    def read_columns(self) -> set[str]:
        """The columns that are read where a row has them."""
        return {column for column in self.columns.values() if column}

    def _part(self, row: Mapping[str, Any], part: str) -> Any:
        column = self.columns.get(part)
        return _value(row, column) if column else None

    def _pair(self, row: Mapping[str, Any]) -> list[Message]:
        instruction, response = self.columns["instruction"], self.columns["response"]
        user = {"role": "user", "content": text_of(_value(row, instruction), instruction)}
        if added := text_of(self._part(row, "input"), self.columns.get("input", "")):
            user["input"] = added
        return [user, {"role": "assistant", "content": text_of(_value(row, response), response)}]

    def _conversation(self, row: Mapping[str, Any]) -> list[Message]:
        """The turns; of a pair of two lists, as TRL writes it, only those of the response are trained on."""
        if not self.is_pair:
            return turns_of(_value(row, self.columns["conversation"]), self.columns["conversation"], self.roles)
        instruction, response = self.columns["instruction"], self.columns["response"]
        if self.name != "prompt_completion":
            raise Unreadable("not_text", f"'{instruction}' is a list; it must be text")
        asked = turns_of(_value(row, instruction), instruction, self.roles)
        asked = [{**turn, "train": False} if turn["role"] == "assistant" else turn for turn in asked]
        return [*asked, *turns_of(_value(row, response), response, self.roles)]

    def _refuse_unread(self, row: Mapping[str, Any]) -> None:
        for part, aliases in ALIASES.items():
            chosen = self.columns.get(part)
            if chosen == "" or (part == "input" and not self.is_pair):
                continue
            for column in aliases:
                is_read = column in self.columns.values() and part != "tools"
                if not is_read and not is_nothing(row.get(column)):
                    raise Unreadable(
                        f"{part}_not_read", f"column '{column}' holds something that is not read{_cure(part, column)}"
                    )
        tools = self.columns.get("tools")
        if tools and tools not in ALIASES["tools"] and not is_nothing(_value(row, tools)):
            raise Unreadable(
                "tools_not_read", f"column '{tools}' holds something that is not read{_cure('tools', tools)}"
            )


def _cure(part: str, column: str) -> str:
    if part == "images":
        return ""
    if part == "tools":
        return "; to read the rows without it: pool.columns {tools: ''} (--columns tools=)"
    return (
        f"; name it in pool.columns as {part} (--columns {part}={column}), or leave it out with an empty text "
        f"(--columns {part}=)"
    )


def stratum_of(row: Mapping[str, Any], column: str) -> str:
    """The value of a column that groups rows, as text.

    Raises: Unreadable where the row has none, or one that is no text, number, or true or false.
    """
    value = _value(row, column)
    if value is None:
        found = "null" if column in row else f"missing; found {', '.join(sorted(map(str, row)))}"
        raise Unreadable(NO_STRATUM, f"column '{column}' of pool.stratify_by is {found}")
    if (isinstance(value, float) and value != value) or not isinstance(value, str | int | float):
        raise Unreadable(
            NO_STRATUM,
            f"column '{column}' of pool.stratify_by is {type(value).__name__} ({value!r:.60}); it must be text, a "
            "number, or true or false",
        )
    return str(value)


def _has(row: Mapping[str, Any], column: str) -> bool:
    return column in row or ("." in column and _value(row, column) is not None)


def _value(row: Mapping[str, Any], column: str) -> Any:
    """A column's value; a dotted name goes into objects and lists, `instances.0.output`."""
    if column in row:
        return row[column]
    value: Any = row
    for key in column.split(".") if "." in column else ():
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return None if value is row else value


@functools.lru_cache(maxsize=64)
def _formats(pool: PoolConfig) -> tuple[Format, ...]:
    """Those that the pool's rows may have, the likeliest first."""
    own = {} if pool.columns is None else pool.columns.model_dump(exclude_none=True)
    named = {} if pool.roles is None else pool.roles.model_dump()
    roles = ROLES | {name: role for role, names in named.items() for name in names}
    names = FORMATS if pool.format == "auto" else [pool.format]
    if pool.format == "auto" and own.get("conversation"):
        names = ["messages"]
    return tuple(Format(name, {**FORMATS[name], **OTHER_PARTS, **_fitting(name, own)}, roles) for name in names)


def _fitting(name: str, own: Mapping[str, str]) -> dict[str, str]:
    """The pool's own names of the parts that a format has."""
    return {part: column for part, column in own.items() if part in FORMATS[name] or part not in REQUIRED}


def check_columns(pool: PoolConfig) -> None:
    """Raises: UserError where the pool names a column for a part that its format has not."""
    own = [] if pool.columns is None else list(pool.columns.model_dump(exclude_none=True))
    for part in own:
        if part in REQUIRED and not any(part in one.columns for one in _formats(pool)):
            raise UserError(
                f"pool.columns names a column for '{part}', which rows of the format '{pool.format}' have not; they "
                f"have {', '.join(part for part in REQUIRED if part in FORMATS.get(pool.format, FORMATS['messages']))}"
            )


def detected(pool: PoolConfig, row: Any) -> Format | None:
    """The format of the pool's rows by one of them: the pool's own, else the first whose columns it has."""
    formats = _formats(pool)
    if pool.format != "auto":
        return formats[0]
    if not isinstance(row, dict):
        return None
    for one in formats:
        distinctive = () if pool.columns is not None and pool.columns.input else DISTINCTIVE.get(one.name, ())
        if all(_has(row, column) for column in (*one.required, *distinctive)):
            return one
    return None


def unknown_format(pool: PoolConfig, position: int, row: Any) -> UserError:
    """No format has the columns of this row."""
    known = "; ".join(f"{one.name}: {', '.join(one.required)}" for one in _formats(pool))
    found = ", ".join(sorted(map(str, row))) if isinstance(row, dict) and row else type(row).__name__
    return UserError(
        f"pool {pool.path}, row {position}: columns found: {found}. A row needs the columns of one format ({known}). "
        "Name your own in pool.columns (--columns), such as instruction=question and response=answer."
    )
