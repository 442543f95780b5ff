"""One training row as text, with what is trained on marked: a person sees at a glance what a model was taught.

Writes trained_row.json, which the report puts next to the benchmarks' prompts, and row_tokens.json, which it plots.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from selectit.data.conversations import Conversation
from selectit.finetune.dataset import IGNORED_LABEL, TrainingRow, TrainingSet
from selectit.store.names import EXAMPLE_FILE, ROW_TOKENS_FILE
from selectit.templates import template_name
from selectit.templates.form import Form


def write_example(conversation: Conversation, row: TrainingRow, form: Form, out: Path) -> None:
    """Args: row: made of the conversation, in this form."""
    record = {"row_id": row.row_id, "template": template_name(form.name), "segments": segments(conversation, row, form)}
    (out / EXAMPLE_FILE).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_row_tokens(training_set: TrainingSet, out: Path) -> None:
    """Tokens of every row and how many of them are trained on, in the order of messages.jsonl."""
    record = {
        "tokens": [len(row.input_ids) for row in training_set.rows],
        "trained_tokens": [int((row.labels != IGNORED_LABEL).sum()) for row in training_set.rows],
    }
    (out / ROW_TOKENS_FILE).write_text(json.dumps(record) + "\n", encoding="utf-8")


def segments(conversation: Conversation, row: TrainingRow, form: Form) -> list[dict[str, Any]]:
    """The text that was tokenised, split where training begins or ends: {"text", "trained"} each.

    Of the text itself, not of decoded tokens: LLaMA's decoding adds a blank after the start token.
    """
    encoded = form.encode(conversation.messages)
    num_tokens = len(row.input_ids)  # fewer where the row was truncated
    assert (encoded.input_ids[:num_tokens] == row.input_ids).all(), f"row {row.row_id} was made of another text"
    spans = encoded.offsets[:num_tokens].tolist()
    found, first, start = [], 0, 0
    for trained, run in groupby(row.labels.tolist(), key=lambda label: label != IGNORED_LABEL):
        first += len(list(run))
        end = spans[first][0] if first < num_tokens else spans[-1][1]
        found.append({"text": encoded.text[start:end], "trained": trained})
        start = end
    return found
