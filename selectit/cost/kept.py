"""What is there already of a stage that is not done: records, answers and steps that it will not compute again.

Reads unfinished folders and finished ledgers; imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from selectit.config import LossStage, ScoreStage
from selectit.data.jsonl import whole_lines
from selectit.evaluate.model.answers import ANSWERS_FILE
from selectit.inference.shape import bytes_per_parameter, config_of, dtype_name
from selectit.plan.graph import Stage
from selectit.plan.status import State
from selectit.scoring.ledger import SCHEMA as RATINGS
from selectit.scoring.ledger import recorded
from selectit.scoring.loss_ledger import SCHEMA as LOSSES
from selectit.scoring.reuse import EarlierRatings
from selectit.store.kinds import KINDS
from selectit.store.names import CHECKPOINT_RECORD, CHECKPOINTS_FOLDER, STAGE_FILE, TRAINER_STATE
from selectit.store.runs_folder import Store


@dataclass(frozen=True)
class Kept:
    folder: Path | None = None
    """Of the stage, where it was begun."""
    earlier: tuple[Path, ...] = ()
    """Finished score artifacts of the same checkpoint."""

    @classmethod
    def of(cls, stage: Stage, state: State, store: Store) -> Kept:
        if state.identity is None or state.fingerprint is None:  # after another stage: nothing is there
            return cls()
        folder, keys = store.folder(stage.kind, state.fingerprint), KINDS[stage.kind].reuse_keys
        alike = store.alike(state.identity, keys) if keys else []
        own = state.status == "resume" and _fingerprint(folder) == state.fingerprint
        return cls(folder if own else None, tuple(artifact.path for artifact in alike))

    def records(self, config: ScoreStage | LossStage, row_ids: Sequence[str] | pa.Array) -> np.ndarray:
        """bool [num_prompts or 1, num_rows], what the stage's unfinished ledger holds."""
        rates = isinstance(config, ScoreStage)
        groups = list(range(len(config.prompts))) if isinstance(config, ScoreStage) else [config.text]
        if self.folder is None:
            return np.zeros((len(groups), len(row_ids)), dtype=bool)
        return recorded(self.folder, RATINGS if rates else LOSSES, pa.array(row_ids, pa.string()), groups)

    def ratings(self, config: ScoreStage, on_gpu: bool, rater: str) -> EarlierRatings:
        """Of the finished ledgers that the stage would reuse. Ids of the ratings are those of the checkpoint's
        tokenizer, which is the same.

        Args:   rater: as ledgers name the path.
        Raises: UserError, see `config_of`.
        """
        half = "float16" if config.model.dtype == "float16" else "bfloat16"
        number = "float32" if bytes_per_parameter(config.model, on_gpu) == 4 else half
        own = (config_of(config.model).get("quantization_config") or {}).get("quant_method")
        how = own if config.quantization == "none" else config.quantization
        wanted = {"dtype": dtype_name(number, how), "rater": rater, "device": "cuda" if on_gpu else "cpu"}
        return EarlierRatings(self.earlier, wanted)

    @property
    def num_answers(self) -> int:
        """Requests of an evaluation that have an answer."""
        return 0 if self.folder is None else sum(1 for _ in whole_lines(self.folder / ANSWERS_FILE))

    @property
    def trained_share(self) -> float:
        """Of a training's steps, those before its newest complete checkpoint."""
        shares = [0.0]
        for record in [] if self.folder is None else self.folder.glob(f"{CHECKPOINTS_FOLDER}/*/{CHECKPOINT_RECORD}"):
            try:
                state = json.loads((record.parent / TRAINER_STATE).read_text(encoding="utf-8"))
            except (OSError, json.JSONDecodeError):
                continue  # the training would go on from an older one
            shares.append(min(1.0, state["global_step"] / state["max_steps"]))
        return max(shares)


def _fingerprint(folder: Path) -> str | None:
    """Of what was begun there: a folder that the user named may hold the work of other settings."""
    fingerprint: str | None = json.loads((folder / STAGE_FILE).read_text(encoding="utf-8")).get("fingerprint")
    return fingerprint


NOTHING = Kept()
