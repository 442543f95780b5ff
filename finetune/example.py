"""One training row as text, with what is trained on marked: a person sees at a glance what a model was taught.

Writes trained_row.json, which the report puts beside the benchmarks' prompts, and row_tokens.json, which it plots.
"""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from selectit.finetune.dataset import IGNORED_LABEL, Conversation, TrainingRow, TrainingSet, training_template

EXAMPLE_FILE = "trained_row.json"
ROW_TOKENS_FILE = "row_tokens.json"


def write_example(
    conversation: Conversation, row: TrainingRow, template: str, tokenizer: PreTrainedTokenizerBase, out: Path
) -> None:
    """Args: row: made of the conversation; template: by name."""
    told = {"row_id": row.row_id, "template": template, "segments": segments(conversation, row, template, tokenizer)}
    (out / EXAMPLE_FILE).write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_row_tokens(training_set: TrainingSet, out: Path) -> None:
    """Tokens of every row and how many of them are trained on, in the order of messages.jsonl."""
    told = {
        "tokens": [len(row.input_ids) for row in training_set.rows],
        "trained_tokens": [int((row.labels != IGNORED_LABEL).sum()) for row in training_set.rows],
    }
    (out / ROW_TOKENS_FILE).write_text(json.dumps(told) + "\n", encoding="utf-8")


def segments(
    conversation: Conversation, row: TrainingRow, template: str, tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, Any]]:
    """The text that was tokenised, cut where training begins or ends: {"text", "trained"} each.

    Of the text itself, not of decoded tokens: LLaMA's decoding adds a blank after the start token.
    """
    text: Any = tokenizer.apply_chat_template(
        list(conversation.messages), chat_template=training_template(template, tokenizer), tokenize=False
    )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    num_tokens = len(row.input_ids)  # fewer where the row lost its end
    assert encoded["input_ids"][:num_tokens] == row.input_ids.tolist(), f"row {row.row_id} was made of another text"
    spans = encoded["offset_mapping"][:num_tokens]
    found, first, start = [], 0, 0
    for trained, run in groupby(row.labels.tolist(), key=lambda label: label != IGNORED_LABEL):
        first += len(list(run))
        end = spans[first][0] if first < num_tokens else spans[-1][1]
        found.append({"text": text[start:end], "trained": trained})
        start = end
    return found
