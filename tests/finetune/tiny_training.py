"""A random LLaMA of 30 thousand parameters with a byte tokenizer, and rows to train it on.

The golden losses are made with the same builders (tests/golden/make_finetune_losses.py).
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from selectit.config import FinetuneConfig, FinetuneStage, LoraSettings, ModelConfig
from selectit.finetune import stage
from selectit.store.names import METRICS_FILE
from selectit.tracking import Tracker

SPECIAL = ("<unk>", "<s>", "</s>")
TINY_FINETUNE = {
    "template": "llmzoo",
    "learning_rate": 1e-2,
    "num_train_epochs": 2,
    "global_batch_size": 4,
    "micro_batch_size": 2,
    "max_length": 512,
    "warmup_ratio": 0.0,
    "gradient_checkpointing": False,
}


def build_tiny_llama(folder: Path) -> Path:
    """Write checkpoint and tokenizer: one token per byte, so that any text decodes to itself."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])  # as LLaMA's
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(vocab), max_position_embeddings=1024, bos_token_id=1, eos_token_id=2, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def tiny_rows(num_rows: int) -> list[dict[str, Any]]:
    """Rows of different lengths, in the form of messages.jsonl."""
    return [
        {
            "row_id": f"row-{i}",
            "messages": [
                {"role": "user", "content": "Count to " + "a b c d e f "[: 2 + i % 10]},
                {"role": "assistant", "content": "one two three four five six seven "[: 4 + 3 * (i % 9)]},
            ],
        }
        for i in range(num_rows)
    ]


def write_subset(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "messages.jsonl").write_text(lines, encoding="utf-8")
    return folder


def stage_config(model: Path, seed: int = 7, lora: dict[str, Any] | None = None, **finetune: Any) -> FinetuneStage:
    settings = {**TINY_FINETUNE, "lora": LoraSettings(**{"r": 4, "alpha": 8, **(lora or {})}), **finetune}
    return FinetuneStage(model=ModelConfig(path=str(model)), finetune=FinetuneConfig(**settings), seed=seed)


def train(config: FinetuneStage, subset: Path, out: Path, console: Console | None = None) -> dict[str, float]:
    out.mkdir(parents=True, exist_ok=True)
    tracker = Tracker(out, console or Console(file=io.StringIO()))
    return stage.run(config, {"subset": subset}, out, tracker)


def logged(out: Path, name: str = "train/loss") -> list[float]:
    """One value per optimiser step; fails where a step is missing or stands there twice."""
    lines = [json.loads(line) for line in (out / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line[name] for line in lines]
