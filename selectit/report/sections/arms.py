"""What stands behind each row of the table: what was selected, how it was trained, and what it cost.

Reads selection.json and training.json, and the seconds of the manifests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selectit.config import ArmConfig, FinetuneConfig
from selectit.plan.graph import Plan, Stage, TableRow, walk
from selectit.plan.outcome import Outcome
from selectit.recipe.rows import trains
from selectit.report.render import formats
from selectit.report.render.formats import ABSENT
from selectit.report.section import Listing, Note, Section
from selectit.report.tables.results import UNTOUCHED
from selectit.report.tables.subsets import selection_of, summaries
from selectit.report.tables.trainings import training_records
from selectit.selection import steps
from selectit.selection.strategy import strategy_of
from selectit.templates import template_name
from selectit.text import duration

MOST_NAMED_ROWS = 10
TRAINING_NUMBERS = {
    "steps": ("num_steps", formats.count),
    "tokens": ("num_tokens", formats.count),
    "trained tokens": ("num_trained_tokens", formats.count),
    "trained tokens, all epochs": ("num_trained_tokens_seen", formats.count),
    "truncated rows": ("num_truncated", formats.count),
    "last loss": ("final_loss", "{:.3f}".format),
    "changed weights": ("changed_share", "{:.0%}".format),
}
"""Column -> key of training.json and how it is written."""
COST_KINDS = {
    "scoring": ("score", "losses"),
    "selection": ("select",),
    "fine-tuning": ("finetune",),
    "evaluation": ("evaluate",),
}
"""Column -> how the kinds of its stages start."""


def arms(plan: Plan, outcomes: Mapping[Stage, Outcome], notes: Sequence[str]) -> Section:
    """One line per row of the table, what is the same for all rows that are trained, and further notes."""
    selections = summaries(plan, outcomes)
    trained = [row for row in plan.rows if trains(row.config.finetune)]
    values_of = {
        "training": {row.label: training(row.config) for row in trained},
        "seeds": {row.label: _seeds(row) for row in trained},
    }
    common = [name for name, values in values_of.items() if len(set(values.values())) == 1]
    own = [name for name in values_of if name not in common]
    rows, of_rows = [], dict[str, None]()
    for row in plan.rows:
        subsets = [selections[s] for s in _once(map(selection_of, row.cells)) if s in selections]
        runs = training_records(row, outcomes)
        rows.append(
            (
                row.label,
                strategy(row.config),
                *(values_of[name].get(row.label, ABSENT) for name in own),
                _ratio(row.config),
                _of([s["num_selected"] for s in subsets], [s["num_rows"] for s in subsets]),
                *(formats.spread((run.get(key) for run in runs), write) for key, write in TRAINING_NUMBERS.values()),
            )
        )
        of_rows.update(dict.fromkeys(_row_notes(row.label, runs)))
    columns = ("arm", "selection", *own, "ratio", "rows", *TRAINING_NUMBERS)
    sentences = [f"{name.capitalize()} of all trained rows: {next(iter(values_of[name].values()))}." for name in common]
    listing = Listing(columns, tuple(rows), num_text_columns=2 + len(own))
    return Section("Arms", (listing, *map(Note, (*sentences, *of_rows, *notes))), anchor="arms")


def _row_notes(label: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows that a training left out, and special tokens in the words of others, of one arm."""
    notes = []
    for run in runs:
        if left_out := run.get("left_out"):
            kinds = ", ".join(f"{kind} {count}" for kind, count in Counter(row["kind"] for row in left_out).items())
            ids = ", ".join(row["row_id"] for row in left_out[:MOST_NAMED_ROWS])
            more = ", ..." if len(left_out) > MOST_NAMED_ROWS else ""
            notes.append(
                f"{label}: {len(left_out)} selected rows could not be labelled and were left out of the training "
                f"({kinds}): {ids}{more}."
            )
        if control := run.get("control_tokens"):
            named = ", ".join(f"{token} {count}" for token, count in control.items())
            notes.append(f"{label}: special tokens in the rows' own words, trained on as plain text: {named}.")
    return notes


def strategy(config: ArmConfig) -> str:
    """Such as `selectit: sentence level, alpha 0.2, first 5 rating prompts (K), fidelity corrected`."""
    if not trains(config.finetune):
        return "none: the model as it is"
    chosen = strategy_of(config)
    return "; ".join([f"{chosen.strategy}: {chosen.sentence(config)}", *steps.words(chosen)])


def training(config: ArmConfig) -> str:
    finetune = config.finetune
    if not trains(finetune):
        return "none"
    lora = finetune.lora
    method: str = finetune.method
    if finetune.trains_adapter:
        name = "QLoRA (4-bit base)" if method == "qlora" else "LoRA"
        switches = ", rsLoRA" * lora.use_rslora + ", DoRA" * lora.use_dora
        method = f"{name} r {lora.r}, alpha {lora.alpha:g}{switches}"
    length = f"{finetune.max_steps} steps" if finetune.max_steps else f"{finetune.num_train_epochs:g} epochs"
    if finetune.budget_tokens is not None:
        length = f"{finetune.budget_tokens} trained tokens"
    return (
        f"{method}; learning rate {finetune.learning_rate:g}, {finetune.lr_scheduler_type}; {length}; "
        f"{finetune.global_batch_size} rows a step{', packed' * finetune.packing}; "
        f"template {template_name(finetune.template)}{_extras(finetune)}"
    )


def _extras(finetune: FinetuneConfig) -> str:
    """What a training has beyond the plain one."""
    found = []
    if finetune.optimizer != "adamw":
        found.append(f"optimizer {finetune.optimizer}")
    if finetune.neftune_noise_alpha is not None:
        found.append(f"NEFTune alpha {finetune.neftune_noise_alpha:g}")
    if finetune.trains_adapter and finetune.lora.modules_to_save:
        found.append(f"{formats.names(finetune.lora.modules_to_save)} trained whole")
    if finetune.order == "curriculum":
        found.append(f"rows in {finetune.curriculum} order of their scores")
    if finetune.replay is not None:
        found.append(f"{finetune.replay.share:.0%} replayed rows of {Path(finetune.replay.path).name}")
    if finetune.adapter is not None:
        found.append(f"from the adapter {Path(finetune.adapter).name}")
    if finetune.early_stopping is not None:
        found.append(f"early stopping on the validation loss, patience {finetune.early_stopping.patience}")
    return "".join(f"; {text}" for text in found)


def _of(parts: Sequence[int], wholes: Sequence[int]) -> str:
    return f"{formats.spread(parts)} of {formats.spread(wholes)}" if parts else ABSENT


def _ratio(config: ArmConfig) -> str:
    ratio = getattr(config.select, "ratio", None)
    return ABSENT if ratio is None or not trains(config.finetune) else f"{ratio:g}"


def _seeds(row: TableRow) -> str:
    """The seeds on which the row's numbers depend; where one would change nothing, its first value stands."""
    parts = []
    for purpose in ("select", "train", "eval"):
        values = dict.fromkeys(str(getattr(cell, f"{purpose}_seed")) for cell in row.cells)
        parts.append(f"{purpose} {', '.join(values)}")
    return "; ".join(parts)


def costs(plan: Plan, outcomes: Mapping[Stage, Outcome]) -> Section:
    """Seconds of each row by kind of stage, and a sentence with the sum over distinct stages."""
    seconds = {
        stage: float(artifact.manifest.get("seconds", 0))
        for stage in plan.stages
        if (artifact := outcomes.get(stage, UNTOUCHED).artifact)
    }
    rows = []
    for row in plan.rows:
        own = _once(stage for cell in row.cells for stage in walk(cell.stage))
        of_kind = [sum(seconds.get(s, 0) for s in own if s.kind.startswith(kinds)) for kinds in COST_KINDS.values()]
        durations = [duration(s) if s else ABSENT for s in of_kind]
        rows.append((row.label, *durations, duration(sum(of_kind))))
    total = duration(sum(seconds.values()))
    sentence = (
        f"Wall-clock time, all seeds together. Rows that share a stage both show its time; every stage counted once, "
        f"the {len(seconds)} finished stages took {total}."
    )
    listing = Listing(("arm", *COST_KINDS, "sum"), tuple(rows), title="Cost of each arm")
    return Section("Cost", (listing, Note(sentence)), anchor="cost")


def _once(stages: Iterable[Stage | None]) -> list[Stage]:
    return [stage for stage in dict.fromkeys(stages) if stage is not None]
