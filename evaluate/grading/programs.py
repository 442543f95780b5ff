"""Code: pass@k, where every completion is run against its task's tests in the sandbox.

Writes samples.jsonl for a benchmark that its authors' own program grades.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from selectit.data.jsonl import write_jsonl
from selectit.evaluate.benchmarks.benchmark import Benchmark
from selectit.evaluate.grading.kinds import Programs
from selectit.evaluate.grading.sandbox import SandboxKind, Verdict, run_programs
from selectit.evaluate.results import Item, Metric, mean_metric
from selectit.store.names import SAMPLES_FILE

_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^'.]+)")


def score(
    items: Sequence[Item],
    grading: Programs,
    pass_at: Sequence[int],
    metric: str,
    sandbox: SandboxKind,
    advance: Callable[[int], None],
) -> dict[str, Metric]:
    """The metrics; each item gets its score, and which of its completions passed and why the others did not.

    Args: advance: called with the number of completions that were graded.
    """
    programs = [grading.program(item.doc, completion) for item in items for completion in item.outputs]
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


def notes(items: Sequence[Item], benchmark: Benchmark, grading: Programs, sandbox: SandboxKind) -> list[str]:
    """What may have failed for another reason than the answer."""
    return _missing_modules(items) + _unsolvable(items, benchmark, grading, sandbox)


def _missing_modules(items: Sequence[Item]) -> list[str]:
    reasons = [reason for item in items for reason in item.details["reasons"]]
    found = [match[1] for reason in reasons if (match := _NO_MODULE.match(reason))]
    if not found:
        return []
    shown = ", ".join(f"{name} ({count})" for name, count in Counter(found).most_common(5))
    return [f"{len(found)} of {len(reasons)} answers failed for a module that the sandbox does not have: {shown}"]


def _unsolvable(items: Sequence[Item], benchmark: Benchmark, grading: Programs, sandbox: SandboxKind) -> list[str]:
    """A note where the published solution of a task that nothing passed does not pass here either.

    Tests that need a class of the program, and solutions that take long, cannot be run as the sandbox runs them.
    """
    failed = [item for item in items if not any(item.details["passed"])]
    solutions = [grading.program(item.doc, str(benchmark.right_answer(item.doc))) for item in failed]
    verdicts: list[Verdict] = run_programs(solutions, sandbox)
    names = [str(i.doc["task_id"]) for i, verdict in zip(failed, verdicts, strict=True) if not verdict.passed]
    if not names:
        return []
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return [f"{len(names)} of {len(items)} tasks count as failed whose published solution fails here too: {shown}"]


def write_samples(items: Sequence[Item], prompt: str, out: Path) -> None:
    """One line per completion, as evalplus and BigCodeBench read them. Args: prompt: the row's field in front of it."""
    lines = (
        {"task_id": item.doc["task_id"], "solution": item.doc[prompt] + completion}
        for item in items
        for completion in item.outputs
    )
    write_jsonl(out / SAMPLES_FILE, lines)


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """Probability that k of the samples, drawn without replacement, hold one that passed (Chen et al. 2021, eq. 1)."""
    return 1 - math.comb(num_samples - num_passed, k) / math.comb(num_samples, k)
