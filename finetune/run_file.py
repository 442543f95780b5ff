"""Everything that one training run depends on, as one JSON file: all that a training process reads.

Written by the finetune stage; read by `python -m selectit.finetune.train`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from selectit.config import Config, FinetuneStage
from selectit.data.whole_files import write_whole
from selectit.errors import UserError
from selectit.store.names import ADAPTER_FOLDER, CHECKPOINTS_FOLDER, MODEL_FOLDER
from selectit.store.trained_on import Base

RUN_FILE = "train_config.json"


class TrainingRun(Config):
    """One training run, resolved."""

    stage: FinetuneStage
    """Model, settings and seed."""
    messages: Path
    """The subset's messages.jsonl."""
    out: Path
    """The artifact folder."""
    base: Base
    """What the training starts from, by its content."""

    @property
    def checkpoints(self) -> Path:
        return self.out / CHECKPOINTS_FOLDER

    @property
    def weights(self) -> Path:
        return self.out / (ADAPTER_FOLDER if self.stage.finetune.trains_adapter else MODEL_FOLDER)


def write_run(run: TrainingRun) -> Path:
    """Returns: the file, in the artifact folder."""
    path = run.out / RUN_FILE
    write_whole(path, run.model_dump_json(indent=2) + "\n")
    return path


def read_run(path: Path) -> TrainingRun:
    """Raises: UserError where the file is absent or not one that `write_run` wrote."""
    try:
        return TrainingRun.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; the finetune stage writes it into its folder") from error
    except ValidationError as error:
        raise UserError(f"{path} is not a resolved training run: {error}") from error
