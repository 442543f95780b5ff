"""HumanEval's pass@k: every completion is run against its task's tests in the sandbox."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from selectit.evaluate.results import Item, Metric, mean_metric
from selectit.evaluate.sandbox import Program, SandboxKind, run_programs


def score(
    items: Sequence[Item], pass_at: Sequence[int], metric: str, sandbox: SandboxKind, advance: Callable[[int], None]
) -> dict[str, Metric]:
    """The metrics; each item gets its score, and which of its completions passed and why the others did not.

    Args: advance: called with the number of completions that were graded.
    """
    programs = [
        Program(item.doc["prompt"], completion, item.doc["test"], item.doc["entry_point"])
        for item in items
        for completion in item.outputs
    ]
    different = list(dict.fromkeys(programs))  # samples of one task are often the same text
    verdicts = dict(zip(different, run_programs(different, sandbox, advance), strict=True))
    advance(len(programs) - len(different))
    rates: dict[str, list[float]] = {f"pass@{k}": [] for k in pass_at}
    graded = iter(programs)
    for item in items:
        found = [verdicts[next(graded)] for _ in item.outputs]
        num_passed = sum(verdict.passed for verdict in found)
        for k in pass_at:
            rates[f"pass@{k}"].append(pass_at_k(len(found), num_passed, k))
        item.score = rates[metric][-1]
        item.details = {"passed": [one.passed for one in found], "reasons": [one.reason for one in found]}
    return {name: mean_metric(values) for name, values in rates.items()}


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """Probability that k of the samples, drawn without replacement, hold one that passed (Chen et al. 2021, eq. 1)."""
    return 1 - math.comb(num_samples - num_passed, k) / math.comb(num_samples, k)
