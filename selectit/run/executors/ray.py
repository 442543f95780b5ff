"""Stages as tasks of a Ray cluster: Ray places each where its GPUs are free, and starts it again where it was lost.

Without an address Ray is started here, on this machine, and ended with the run. On a cluster all nodes must
see the runs folder and the recipe's files under the same paths, and have this project installed.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console

from selectit.errors import UserError
from selectit.plan.graph import Stage
from selectit.plan.outcome import Outcome
from selectit.run.executors.base import MOST_RETRIES, StageTask, num_gpus, perform, print_end, print_start

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise UserError("--executor ray needs Ray: pip install -c constraints.txt -e '.[ray]'") from error


class OnRay:
    """Args: address: of a running cluster, such as `auto`; None: a cluster of this machine alone."""

    def __init__(self, console: Console, address: str | None = None) -> None:
        self._console = console
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            configure_logging=False,
        )
        self._gpus = int(ray.cluster_resources().get("GPU", 0))
        self._running: dict[Any, StageTask] = {}
        # a process of its own for each stage: what a library keeps in memory or sets for a process ends with it
        self._perform = ray.remote(max_calls=1, max_retries=MOST_RETRIES)(perform)

    @property
    def has_room(self) -> bool:
        return True  # Ray queues

    def start(self, task: StageTask) -> None:
        """Raises: UserError where the cluster could never run it."""
        wanted = num_gpus(task.stage.config) if self._gpus else 0
        if wanted > self._gpus:
            raise UserError(
                f"{task.title} needs {wanted} GPUs, and the Ray cluster has {self._gpus}; lower its num_processes or "
                "add nodes"
            )
        print_start(self._console, task)
        self._running[self._perform.options(num_gpus=wanted, num_cpus=1).remote(task)] = task

    def wait(self) -> list[tuple[Stage, Outcome]]:
        [ended], _ = ray.wait(list(self._running), num_returns=1)
        task = self._running.pop(ended)
        try:
            outcome = ray.get(ended)
        except RayTaskError as error:  # raised around the stage, such as a folder that holds other work
            outcome = Outcome(None, ran=True, reason=str(error.cause).splitlines()[0], failed=True)
        except RayError as error:
            reason = f"lost {MOST_RETRIES + 1} times on the Ray cluster ({type(error).__name__}); see {task.log}"
            outcome = Outcome(None, ran=True, reason=reason, failed=True)
        print_end(self._console, task, outcome)
        return [(task.stage, outcome)]

    def close(self) -> None:
        ray.shutdown()
