"""Code: pass@k, where every completion is run against its task's tests in the sandbox.

Writes samples.jsonl for a benchmark that its authors' own program grades.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from selectit.data.jsonl import write_jsonl
from selectit.evaluate.grading.sandbox import Program, SandboxKind, Verdict, run_programs
from selectit.evaluate.results import Item, Metric, mean_metric
from selectit.store.names import SAMPLES_FILE

EXPORTED_NOT_GRADED = (
    f"exported, not graded: {SAMPLES_FILE} in the artifact is for bigcodebench.evaluate --split complete --subset full "
    f"--samples {SAMPLES_FILE}, in BigCodeBench's own container (docs/evaluation.md)"
)
PLUS_TIMES = 5
"""Times the sandbox's usual limits of time, for hundreds of tests instead of a few."""

_NO_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^'.]+)")

_TRUTH_OF_A_MATCH = """

def _plain(function):
    import re

    def call(*arguments, **keywords):
        value = function(*arguments, **keywords)
        return bool(value) if isinstance(value, re.Match) else value

    return call


{name} = _plain({name})
"""
"""A few of MBPP's solutions return a match of `re`, of which their tests ask only whether there is one."""


def score(
    items: Sequence[Item],
    benchmark: str,
    pass_at: Sequence[int],
    metric: str,
    sandbox: SandboxKind,
    advance: Callable[[int], None],
) -> dict[str, Metric]:
    """The metrics; each item gets its score, and which of its completions passed and why the others did not.

    Args: advance: called with the number of completions that were graded.
    """
    programs = [program_of(benchmark, item.doc, completion) for item in items for completion in item.outputs]
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


def notes(items: Sequence[Item], benchmark: str, sandbox: SandboxKind) -> list[str]:
    """What may have failed for another reason than the answer."""
    return _missing_modules(items) + _unsolvable(items, benchmark, sandbox)


def _missing_modules(items: Sequence[Item]) -> list[str]:
    reasons = [reason for item in items for reason in item.details["reasons"]]
    found = [match[1] for reason in reasons if (match := _NO_MODULE.match(reason))]
    if not found:
        return []
    shown = ", ".join(f"{name} ({count})" for name, count in Counter(found).most_common(5))
    return [f"{len(found)} of {len(reasons)} answers failed for a module that the sandbox does not have: {shown}"]


def _unsolvable(items: Sequence[Item], benchmark: str, sandbox: SandboxKind) -> list[str]:
    """A note where the published solution of a task that nothing passed does not pass here either.

    Tests that need a class of the program, and solutions that take long, cannot be run as the sandbox runs them.
    """
    failed = [item for item in items if not any(item.details["passed"])]
    verdicts: list[Verdict] = run_programs([program_of(benchmark, i.doc, solution(i.doc)) for i in failed], sandbox)
    names = [str(i.doc["task_id"]) for i, verdict in zip(failed, verdicts, strict=True) if not verdict.passed]
    if not names:
        return []
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return [f"{len(names)} of {len(items)} tasks count as failed whose published solution fails here too: {shown}"]


def program_of(benchmark: str, doc: dict[str, Any], completion: str) -> Program:
    """What the sandbox runs for one completion. Args: doc: a row as evaluate/benchmarks/readers.py gives it."""
    if benchmark == "humaneval":
        return Program(doc["prompt"], completion, doc["test"], doc["entry_point"])
    if benchmark == "mbpp":
        return _mbpp(doc, completion)
    name = doc["entry_point"]
    task = {
        "task_id": doc["task_id"],
        "entry_point": name,
        "solution": doc["prompt"] + doc["canonical_solution"],
        **json.loads(doc["plus"]),
    }
    test = f"import json\nTASK = json.loads({json.dumps(task)!r})\n{_plus_driver()}"
    if benchmark == "mbpp_plus":
        completion += _TRUTH_OF_A_MATCH.format(name=name)
    return Program(doc["prompt"], completion, test, name, PLUS_TIMES)


def _mbpp(doc: dict[str, Any], completion: str) -> Program:
    name = entry_point_of(doc)
    lines = "\n".join(doc["test_list"]).splitlines()
    test = "\n".join(["def check(candidate):", *(f"    {line}" for line in lines)])
    return Program(doc["test_setup_code"], f"\n{completion}{_TRUTH_OF_A_MATCH.format(name=name)}", test, name)


def entry_point_of(doc: dict[str, Any]) -> str:
    """The function of an MBPP solution that its tests call; by pattern, for not every row need be today's Python."""
    defined = re.findall(r"^def\s+(\w+)", doc["code"], re.MULTILINE)
    called = [name for test in doc["test_list"] for name in re.findall(r"(\w+)\s*\(", test)]
    return next((name for name in called if name in defined), (defined or ["solution"])[-1])


def solution(doc: dict[str, Any]) -> str:
    """The published solution as a completion."""
    return str(doc["canonical_solution"] if "canonical_solution" in doc else doc["code"].replace("\r", ""))


def write_samples(items: Sequence[Item], out: Path) -> None:
    """One line per completion, as evalplus and BigCodeBench read them."""
    lines = (
        {"task_id": item.doc["task_id"], "solution": item.doc["complete_prompt"] + completion}
        for item in items
        for completion in item.outputs
    )
    write_jsonl(out / SAMPLES_FILE, lines)


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """Probability that k of the samples, drawn without replacement, hold one that passed (Chen et al. 2021, eq. 1)."""
    return 1 - math.comb(num_samples - num_passed, k) / math.comb(num_samples, k)


@cache
def _plus_driver() -> str:
    return (files("selectit.evaluate.grading") / "plus_driver.py").read_text(encoding="utf-8")
