"""Stages as SLURM jobs through submitit, each submitted once its inputs are finished.

Jobs go on when this process is killed; the same command later finds what they have finished, and waits for
what they are still at. All nodes must see the runs folder and the recipe's files under the same paths.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from selectit.errors import UserError
from selectit.plan.graph import Stage
from selectit.plan.outcome import Outcome
from selectit.run.executors.base import MOST_RETRIES, StageTask, num_gpus, perform, print_end, print_start

try:
    import submitit
    from submitit.core.utils import FailedJobError, UncompletedJobError
except ImportError as error:
    raise UserError("--executor slurm needs submitit: pip install -c constraints.txt -e '.[slurm]'") from error

POLL_SECONDS = 2
CLUSTERS = ("slurm", "local")


class OnSlurm:
    """Args:
    folder: for submitit's files, one folder a job.
    parameters: submitit's, such as timeout_min, mem_gb, cpus_per_task, slurm_partition, slurm_account;
        and `cluster: local` for processes of this machine in the place of jobs.
    """

    def __init__(self, console: Console, folder: Path, parameters: Mapping[str, Any]) -> None:
        self._console = console
        given = dict(parameters)
        cluster = given.pop("cluster", "slurm")
        if cluster not in CLUSTERS:
            raise UserError(f"--slurm cluster={cluster}: allowed are {', '.join(CLUSTERS)}")
        try:
            self._executor = submitit.AutoExecutor(folder=folder / "%j", cluster=cluster)
            self._executor.update_parameters(**given)
        except (RuntimeError, NameError, AssertionError) as error:  # no sbatch here; a parameter of another name
            raise UserError(f"--executor slurm: {str(error).strip()}") from error
        self._asks_for_gpus = cluster == "slurm"
        self._running: list[tuple[submitit.Job[Outcome], StageTask, int]] = []

    @property
    def has_room(self) -> bool:
        return True  # SLURM queues

    def start(self, task: StageTask) -> None:
        print_start(self._console, task)
        self._submit(task, attempt=1)

    def _submit(self, task: StageTask, attempt: int) -> None:
        parameters: dict[str, Any] = {"name": task.log.stem}
        if self._asks_for_gpus:
            parameters["gpus_per_node"] = num_gpus(task.stage.config)
        self._executor.update_parameters(**parameters)
        self._running.append((self._executor.submit(perform, task), task, attempt))

    def wait(self) -> list[tuple[Stage, Outcome]]:
        outcomes: list[tuple[Stage, Outcome]] = []
        while not outcomes:
            for entry in [entry for entry in self._running if entry[0].done()]:
                self._running.remove(entry)
                if (outcome := self._outcome(*entry)) is not None:
                    print_end(self._console, entry[1], outcome)
                    outcomes.append((entry[1].stage, outcome))
            if not outcomes:
                time.sleep(POLL_SECONDS)
        return outcomes

    def _outcome(self, job: submitit.Job[Outcome], task: StageTask, attempt: int) -> Outcome | None:
        """None where the job was lost and has been submitted again."""
        try:
            return job.result()
        except FailedJobError:  # raised around the stage, such as a folder that holds other work
            reason = f"job {job.job_id} failed"
        except UncompletedJobError:
            if attempt <= MOST_RETRIES:
                self._console.print(f"{task.title}: job {job.job_id} was lost, submitted again", highlight=False)
                self._submit(task, attempt + 1)
                return None
            reason = f"lost {attempt} times as a job, last as {job.job_id}"
        return Outcome(None, ran=True, reason=f"{reason}; see {job.paths.stderr} and {task.log}", failed=True)

    def close(self) -> None:
        pass
