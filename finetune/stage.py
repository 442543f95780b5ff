"""The finetune stage: one model trained on one subset.

Reads the subset's messages.jsonl; writes adapter/ or model/, metrics.jsonl and training.json (counts,
losses, speed, template, dtype) and trained_row.json. Goes on where a killed run was.
"""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from selectit.config import FinetuneStage
from selectit.finetune.dataset import MESSAGES_FILE, read_conversations, tokenize, training_template
from selectit.finetune.example import write_example
from selectit.finetune.train import CHECKPOINTS_FOLDER, train
from selectit.models import load_tokenizer
from selectit.tracking import Tracker

TRAINING_FILE = "training.json"


def preflight(config: FinetuneStage) -> None:
    """Raises: UserError for a model without a tokenizer, or a template that does not mark what is trained on."""
    training_template(config.finetune.template, load_tokenizer(config.model))


def run(config: FinetuneStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, float]:
    """Fine-tune on `inputs["subset"]`.

    Returns: the numbers of training.json.
    Raises:  UserError, see `selectit.finetune.dataset.tokenize` and `selectit.finetune.train.train`.
    """
    finetune = config.finetune
    assert finetune.method != "none", "an arm without training has no finetune stage"
    tokenizer = load_tokenizer(config.model)
    conversations = read_conversations(Path(inputs["subset"]) / MESSAGES_FILE, finetune.template)
    training_set = tokenize(conversations, tokenizer, finetune)
    num_rows = len(training_set.rows)
    if training_set.num_truncated:
        tracker.note(f"fine-tune: {training_set.num_truncated} of {num_rows} rows lost their end to max_length")
    if num_rows < finetune.global_batch_size:
        tracker.note(f"fine-tune: each step takes all {num_rows} rows, fewer than global_batch_size")
    try:
        result = train(config, training_set, tokenizer, out, tracker)
    finally:
        gc.collect()  # trainer, model and optimizer refer to each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    record = {
        "num_rows": num_rows,
        "num_tokens": training_set.num_tokens,
        "num_trained_tokens": training_set.num_trained_tokens,
        "num_truncated": training_set.num_truncated,
        **result.as_dict(),
        "method": finetune.method,
        "template": finetune.template,
    }
    write_example(conversations[0], training_set.rows[0], finetune.template, tokenizer, out)
    (out / TRAINING_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(out / CHECKPOINTS_FOLDER, ignore_errors=True)
    return {name: float(value) for name, value in record.items() if not isinstance(value, str)}
