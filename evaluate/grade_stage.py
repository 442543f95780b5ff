"""The grade stage: answers to one benchmark that are there already, scored as the evaluate stage scores a model's.

Reads the answers and benchmark data; loads no model but a judge of the form hf:. Writes result.json and items.jsonl.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from selectit.evaluate.benchmarks.questions import HUB, LM_EVAL_VERSION, load_questions, questions_as_items
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.given_answers import answered, kept_model, read_answers, read_choices
from selectit.evaluate.grading import alpaca_eval, length_control
from selectit.evaluate.grading.grade import check_can_run, check_means, grade
from selectit.evaluate.grading.graders import grader_of
from selectit.evaluate.grading.released_graders import instructdiff_letter
from selectit.evaluate.judge.load import check_judge
from selectit.evaluate.results import BenchmarkResult, Item
from selectit.evaluate.stage import finish, judge_items, load_judge_of, truncation_note
from selectit.evaluate.stage_config import GradeStage
from selectit.tracking import Tracker


def preflight(config: GradeStage) -> None:
    """Raises: UserError for answers that are none, or where what grades them is not here."""
    read_answers(Path(config.answers), config.benchmark)
    check_means(config)
    if config.judge is not None:
        length_control.find_gamed(config)
        check_judge(config.judge)


def run(config: GradeStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, float]:
    """Returns: value and stderr of the table's metric where it was scored, num_items.
    Raises:  NotRun before anything is graded, where programs or COMET cannot be run here; UserError for answers to
             items that are not asked.
    """
    out.mkdir(parents=True, exist_ok=True)
    benchmark = config.benchmark
    result = BenchmarkResult(benchmark.name, config.profile, benchmark.metric, lm_eval_version=LM_EVAL_VERSION)
    result.protocol_notes = list(benchmark.notes)
    if config.data == HUB:
        result.data = {"hub": benchmarks()[benchmark.name].hub, "revision": benchmark.revision}
    check_can_run(config)
    judge = load_judge_of(config)
    gamed = length_control.find_gamed(config)
    answers = read_answers(Path(config.answers), benchmark)
    questions = load_questions(config)
    asked = questions_as_items(questions, benchmark, any(given.kept is None for given in answers.values()))
    items = answered(asked, answers, Path(config.answers), benchmark, questions.until)
    result.model = kept_model(Path(config.answers))
    incomplete = [*questions.notes, *config.kept_notes]
    lacking = _not_answered(items, len(asked), benchmark.num_samples)
    result.notes = [*incomplete, *truncation_note(items), *lacking]
    result.complete = not (incomplete or lacking)
    if (grader_of(benchmark) or {}).get("name") == "choices":
        _read_choices(items)
    grade(config, result, items, config.generator, out, tracker)
    if judge is not None:
        references = alpaca_eval.reference_sha256(questions.rows)
        return judge_items(result, items, references, judge, gamed, out, tracker)
    return finish(result, items, out, tracker)


def _not_answered(items: list[Item], num_asked: int, num_samples: int) -> list[str]:
    missing = num_asked - len(items)
    notes = [f"{missing} of {num_asked} items have no answer and are left out"] if missing else []
    fewer = sum(len(item.outputs) < num_samples for item in items if isinstance(item.outputs[0], str))
    if num_samples > 1 and fewer:
        notes.append(f"{fewer} items have fewer than {num_samples} answers")
    return notes


def _read_choices(items: list[Item]) -> None:
    if isinstance(items[0].outputs[0], list):  # first tokens, by the rule of the released script
        for item in items:
            item.answer = instructdiff_letter([(text, value) for text, value in item.outputs])
            item.score = float(item.answer == item.target)
    else:
        read_choices(items)
