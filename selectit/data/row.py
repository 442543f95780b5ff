"""One row of a pool as everything after its reader takes it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from selectit.data.turns import Message


class Unread:
    """A row that is read from its file when it is asked for."""

    __slots__ = ()

    @abstractmethod
    def read(self) -> Any: ...

    def __eq__(self, other: object) -> bool:
        return bool(self.read() == (other.read() if isinstance(other, Unread) else other))


@dataclass(frozen=True, slots=True)
class Row:
    """One training example.

    `index` counts from 0 the rows that the pool's settings leave; with `pool.sample` these are the drawn ones.
    `row_id` is the row's own `id` where the pool has that column, else its position in the file and content hash.
    `instruction` and `response` are what SelectIT rates: see `selectit.data.turns.rated_pair`. `failure` is the reason
    why a row can be neither scored nor selected.
    """

    index: int
    row_id: str
    instruction: str
    response: str
    messages: tuple[Message, ...]
    held: Any
    """The row as it stands in its file, or what reads it: `raw` has it."""
    failure: str | None = None
    is_conversation: bool = False
    """Its turns are a conversation's; a pair's response is its own answer, whatever its history."""
    reason: str = ""
    """What is wrong with a row that cannot be read, in words."""
    stratum: str | None = None
    """Its value of the column `pool.stratify_by`."""

    @property
    def raw(self) -> Any:
        """The row as it stands in its file: an object, but of a bad row."""
        return self.held.read() if isinstance(self.held, Unread) else self.held
