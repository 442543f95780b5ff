"""What reads an answer out of a model's text and scores it, for benchmarks whose answer is text.

lm-eval builds the prompts of these benchmarks and the model answers them; lm-eval's own filters and metrics are not
used, so that no fallback text of a filter can meet a right answer. A grader is a function of the text and of the
item's row: it returns what it read and what that is worth.

- A benchmark's declaration lists its graders by name, with the metrics they give and a version, which is raised
  whenever a grader would score a kept answer differently.
- A profile's entry names another one than its benchmark's first with `grader:`. That is an identity field.
- `Graded.answer` is None where no answer could be read. That is an outcome of its own, `unparsed`, in every item and in
  the counts of a result; what it is worth is the grader's to say, and 0 in all of ours. A grader that reproduces a
  released one (evaluate/grading/released_graders.py) keeps that one's rule.

To add one: write `def grade_x(text, doc) -> Graded` in a module of its own and name it in `Texts` of the declaration.
This module imports no grader before it is asked for one, and nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from statistics import fmean
from typing import TYPE_CHECKING, Any

from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.grading.kinds import TextGrader

if TYPE_CHECKING:
    from selectit.config import BenchmarkConfig
    from selectit.evaluate.results import Item


def grader_of(benchmark: BenchmarkConfig) -> dict[str, Any] | None:
    """Name and version of what grades a benchmark; None where a judge, a scorer or another program does.

    Raises: UserError where the entry names a grader that is not there or that grades another benchmark.
    """
    if isinstance(benchmark, NamedTaskConfig):
        return {"name": "lm_eval", "version": version("lm_eval")}
    return benchmarks()[benchmark.name].grading.described(benchmark)


def grade_items(items: Sequence[Item], grader: TextGrader, metric: str) -> None:
    """Give every item its outcomes, the answer that was read, its score and its other metrics.

    Of several answers to an item the scores are averaged, and the answer that was read is the first one's.
    """
    grade = grader.load()
    for item in items:
        found = [grade(text, item.doc) for text in item.outputs]
        item.answer = found[0].answer
        item.outcomes = ["unparsed" if one.answer is None else "read" for one in found]
        values = {
            one: fmean(graded.score if one == grader.metrics[0] else graded.others[one] for graded in found)
            for one in grader.metrics
        }
        item.score = values.pop(metric)
        item.details |= values
        item.details |= {one: [part for graded in found for part in graded.parts[one]] for one in grader.part_metrics}
