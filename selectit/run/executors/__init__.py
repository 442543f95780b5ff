"""Where ready stages run instead of in this process: on a Ray cluster, or as SLURM jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selectit.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from selectit.run.executors.base import Executor
    from selectit.run.stage_runner import Session

EXECUTORS = ("local", "ray", "slurm")


def make_executor(
    name: str, session: Session, ray_address: str | None = None, slurm: Sequence[str] = ()
) -> Executor | None:
    """Args:    slurm: `key=value` texts, parameters of submitit.
    Returns: None: the engine runs stages in this process.
    Raises:  UserError for an unknown name, an option of another executor, or an extra that is not installed.
    """
    if name not in EXECUTORS:
        raise UserError(f"--executor {name}: allowed are {', '.join(EXECUTORS)}.{did_you_mean(name, EXECUTORS)}")
    if ray_address is not None and name != "ray":
        raise UserError("--ray-address is for --executor ray")
    if slurm and name != "slurm":
        raise UserError("--slurm is for --executor slurm")
    if name == "ray":
        from selectit.run.executors.ray import OnRay

        return OnRay(session.console, ray_address)
    if name == "slurm":
        from selectit.recipe.load import parse_overrides
        from selectit.run.executors.slurm import OnSlurm

        return OnSlurm(session.console, session.store.runs_dir / "jobs", parse_overrides(slurm, option="--slurm"))
    return None
