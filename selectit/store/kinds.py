"""The kinds of stages: where each one's function is, and what its artifact holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of stage: where its function is, what it must leave behind, what later stages read of it."""

    name: str
    version: int
    """Raised when the same configuration would now give another result."""
    module: str
    """Offers `run(config, inputs, out, tracker) -> metrics`, and may offer `preflight(config)` and `release()`."""
    outputs: tuple[str, ...]
    content: tuple[str, ...]
    shown_metrics: tuple[str, ...]
    """Metrics that are printed when a stage is done."""
    read: tuple[str, ...] = ()
    """Patterns of further files that are read later; a file that is not cannot be damaged."""
    reuse_keys: tuple[str, ...] = ()
    """`run` is also given `earlier`: finished folders of this kind that agree at these keys of the identity. It may
    reuse what they hold where its own result is the same, so this never enters a fingerprint."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="score", version=2, module="selectit.scoring.stage",
            outputs=("ledger.parquet", "score.json"), content=("ledger.parquet",),
            shown_metrics=("num_ratings", "num_taken_over", "num_failures", "mean_mass"),
            reuse_keys=("config.model.path",),
        ),
        Kind(
            name="losses", version=2, module="selectit.scoring.loss_stage",
            outputs=("ledger.parquet", "losses.json"), content=("ledger.parquet",),
            shown_metrics=("num_losses", "num_failures", "mean_loss"),
        ),
        Kind(
            name="select", version=2, module="selectit.selection.stage",
            outputs=("scores.jsonl", "messages.jsonl", "selection.json"), content=("messages.jsonl",),
            shown_metrics=("num_selected", "num_rows"), read=("subset.*",),
        ),
        Kind(
            name="finetune-lora", version=3, module="selectit.finetune.stage",
            outputs=("adapter", "training.json"), content=("adapter",),
            shown_metrics=("num_rows", "num_steps", "tail_loss", "tokens_per_second"), read=("epochs/*",),
        ),
        Kind(
            name="finetune-qlora", version=2, module="selectit.finetune.stage",
            outputs=("adapter", "training.json"), content=("adapter",),
            shown_metrics=("num_rows", "num_steps", "tail_loss", "tokens_per_second"), read=("epochs/*",),
        ),
        Kind(
            name="finetune-full", version=3, module="selectit.finetune.stage",
            outputs=("model", "training.json"), content=("model",),
            shown_metrics=("num_rows", "num_steps", "tail_loss", "tokens_per_second"), read=("epochs/*",),
        ),
        Kind(
            name="evaluate", version=3, module="selectit.evaluate.stage",
            outputs=("result.json", "items.jsonl"), content=("result.json", "items.jsonl"),
            shown_metrics=("value", "stderr", "num_items"),
        ),
        Kind(
            name="grade", version=1, module="selectit.evaluate.grade_stage",
            outputs=("result.json", "items.jsonl"), content=("result.json", "items.jsonl"),
            shown_metrics=("value", "stderr", "num_items"),
        ),
    )
}  # fmt: skip
