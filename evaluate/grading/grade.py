"""Grading of items, by whatever their benchmark is graded with: texts, formulas, programs, translations, choices.

Used by the evaluate stage, and by the grade stage for answers that are there already. A judge speaks afterwards
(evaluate/stage.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selectit.errors import NotRun
from selectit.evaluate.benchmarks.files import refuse_hub
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.grading import alpaca_eval, arena_hard, mathematics, programs, translation, true_choices
from selectit.evaluate.grading.graders import grade_items, grader_of
from selectit.evaluate.grading.health import answer_health
from selectit.evaluate.grading.kinds import Exported, FinalAnswers, Judged, Programs, Texts, Translations, TrueChoices
from selectit.evaluate.grading.metrics import mean_of_parts, metrics_of, task_numbers
from selectit.evaluate.grading.sandbox import unavailable
from selectit.evaluate.judge.base import JUDGE_AGAIN
from selectit.evaluate.results import BenchmarkResult, Item, Metric, answers_digest, choice_notes, count_outcomes
from selectit.evaluate.stage_config import EvaluateStage, GradeStage
from selectit.tracking import Tracker

NO_JUDGE = f"not judged: no judge is configured (evaluate.judge); {JUDGE_AGAIN}"
NO_GAMES = "not judged: Arena-Hard's verdicts are texts, which a judge of the form hf:<model> does not write; name one "
NO_GAMES += f"behind an endpoint (evaluate.judge.model). {JUDGE_AGAIN}"


def check_means(config: EvaluateStage | GradeStage) -> None:
    """Raises: UserError where what the answers are graded with is not here."""
    if isinstance(config.benchmark, NamedTaskConfig):
        return
    benchmark = benchmarks()[config.benchmark.name]
    grading = benchmark.grading
    if isinstance(grading, FinalAnswers):
        mathematics.check_installed()
    elif isinstance(grading, Texts):
        folder = None if config.data == "hub" else Path(config.data) / benchmark.folder
        grading.graders[grading.grader_name(config.benchmark)].check_installed(folder)
    if config.data == "hub":
        refuse_hub(benchmark)


def check_can_run(config: EvaluateStage | GradeStage) -> None:
    """Raises: NotRun where programs or COMET cannot be run here; UserError as `check_means`."""
    if not isinstance(config.benchmark, NamedTaskConfig):
        grading = benchmarks()[config.benchmark.name].grading
        if isinstance(grading, Programs) and (reason := unavailable(config.sandbox)):
            raise NotRun(reason)
        uses_comet = isinstance(grading, Translations) and grading.comet
        if uses_comet and (reason := translation.comet_unavailable(config.comet_python)):
            raise NotRun(reason)
    check_means(config)


def grade(
    config: EvaluateStage | GradeStage,
    result: BenchmarkResult,
    items: Sequence[Item],
    generator: str,
    out: Path,
    tracker: Tracker,
) -> None:
    """Score the items and take the numbers into the result, but for those of a judge, who has not spoken yet.

    Args: generator: whose answers they are, in files for graders of others. out: where those files are written.
    """
    benchmark, declared = config.benchmark, benchmarks()[config.benchmark.name]
    grading, metric = declared.grading, benchmark.metric
    result.num_items = len(items)
    result.tasks = task_numbers(items)
    result.grader = grader_of(benchmark)
    result.answers_sha256 = answers_sha256(items)
    num_answers = sum(len(item.outputs) for item in items)
    if isinstance(grading, Programs):
        with tracker.progress(f"{benchmark.name}: running the programs", num_answers) as advance:
            found = programs.score(items, grading, benchmark.pass_at, metric, config.sandbox, advance)
        result.score(found)
        result.notes.extend(programs.notes(items, declared, grading, config.sandbox))
    elif isinstance(grading, Exported):
        programs.write_samples(items, grading.prompt, out)
        result.reason = grading.reason
    elif isinstance(grading, Translations):
        scores, result.scorers = translation.score(items, grading, config.comet_python)
        result.score(scores)
    elif isinstance(grading, FinalAnswers):
        with tracker.progress(f"{benchmark.name}: grading", num_answers) as advance:
            result.score(mathematics.score(items, metric, advance))
        result.notes.extend(mathematics.notes(items))
    elif isinstance(grading, Judged):
        write = arena_hard.write_answers if grading.games else alpaca_eval.write_outputs
        write(items, generator, out)
        result.metrics, result.reason = alpaca_eval.output_length(items), NO_GAMES if config.judge else NO_JUDGE
    else:
        others: list[str] = []
        of_parts: dict[str, Metric] = {}
        if isinstance(grading, Texts):
            grader = grading.graders[grading.grader_name(benchmark)]
            grade_items(items, grader, metric)
            others = [name for name in grader.metrics if name != metric]
            of_parts = {name: mean_of_parts(items, name) for name in grader.part_metrics}
        elif isinstance(grading, TrueChoices):
            true_choices.score(items, metric)
            others = [name for name in grading.metrics(benchmark) if name != metric]
        else:
            result.notes.extend(choice_notes(items))
        result.score(metrics_of(items, declared.mean_of, metric, others) | of_parts)
        result.tasks = task_numbers(items, metric, others)
    result.answer_health = answer_health(items)
    result.outcomes = count_outcomes(items)


def answers_sha256(items: Sequence[Item]) -> str:
    """What was answered to which items: the same for every grader and judge of the same answers."""
    return answers_digest((item.task, item.item_id, item.outputs) for item in items)
