"""What can be checked before a plan's first hour is spent: room on the disk, models that may be read, each stage.

Each fault is one sentence. What a stage needs by itself is checked by the `preflight` of its module.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from selectit.config import FinetuneStage, SelectStage
from selectit.cost.work import training_disk
from selectit.errors import UserError
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.graph import Stage
from selectit.plan.status import State
from selectit.run.stage_runner import module_of


def preflight(pending: Sequence[Stage], states: Mapping[Stage, State], runs_dir: Path) -> None:
    """Raises: UserError with everything that was found, before anything is started."""
    faults = dict.fromkeys([*disk_faults(pending, runs_dir), *model_faults(pending)])
    checked = set()
    for stage in pending:
        if states[stage].status == "blocked":
            faults[states[stage].why] = None
            continue
        check = getattr(module_of(stage), "preflight", None)
        if check is None or (check, stage.config) in checked:
            continue
        checked.add((check, stage.config))
        try:
            check(stage.config)
        except UserError as error:
            faults[str(error)] = None
            continue
        if isinstance(stage.config, FinetuneStage):
            faults.update(dict.fromkeys(training_faults(stage, states)))
    if faults:
        raise UserError("preflight failed, no stage was run:\n" + "\n".join(f"  {fault}" for fault in faults))


def training_faults(stage: Stage, states: Mapping[Stage, State]) -> list[str]:
    """What is found in the rows that a training will read: its subset where that is selected, else the whole pool."""
    from selectit.finetune.check import check_inputs, check_subset, without_seed
    from selectit.store.names import MESSAGES_FILE

    config = stage.config
    assert isinstance(config, FinetuneStage)
    try:
        for _, subset in stage.inputs:
            assert isinstance(subset.config, SelectStage)
            if (done := states[subset].artifact) is not None:
                check_subset(config, done.path / MESSAGES_FILE)
            else:
                check_inputs(without_seed(config), subset.config.pool)
    except UserError as error:
        return [str(error)]
    return []


def disk_faults(pending: Sequence[Stage], runs_dir: Path) -> list[str]:
    """The trainings' weights and the checkpoints of the largest; a model of unknown size is left out."""
    kept, while_running, num_trainings = 0, 0, 0
    for stage in pending:
        if not isinstance(stage.config, FinetuneStage):
            continue
        width = 4 if stage.config.model.dtype == "float32" else 2
        try:
            saved, checkpoints = training_disk(stage.config, width)
        except UserError:
            continue
        kept, while_running, num_trainings = kept + saved, max(while_running, checkpoints), num_trainings + 1
    free = shutil.disk_usage(runs_dir).free
    if free >= kept + while_running:
        return []
    needed = f"{kept / 1e9:.3g} GB of weights and up to {while_running / 1e9:.3g} GB of checkpoints on the way"
    return [
        f"{runs_dir} has {free / 1e9:.3g} GB free, and {num_trainings} trainings write {needed}; free some "
        "(selectit gc), or name another --runs-dir"
    ]


def model_faults(pending: Sequence[Stage]) -> list[str]:
    """Hub models that are evaluated as they are: the stages before a trained one have asked for theirs already."""
    models = {
        (stage.config.model.path, stage.config.model.revision): None
        for stage in pending
        if isinstance(stage.config, EvaluateStage) and not stage.inputs and not Path(stage.config.model.path).exists()
    }
    faults = []
    for path, revision in models:
        from huggingface_hub import hf_hub_download

        try:
            hf_hub_download(path, "config.json", revision=revision)
        except Exception as error:  # gated, absent or unreachable: the hub has an exception for each
            message = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            faults.append(
                f"model '{path}' cannot be read ({message}); check the spelling, accept its licence on the hub and set "
                "HF_TOKEN, or download it first"
            )
    return faults
