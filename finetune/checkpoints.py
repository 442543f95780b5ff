"""Where a killed training resumes: the newest complete checkpoint, and a log that ends at its step.

Reads, marks and prunes `checkpoints/` and cuts metrics.jsonl in the artifact folder. A checkpoint is complete
once every process has written its part: then the first one lists the files in complete.json.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from selectit.config import FinetuneConfig
from selectit.data.jsonl import jsonl_lines, whole_lines
from selectit.data.whole_files import write_whole
from selectit.errors import UserError
from selectit.finetune.processes import highest, rank, wait_for_all
from selectit.store.names import CHECKPOINT_RECORD, TRAINER_STATE

PREFIX = "checkpoint-"
NUM_KEPT_CHECKPOINTS = 2
SLACK_BYTES = 16 * 2**20
LARGEST_SHARE = 0.1
"""Of a training's time that goes into checkpoints which are due by the clock."""
"""For what a checkpoint holds in addition to tensors: tokenizer, state, log."""


def mark_complete(checkpoint: Path, finetune: FinetuneConfig) -> None:
    """List the files of a checkpoint that every process has finished writing."""
    files = {str(p.relative_to(checkpoint)): p.stat().st_size for p in sorted(checkpoint.rglob("*")) if p.is_file()}
    record = {"num_processes": finetune.num_processes, "deepspeed": finetune.deepspeed, "files": files}
    write_whole(checkpoint / CHECKPOINT_RECORD, json.dumps(record, indent=2) + "\n")


def _record(checkpoint: Path) -> dict[str, Any] | None:
    """The content of complete.json; None where it is absent, or a file it lists is absent or of another size."""
    try:
        record = json.loads((checkpoint / CHECKPOINT_RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    paths = {checkpoint / name: size for name, size in record["files"].items()}
    return record if all(path.is_file() and path.stat().st_size == size for path, size in paths.items()) else None


def _by_step(checkpoints: Path) -> list[Path]:
    """All checkpoint folders, complete or not, the newest first."""
    return sorted(checkpoints.glob(f"{PREFIX}*"), key=lambda folder: -int(folder.name.removeprefix(PREFIX)))


def newest_complete(checkpoints: Path) -> Path | None:
    """The checkpoint to resume from."""
    return next((folder for folder in _by_step(checkpoints) if _record(folder) is not None), None)


def drop_incomplete(checkpoints: Path) -> None:
    for folder in _by_step(checkpoints):
        if _record(folder) is None:
            shutil.rmtree(folder)


def keep_newest(checkpoints: Path) -> None:
    for folder in _by_step(checkpoints)[NUM_KEPT_CHECKPOINTS:]:
        shutil.rmtree(folder)


def refuse_other_shares(checkpoint: Path, finetune: FinetuneConfig) -> None:
    """Raises: UserError where ZeRO has shared the optimizer out over another number of processes."""
    record = _record(checkpoint)
    assert record is not None, checkpoint
    if finetune.deepspeed != "none" and record["num_processes"] != finetune.num_processes:
        raise UserError(
            f"{checkpoint} was written by {record['num_processes']} processes and finetune.num_processes is "
            f"{finetune.num_processes}; with finetune.deepspeed {finetune.deepspeed} each of them holds its share of "
            f"the optimizer, and DeepSpeed does not share it out anew. Set finetune.num_processes to "
            f"{record['num_processes']} to resume, or delete {checkpoint.parent} to start over."
        )


def check_disk_space(checkpoints: Path, model: Any, step: int, sharded: bool, weights_only: bool = False) -> None:
    """Where the next checkpoint would not fit on the disk, all but the newest go first.

    Raises: UserError, in every process, where it does not fit even then.
    """
    previous = newest_complete(checkpoints)
    if previous is not None and not weights_only:
        needed = sum(path.stat().st_size for path in previous.rglob("*") if path.is_file()) + SLACK_BYTES
    else:
        needed = checkpoint_bytes(model, sharded, weights_only)
    free = shutil.disk_usage(checkpoints.parent).free
    if highest(free < needed):
        if rank() == 0:
            for folder in _by_step(checkpoints):
                if folder != previous:
                    shutil.rmtree(folder)
        wait_for_all()
        free = shutil.disk_usage(checkpoints.parent).free
    if highest(free < needed):
        kept = f"{previous} is kept and training can resume from it" if previous else "there is no earlier checkpoint"
        raise UserError(
            f"training step {step}: the checkpoint needs about {needed / 2**30:.1f} GiB and {checkpoints} has "
            f"{free / 2**30:.1f} GiB free; {kept}. Free some space, or name another --runs-dir, and run the same "
            "command again."
        )


def checkpoint_bytes(model: Any, sharded: bool, weights_only: bool = False) -> int:
    """Trained weights and Adam's two moments in float32; with ZeRO also its float32 copy and the model's states."""
    moments = 0 if weights_only else 8
    total = SLACK_BYTES
    for parameter in model.parameters():
        if parameter.requires_grad:
            numel = getattr(parameter, "ds_numel", parameter.numel())  # ZeRO-3 leaves an empty tensor in place
            weight = parameter.element_size()
            total += numel * (weight + moments + (4 + weight if sharded else 0))
    return total


def read_state(checkpoint: Path) -> TrainerState:
    return TrainerState.load_from_json(str(checkpoint / TRAINER_STATE))


def drop_metrics_after(path: Path, step: int) -> None:
    """Cut a metrics.jsonl back to `step`; a last line that was cut off goes too."""
    if path.exists():
        write_whole(path, "".join(jsonl_lines(line for line in whole_lines(path) if line.get("step", 0) <= step)))


class SaveInTime(TrainerCallback):
    """A checkpoint where the last one is `minutes` old, and one after the last step: it stands until the weights do.

    Longer intervals where saving itself takes more than LARGEST_SHARE of them.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._saved = self._begun = time.monotonic()
        self._took = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._saved = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        now = self._begun = time.monotonic()
        is_due = now - self._saved >= max(self._seconds, self._took / LARGEST_SHARE)
        if highest(is_due) or state.global_step >= state.max_steps:
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._saved = time.monotonic()
        self._took = self._saved - self._begun
