"""The one check of a training's inputs before anything is spent: template, tokenizer, rows and model fit together.

Loads the tokenizer and the model's configuration, no weights, so that a login node can run it: part of preflight, and
what `selectit validate --inputs` prints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from selectit.config import FinetuneConfig, FinetuneStage, PoolConfig
from selectit.data.conversations import Conversation, as_conversation, read_conversations
from selectit.data.pool import iter_pool
from selectit.errors import UserError
from selectit.finetune.arguments import lora_config
from selectit.finetune.dataset import TrainingRow, UnusableRow, label, unusable_rows_text
from selectit.finetune.example import segments
from selectit.inference.load import load_skeleton, load_tokenizer, refuse_ids_beyond_embedding
from selectit.templates import template_name, writes_start
from selectit.templates.form import BadRow, Form, load_form

NUM_SHOWN_ROWS = 3
TRAINED = ("»", "«")
"""Stand around what is trained on, in the rows that are printed."""


@dataclass(frozen=True)
class RowFindings:
    """What was found in the rows of a pool or a subset."""

    num_rows: int
    left_out: tuple[UnusableRow, ...]
    control_tokens: tuple[tuple[str, int], ...]
    longest: tuple[str, int]
    """Row id and tokens."""
    num_longer: int
    """Rows of more than `max_length` tokens."""
    ids: np.ndarray
    """int64, each token id that occurs, once."""
    shown: tuple[str, ...]
    """The first rows as text."""


@dataclass(frozen=True)
class CheckedInputs:
    form: Form
    finetune: FinetuneConfig
    context: int | None
    """Tokens that the model was made for."""
    rows: RowFindings

    def lines(self) -> Iterator[str]:
        """For a person to read."""
        form, rows = self.form, self.rows
        marks = "marks in the template" if form.marks else "found by rendering the conversation up to each turn"
        yield f"template {template_name(form.name)}, tokenizer {form.tokenizer.name_or_path}: answers are {marks}"
        start = (
            f"'{form.tokenizer.bos_token}'" if writes_start(form.tokenizer) else "none, as the tokenizer writes none"
        )
        yield f"  start token: {start}"
        added = "" if form.marks_end or not form.marks else ", added to what the template marks"
        yield f"  a turn ends with '{form.end_token}' (id {form.end_id}), which is trained on{added}"
        if form.date:
            yield f"  the template prints a date: {form.date}, every day"
        row_id, length = rows.longest
        yield f"  {rows.num_rows} rows; the longest, {row_id}, has {length} tokens"
        yield f"  max_length {self.finetune.max_length} truncates {rows.num_longer} of them"
        yield f"  the model's context: {self.context or 'not stated'}"
        if rows.control_tokens:
            named = ", ".join(f"{token} ({count})" for token, count in rows.control_tokens)
            yield f"  special tokens in the rows' own words, read as plain text: {named}"
        if rows.left_out:
            yield f"  {unusable_rows_text(rows.left_out, rows.num_rows)}"
        for text in rows.shown:
            yield from (f"  | {line}" for line in text.splitlines())


@lru_cache(maxsize=16)  # the arms and seeds of a table train in one form on rows of one pool
def check_inputs(config: FinetuneStage, pool: PoolConfig) -> CheckedInputs:
    """Check a training on rows of a pool.

    Raises: UserError with every fault: a template that cannot be trained in, ids beyond the embedding, target modules
        that are not there, rows that cannot be labelled where they are refused, rows beyond the model's context.
    """

    def conversations() -> Iterator[Conversation]:
        template = config.finetune.template
        usable = (row for row in iter_pool(pool) if row.failure is None)
        return (as_conversation(row.row_id, row.messages, template) for row in usable)

    return _check(config, conversations)


def check_subset(config: FinetuneStage, messages: Path) -> CheckedInputs:
    """The same, for a subset that has been selected."""
    return _check(config, lambda: iter(read_conversations(messages, config.finetune.template)))


def without_seed(config: FinetuneStage) -> FinetuneStage:
    """Trainings that differ in their seed only are checked once."""
    return config.model_copy(update={"seed": 0})


def _check(config: FinetuneStage, conversations: Callable[[], Iterable[Conversation]]) -> CheckedInputs:
    finetune, tokenizer = config.finetune, load_tokenizer(config.model)
    form = load_form(finetune.template, tokenizer)
    skeleton = load_skeleton(config.model)
    rows = _read(conversations(), form, finetune)
    context = getattr(skeleton.config, "max_position_embeddings", None)
    faults = []
    if rows.left_out and (config.bad_rows == "refuse" or len(rows.left_out) == rows.num_rows):
        faults.append(unusable_rows_text(rows.left_out, rows.num_rows))
    row_id, length = rows.longest
    if context and min(length, finetune.max_length) > context:
        faults.append(
            f"row {row_id} has {length} tokens and the context of {config.model.path} is {context}; set "
            f"finetune.max_length to {context} or less"
        )
    for check in (
        lambda: refuse_ids_beyond_embedding(tokenizer, skeleton, [rows.ids.tolist()]),
        lambda: lora_config(config, skeleton) if finetune.trains_adapter else None,
    ):
        try:
            check()
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("\n".join(faults))
    return CheckedInputs(form, finetune, context, rows)


def _read(conversations: Iterable[Conversation], form: Form, finetune: FinetuneConfig) -> RowFindings:
    num_rows, num_longer, longest = 0, 0, ("", 0)
    left_out: list[UnusableRow] = []
    control: Counter[str] = Counter()
    shown: list[str] = []
    used = np.zeros(max(form.tokenizer.get_vocab().values()) + 1, dtype=bool)
    for conversation in conversations:
        num_rows += 1
        try:
            row, found = label(conversation, form, finetune)
        except BadRow as fault:
            left_out.append(UnusableRow(conversation.row_id, fault.kind, str(fault)))
            continue
        control.update(found)
        used[row.input_ids] = True
        length = len(row.input_ids)
        num_longer += length > finetune.max_length
        longest = max(longest, (conversation.row_id, length), key=lambda entry: entry[1])
        if len(shown) < NUM_SHOWN_ROWS:
            shown.append(_shown(conversation, row, form))
    return RowFindings(
        num_rows, tuple(left_out), tuple(control.most_common()), longest, num_longer, np.flatnonzero(used), tuple(shown)
    )


def shown_row(conversation: Conversation, form: Form, finetune: FinetuneConfig) -> str:
    """A row as it is tokenised, with what is trained on between `TRAINED`. Raises: BadRow."""
    row, _ = label(conversation, form, finetune)
    return _shown(conversation, row, form)


def _shown(conversation: Conversation, row: TrainingRow, form: Form) -> str:
    begin, end = TRAINED
    parts = segments(conversation, row, form)
    return "".join(f"{begin}{part['text']}{end}" if part["trained"] else part["text"] for part in parts)
