"""Rows in the formats of other tools: messages, alpaca and sharegpt as TRL, axolotl and LLaMA-Factory read them.

A written row has its `id` and the columns of its format. What a format cannot hold is refused by kind, before anything
is rated, and never left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from selectit.config import PoolConfig
from selectit.data.formats import Format, detected
from selectit.data.jsonl import iter_jsonl, write_jsonl
from selectit.data.pool import Row, iter_pool
from selectit.data.turns import NOTHING, Message, Unreadable, calls_of, content_of, json_of, texts_of, words
from selectit.errors import UserError, did_you_mean

SUFFIXES = (".jsonl", ".json")
MOST_SHOWN = 3
SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


class Turn(NamedTuple):
    message: Message
    """As it is read."""
    calls: list[dict[str, Any]]
    """The tools that it calls, each `name` and `arguments`; `words_of` is what it says besides."""
    own: Mapping[str, Any]
    """As it stands in the row; empty of a pair's turns."""

    @property
    def role(self) -> str:
        return str(self.message["role"])

    @property
    def said(self) -> str:
        """Its words without its calls."""
        if not self.calls:
            return words(self.message)
        return "" if self.message.get("call") else content_of(self.own.get("content", self.own.get("value")), "content")


def check_form(name: str) -> None:
    """Raises: UserError for a format that is not written."""
    if name not in WRITERS:
        raise UserError(f"--as {name}: allowed are {', '.join(WRITERS)}.{did_you_mean(name, WRITERS)}")


def check_rows(pool: PoolConfig, name: str) -> None:
    """Raises: UserError with the count by kind where a format cannot hold a usable row of the pool."""
    kinds: Counter[str] = Counter()
    shown: list[str] = []
    num_rows = 0
    for row, written in _written(pool, name):
        num_rows += 1
        if isinstance(written, Unreadable):
            kinds[written.kind] += 1
            if len(shown) < MOST_SHOWN:
                shown.append(f"row {row.row_id}: {written}")
    if kinds:
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        more = f" and {kinds.total() - len(shown)} more" if kinds.total() > len(shown) else ""
        others = " or ".join(f"--as {other}" for other in WRITERS if other != name)
        raise UserError(
            f"--as {name} cannot hold {kinds.total()} of the {num_rows} usable rows of {pool.path} ({counts}): "
            f"{'; '.join(shown)}{more}. Take them out of the pool, try {others}, or leave out --as: the pool's own "
            "format holds every row as it is"
        )


def write_as(subset: Path, messages: Path, pool: PoolConfig, name: str, path: Path) -> None:
    """Write the rows of a subset as a list of objects (.json) or one on a line (.jsonl), by their ids in the pool.

    Args:   subset: in the pool's own format; messages: the same rows as they are trained on, with their ids.
    Raises: UserError as `check_rows` does, and where the subset is read otherwise than its pool was.
    """
    own = PoolConfig(path=str(subset), format=pool.format, columns=pool.columns, roles=pool.roles, ids="position")

    def rows() -> Iterator[dict[str, Any]]:
        for (row, written), known in zip(_written(own, name), iter_jsonl(messages), strict=True):
            if isinstance(written, Unreadable):
                raise UserError(f"--as {name}: row {known['row_id']}: {written}")
            if list(row.messages) != known["messages"]:
                raise UserError(
                    f"{subset}, row {known['row_id']}, is read as another format than its pool; name it in pool.format "
                    "(--format)"
                )
            yield {**written, "id": known["row_id"]}

    if path.suffix == ".json":
        path.write_text(json.dumps(list(rows()), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    else:
        write_jsonl(path, rows())


def _written(pool: PoolConfig, name: str) -> Iterator[tuple[Row, dict[str, Any] | Unreadable]]:
    """Each usable row, and as it is written or why it is not."""
    row_format: Format | None = None
    for row in iter_pool(pool):
        row_format = row_format or detected(pool, row.raw)
        if row.failure is not None:
            continue
        assert row_format is not None
        try:
            yield row, {"id": row.row_id, **WRITERS[name](_turns(row, row_format))}
        except Unreadable as fault:
            yield row, fault


def _turns(row: Row, row_format: Format) -> list[Turn]:
    own = row_format.own_turns(row.raw)
    added: list[dict[str, Any]] = [{}] * (len(row.messages) - len(own))
    return [Turn(m, _calls(m, turn), turn) for m, turn in zip(row.messages, [*added, *own], strict=True)]


def _calls(message: Message, own: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Raises: Unreadable for a turn that calls a tool in words that are not JSON."""
    if calls := calls_of(own, "turn"):
        return calls
    if not message.get("call"):
        return []
    try:
        return calls_of({"tool_calls": [json.loads(message["content"])]}, "turn")
    except (ValueError, Unreadable) as error:
        raise Unreadable("call_not_json", "a call of a tool is not JSON with a name and arguments") from error


def _messages(turns: Sequence[Turn]) -> dict[str, Any]:
    _refuse_untrained(turns)
    written = []
    for turn in turns:
        if turn.calls and "\n".join([*filter(None, [turn.said]), *map(json_of, turn.calls)]) != words(turn.message):
            raise Unreadable("call_in_other_words", "a call of a tool is JSON that would be written in other words")
        calls = [{"type": "function", "function": call} for call in turn.calls]
        named = {key: turn.own[key] for key in ("name", "tool_call_id") if isinstance(turn.own.get(key), str)}
        written.append(
            {
                "role": turn.role,
                "content": turn.said,
                **({"tool_calls": _with_ids(calls, turn.own)} if calls else {}),
                **(named if turn.role == "tool" else {}),
            }
        )
    return {"messages": written}


def _with_ids(calls: list[dict[str, Any]], own: Mapping[str, Any]) -> list[dict[str, Any]]:
    ids = [call.get("id") for call in own.get("tool_calls") or [{}] * len(calls)]
    return [{**({} if own_id is None else {"id": own_id}), **call} for own_id, call in zip(ids, calls, strict=True)]


def _alpaca(turns: Sequence[Turn]) -> dict[str, Any]:
    _refuse_untrained(turns)
    if any(turn.role == "tool" or turn.calls for turn in turns):
        raise Unreadable("tool_turns", "it has turns of tools, for which there is no column")
    system, pairs = _system_and_pairs(turns)
    if system in NOTHING and system is not None:
        raise Unreadable("empty_system_prompt", "its system prompt is empty, which a column cannot tell from none")
    *earlier, (user, answer) = pairs
    instruction, *added = texts_of(user.message)
    return {
        "instruction": instruction,
        "input": "".join(added),
        "output": words(answer.message),
        "system": system or "",
        "history": [[words(asked.message), words(said.message)] for asked, said in earlier],
    }


def _sharegpt(turns: Sequence[Turn]) -> dict[str, Any]:
    _refuse_untrained(turns)
    if any(turn.calls and (len(turn.calls) > 1 or turn.said) for turn in turns):
        raise Unreadable("call_and_words", "a turn calls several tools, or says something too; here a turn is one call")
    _system_and_pairs(turns)
    names = ("function_call" if turn.calls else SHAREGPT_ROLES[turn.role] for turn in turns)
    texts = (words(turn.message) for turn in turns)
    return {"conversations": [{"from": name, "value": text} for name, text in zip(names, texts, strict=True)]}


def _system_and_pairs(turns: Sequence[Turn]) -> tuple[str | None, list[tuple[Turn, Turn]]]:
    """The system prompt in front, and the turns as pairs of a user or tool and an answer."""
    first = 1 if turns[0].role == "system" else 0
    asked, answers = turns[first::2], turns[first + 1 :: 2]
    alternates = all(turn.role in ("user", "tool") for turn in asked) and all(t.role == "assistant" for t in answers)
    if not alternates or len(asked) != len(answers):
        roles = ", ".join(turn.role for turn in turns)
        raise Unreadable("other_order", f"its turns are {roles}; here each user or tool turn has one answer behind it")
    return words(turns[0].message) if first else None, list(zip(asked, answers, strict=True))


def _refuse_untrained(turns: Sequence[Turn]) -> None:
    if any(not turn.message.get("train", True) for turn in turns):
        raise Unreadable("untrained_turn", "it has answers that are not trained on, which these tools would train on")


WRITERS: dict[str, Callable[[Sequence[Turn]], dict[str, Any]]] = {
    "messages": _messages,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
}
