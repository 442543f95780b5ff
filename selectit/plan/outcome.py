"""What became of a stage."""

from __future__ import annotations

from dataclasses import dataclass

from selectit.store.artifact import Artifact


@dataclass(frozen=True)
class Outcome:
    """What became of one stage. `ran`: it was executed now; `reason`: why there is no artifact."""

    artifact: Artifact | None
    ran: bool = False
    reason: str = ""
    failed: bool = False
