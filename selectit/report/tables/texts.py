"""The texts of the selected rows, by pool, from messages.jsonl of the selections.

A row that no arm took has no text here: the pool's file may have changed since, and is not read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selectit.config import PoolConfig
from selectit.data.jsonl import read_jsonl
from selectit.data.turns import texts_of
from selectit.report.tables.subsets import Subset
from selectit.store.names import MESSAGES_FILE


@dataclass(frozen=True, slots=True)
class RowText:
    """The words of a row of the pool."""

    instruction: str
    """All user turns, inputs included."""
    response: str
    """All assistant turns."""

    @property
    def whole(self) -> str:
        return f"{self.instruction}\n{self.response}"


Texts = Mapping[PoolConfig, Mapping[str, RowText]]
"""Pool -> row id -> text."""


def read_texts(subsets: Sequence[Subset]) -> Texts:
    """Every row that some arm selected; the largest subset of a pool first, for it mostly holds the others."""
    texts: dict[PoolConfig, dict[str, RowText]] = {}
    for subset in sorted(subsets, key=lambda s: -len(s.row_ids)):
        known = texts.setdefault(subset.pool, {})
        if subset.row_ids <= known.keys():
            continue
        for line in read_jsonl(subset.artifact.path / MESSAGES_FILE):
            known[line["row_id"]] = RowText(_said(line["messages"], "user"), _said(line["messages"], "assistant"))
    return texts


def _said(messages: Sequence[Mapping[str, str]], role: str) -> str:
    turns = [turn for turn in messages if turn["role"] == role]
    return "\n".join(text for turn in turns for text in texts_of(turn) if text)
