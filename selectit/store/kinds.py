"""The kinds of stages: where each one's function is, and what its artifact holds."""

from __future__ import annotations

from dataclasses import dataclass

from selectit.store.names import (
    ADAPTER_FOLDER,
    EPOCHS_FOLDER,
    ITEMS_FILE,
    LAST_FILE,
    LEDGER,
    LOSSES_RECORD,
    MEAN_FILE,
    MESSAGES_FILE,
    MODEL_FOLDER,
    RESULT_FILE,
    SCORE_RECORD,
    SCORES_FILE,
    SELECTION_FILE,
    TRAINING_FILE,
    WEIGHTED_MEAN_FILE,
)


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
    """Those, and further files, that later stages read; what is not there adds nothing."""
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
            outputs=(LEDGER, SCORE_RECORD), content=(LEDGER,),
            shown_metrics=("num_ratings", "num_reused", "num_failures", "mean_mass"),
            reuse_keys=("config.model.path",),
        ),
        Kind(
            name="losses", version=2, module="selectit.scoring.loss_stage",
            outputs=(LEDGER, LOSSES_RECORD), content=(LEDGER, MEAN_FILE, WEIGHTED_MEAN_FILE, LAST_FILE),
            shown_metrics=("num_losses", "num_failures", "mean_loss"), read=(MEAN_FILE, WEIGHTED_MEAN_FILE, LAST_FILE),
        ),
        Kind(
            name="select", version=2, module="selectit.selection.stage",
            outputs=(SCORES_FILE, MESSAGES_FILE, SELECTION_FILE), content=(MESSAGES_FILE,),
            shown_metrics=("num_selected", "num_rows"), read=("subset.*",),
        ),
        Kind(
            name="finetune-lora", version=3, module="selectit.finetune.stage",
            outputs=(ADAPTER_FOLDER, TRAINING_FILE), content=(ADAPTER_FOLDER,),
            shown_metrics=("num_rows", "num_steps", "tail_loss", "tokens_per_second"), read=(f"{EPOCHS_FOLDER}/*",),
        ),
        Kind(
            name="finetune-qlora", version=2, module="selectit.finetune.stage",
            outputs=(ADAPTER_FOLDER, TRAINING_FILE), content=(ADAPTER_FOLDER,),
            shown_metrics=("num_rows", "num_steps", "tail_loss", "tokens_per_second"), read=(f"{EPOCHS_FOLDER}/*",),
        ),
        Kind(
            name="finetune-full", version=3, module="selectit.finetune.stage",
            outputs=(MODEL_FOLDER, TRAINING_FILE), content=(MODEL_FOLDER,),
            shown_metrics=("num_rows", "num_steps", "tail_loss", "tokens_per_second"), read=(f"{EPOCHS_FOLDER}/*",),
        ),
        Kind(
            name="evaluate", version=3, module="selectit.evaluate.stage",
            outputs=(RESULT_FILE, ITEMS_FILE), content=(RESULT_FILE, ITEMS_FILE),
            shown_metrics=("value", "stderr", "num_items"),
        ),
        Kind(
            name="grade", version=1, module="selectit.evaluate.grade_stage",
            outputs=(RESULT_FILE, ITEMS_FILE), content=(RESULT_FILE, ITEMS_FILE),
            shown_metrics=("value", "stderr", "num_items"),
        ),
    )
}  # fmt: skip
