"""Where each stage of a plan stands: done, to resume, to run or blocked, and why.

Reads manifests and hashes input files; imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from selectit.errors import UserError
from selectit.plan.graph import Plan, Stage, StageConfig
from selectit.selection.registry import Strategies
from selectit.store.artifact import Artifact
from selectit.store.fingerprint import differences, digest, identity, leaves, with_later_defaults
from selectit.store.kinds import KINDS
from selectit.store.runs_folder import Store

Status = Literal["done", "resume", "run", "blocked"]


@dataclass(frozen=True)
class State:
    """Where a stage stands. `identity` and `fingerprint` are known once its inputs are done."""

    status: Status
    why: str
    identity: dict[str, Any] | None = None
    fingerprint: str | None = None
    artifact: Artifact | None = field(default=None, compare=False)


def inspect(plan: Plan, store: Store) -> dict[Stage, State]:
    """The state of every stage; reads manifests and hashes input files, writes nothing but the hash memory."""
    store.look_again()
    states: dict[Stage, State] = {}
    for stage in plan.stages:
        states[stage] = state(stage, {s: states[s] for _, s in stage.inputs}, store, plan)
    return states


def state(stage: Stage, inputs: Mapping[Stage, State], store: Store, plan: Plan) -> State:
    contents = {}
    for name, other in stage.inputs:
        artifact = inputs[other].artifact
        if artifact is None:
            return State("run", f"after {plan.title(other)}")
        contents[name] = artifact.content
    kind = KINDS[stage.kind]
    try:
        stage_identity = {
            "kind": kind.name,
            "version": kind.version,
            "config": identity(stage.config, store.hasher),
            "inputs": contents,
        }
    except UserError as error:
        return State("blocked", str(error))
    fingerprint = digest(stage_identity)
    if (artifact := store.find(kind.name, fingerprint)) is not None:
        return State("done", artifact.path.name, stage_identity, fingerprint, artifact)
    if store.is_begun(kind.name, fingerprint):
        return State("resume", store.unfinished(kind.name, fingerprint), stage_identity, fingerprint)
    return State("run", _why(stage_identity, type(stage.config), store, plan.strategies), stage_identity, fingerprint)


def _why(new: dict[str, Any], schema: type[StageConfig], store: Store, strategies: Strategies) -> str:
    """What differs from the finished stage of the same kind that is most like this one."""
    known = store.identities(new["kind"])
    if not known:
        return "never run"
    own = leaves(new)
    _, old = min(known, key=lambda other: len(other[0] ^ own))
    before, after = (
        {**one, "config": with_later_defaults(one["config"], schema, strategies.forms)} for one in (old, new)
    )
    nearest = differences(before, after)
    shown = ", ".join(f"{key.removeprefix('config.')} {_short(old)} -> {_short(now)}" for key, old, now in nearest[:3])
    return f"new: {shown}" + (f" and {len(nearest) - 3} more" if len(nearest) > 3 else "")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
