"""What reads an answer out of a model's text and scores it, for benchmarks whose answer is text.

lm-eval builds the prompts of these benchmarks and the model answers them; lm-eval's own filters and metrics are not
used, so that no fallback text of a filter can meet a right answer. A grader is a function of the text and of the
item's row: it returns what it read and what that is worth.

- `GRADERS` lists them by name with the benchmarks they grade, the metrics they give and a version, which is raised
  whenever a grader would score a kept answer differently.
- A profile's entry names another one than its benchmark's first with `grader:`. That is an identity field.
- `Graded.answer` is None where no answer could be read. That is an outcome of its own, `unparsed`, in every item and in
  the counts of a result; what it is worth is the grader's to say, and 0 in all of ours. A grader that reproduces a
  released one (evaluate/grading/released_graders.py) keeps that one's rule.

To add one: write `def grade_x(text, doc) -> Graded` in a module of its own and add a line to `GRADERS`. This module
imports no grader before it is asked for one, and nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from statistics import fmean
from typing import TYPE_CHECKING, Any

from selectit.errors import UserError, did_you_mean
from selectit.evaluate.benchmarks.files import CODE, COMET, EXPORTED, JUDGED, MATHEMATICS, TRANSLATION
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.grading.graded import Grader

if TYPE_CHECKING:
    from selectit.config import BenchmarkConfig
    from selectit.evaluate.results import Item


@dataclass(frozen=True)
class NamedGrader:
    function: str
    """module:function; the module is imported when it is used."""
    benchmarks: tuple[str, ...]
    metrics: tuple[str, ...]
    """The first is `Graded.score`, the others are the keys of `Graded.others`."""
    version: int = 1
    """Raised when a kept answer would be scored differently."""

    def load(self) -> Grader:
        module, _, name = self.function.partition(":")
        grader: Grader = getattr(import_module(module), name)
        return grader


GRADERS = {
    "gsm8k": NamedGrader(
        "selectit.evaluate.grading.number_answers:grade_gsm8k",
        ("gsm8k",),
        ("exact_match,flexible-extract", "exact_match,strict-match"),
        version=3,
    ),
    "selectit_gsm8k": NamedGrader(
        "selectit.evaluate.grading.released_graders:grade_selectit_gsm8k", ("gsm8k",), ("exact_match",)
    ),
    "bbh": NamedGrader("selectit.evaluate.grading.bbh_answers:grade_bbh", ("bbh",), ("exact_match",), version=3),
    "selectit_bbh": NamedGrader(
        "selectit.evaluate.grading.released_graders:grade_selectit_bbh", ("bbh",), ("exact_match",)
    ),
    "tydiqa": NamedGrader("selectit.evaluate.grading.span_answers:grade_tydiqa", ("tydiqa",), ("f1", "exact_match")),
    "selectit_tydiqa": NamedGrader(
        "selectit.evaluate.grading.released_graders:grade_selectit_tydiqa", ("tydiqa",), ("f1", "exact_match")
    ),
}
"""Of several graders of a benchmark, the first is the one that a profile gets without naming one."""


VERSIONS = {"math-verify": 4, "sandbox": 2, "choices": 2}
"""Of what grades other answers than texts, raised as those of `GRADERS` are."""


def graders_for(benchmark: str) -> list[str]:
    return [name for name, grader in GRADERS.items() if benchmark in grader.benchmarks]


def grader_name(benchmark: BenchmarkConfig) -> str | None:
    """The grader that an entry of a profile gets; None for benchmarks that are not graded as text.

    Raises: UserError where it names one that is not there or that grades another benchmark.
    """
    possible = graders_for(benchmark.name)
    if benchmark.grader is None:
        return possible[0] if possible else None
    if benchmark.grader not in possible:
        known = f"Graders of {benchmark.name}: {', '.join(possible)}" if possible else "Leave `grader` out"
        raise UserError(
            f"'{benchmark.grader}' does not grade {benchmark.name}.{did_you_mean(benchmark.grader, possible)} {known}"
        )
    return benchmark.grader


def grader_of(benchmark: BenchmarkConfig) -> dict[str, Any] | None:
    """Name and version of what grades a benchmark; None where a judge, a scorer or another program does."""
    if isinstance(benchmark, NamedTaskConfig):
        return {"name": "lm_eval", "version": version("lm_eval")}
    if benchmark.name in (*JUDGED, *TRANSLATION, *COMET, *EXPORTED):
        return None
    if (name := grader_name(benchmark)) is not None:
        return {"name": name, "version": GRADERS[name].version}
    name = "math-verify" if benchmark.name in MATHEMATICS else "sandbox" if benchmark.name in CODE else "choices"
    return {"name": name, "version": VERSIONS[name]}


def grade_items(items: Sequence[Item], name: str, metric: str) -> None:
    """Give every item its outcomes, the answer that was read, its score and its other metrics.

    Of several answers to an item the scores are averaged, and the answer that was read is the first one's.
    """
    entry = GRADERS[name]
    grade = entry.load()
    for item in items:
        found = [grade(text, item.doc) for text in item.outputs]
        item.answer = found[0].answer
        item.outcomes = ["unparsed" if one.answer is None else "read" for one in found]
        values = {
            one: fmean(graded.score if one == entry.metrics[0] else graded.others[one] for graded in found)
            for one in entry.metrics
        }
        item.score = values.pop(metric)
        item.details |= values
