"""What the strategies share that go by a model's losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selectit.config import ArmConfig
from selectit.errors import UserError
from selectit.scoring.loss_ledger import Losses
from selectit.store.names import LEDGER
from selectit.templates import template_name


def template_of(arm: ArmConfig, template: str) -> str:
    """The form in which rows are read. Args: template: of the strategy, or `training`."""
    return arm.finetune.template if template == "training" else template


def model_and_template(arm: ArmConfig, template: str) -> str:
    return f"by {Path(arm.raters[0].path).name}, template {template_name(template_of(arm, template))}"


def failures_of(losses: Losses) -> dict[int, str]:
    """Position -> why a row has no loss."""
    return {at: failure for at, failure in enumerate(losses.failures) if failure is not None}


def refuse_nothing(values: np.ndarray, folder: Path) -> None:
    if not np.isfinite(values).any():
        raise UserError(f"no row of the pool has a loss; see {folder / LEDGER} for the reasons")


def entropies_of(losses: Losses, folder: Path) -> np.ndarray:
    """float64 [num_rows], mean entropy over the response tokens. Raises: UserError where no row has one."""
    assert losses.response_entropy is not None, "NeedsLosses(..., entropy=True) asks for them"
    refuse_nothing(losses.response_entropy, folder)
    return losses.response_entropy
