"""`selectit evaluate --show`: what a benchmark asks, to the letter, without a model's weights.

lm-eval builds the prompts as in a real run and is answered with the right answers, which then go through its
extraction and scoring. Only chat format needs a tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_eval.api.instance import Instance

from selectit.config import BenchmarkConfig
from selectit.data.jsonl import write_jsonl
from selectit.data.whole_files import whole_file
from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Benchmark
from selectit.evaluate.benchmarks.files import chosen_tasks, needs_tokenizer
from selectit.evaluate.benchmarks.named_task import read_task_items
from selectit.evaluate.benchmarks.questions import ask, load_questions
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.benchmarks.task_check import Chat, KnownAnswersLM, RememberingLM, chat_with, check_task
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.benchmarks.task_files import find_task
from selectit.evaluate.grading import mathematics, true_choices
from selectit.evaluate.grading.graders import grade_items
from selectit.evaluate.grading.kinds import Exported, FinalAnswers, Judged, Programs, Texts, Translations, TrueChoices
from selectit.evaluate.results import CHOICES, Item, read_items
from selectit.evaluate.stage_config import EvaluateStage
from selectit.inference.load import load_tokenizer
from selectit.store.fingerprint import pinned
from selectit.templates import chat_template, template_name


@dataclass(frozen=True)
class Asked:
    """One item as it is asked."""

    item: Item
    continuations: tuple[str, ...]
    """Multiple choice: the texts whose log-probability is taken after the prompt."""
    until: tuple[str, ...]
    """Generation: stop strings."""
    max_gen_toks: int | None
    num_first_tokens: int | None = None
    """Where the answer is read out of the most probable first tokens: how many of them."""


@dataclass(kw_only=True)
class DeclaredAnswersLM(RememberingLM):
    """Answers every request rightly, in the words that the benchmark's examples use."""

    benchmark: Benchmark

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        self._remember(requests)
        right = [self.benchmark.right_answer(request.doc) for request in requests]
        return [(0.0 if one.idx == place else -100.0, True) for one, place in zip(requests, right, strict=True)]

    def first_tokens(self, requests: list[Instance]) -> list[list[tuple[str, float]]]:
        self._remember(requests)
        return [[(CHOICES[int(self.benchmark.right_answer(request.doc) or 0)], 0.0)] for request in requests]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        self._remember(requests)
        return [str(self.benchmark.right_answer(request.doc) or "") for request in requests]


def asked(config: EvaluateStage, num_items: int | None) -> list[Asked]:
    """The first items of its first task that has data; None: all of that task.

    Raises: UserError where chat format is asked for and there is no tokenizer to render it with.
    """
    benchmark = config.benchmark
    declared = _declared(benchmark)
    if declared is not None and declared.available_tasks is None:  # else a data folder may lack the first ones
        alone = sorted(chosen_tasks(benchmark))[:1]  # for which one generator of several tasks draws first
        benchmark = benchmark.model_copy(update={"tasks": tuple(alone) or None})
    found = _asked_of(config.model_copy(update={"benchmark": benchmark}), num_items)
    items = [one.item for one in found]
    grading = None if declared is None else declared.grading
    if isinstance(grading, FinalAnswers):
        mathematics.check_installed()
        mathematics.score(items, benchmark.metric, lambda number: None)
    elif isinstance(grading, TrueChoices):
        true_choices.score(items, benchmark.metric)
    elif isinstance(grading, Texts) and not any(_lacks_answer(declared, item) for item in items):
        grade_items(items, grading.graders[grading.grader_name(benchmark)], benchmark.metric)
    return [one for one in found if one.item.task == items[0].task]


def _asked_of(config: EvaluateStage, num_items: int | None) -> list[Asked]:
    """The first items of every task."""
    benchmark = config.benchmark
    if benchmark.chat_template and config.template is None:
        raise UserError(f"{benchmark.name} asks for chat format; name the template (--template)")
    tokenizer = load_tokenizer(config.model) if needs_tokenizer(benchmark) else None
    chat: Chat | None = None
    if tokenizer is not None and benchmark.chat_template:
        assert config.template is not None
        chat = chat_with(tokenizer, chat_template(config.template, tokenizer))
    if isinstance(benchmark, NamedTaskConfig):
        return _asked_of_named(config, pinned(benchmark), num_items, chat)
    questions = load_questions(config.model_copy(update={"limit": num_items}), tokenizer)
    lm = DeclaredAnswersLM(benchmark=benchmarks()[benchmark.name], chat=chat)
    items = questions.in_order(read_items(ask(lm, questions, config, lambda number: None)))
    return [_asked(item, lm.requests[item.prompt]) for item in items]


def _asked_of_named(
    config: EvaluateStage, benchmark: NamedTaskConfig, num_items: int | None, chat: Chat | None
) -> list[Asked]:
    check_task(benchmark, chat)
    config = config.model_copy(update={"benchmark": benchmark, "limit": num_items})
    questions = load_questions(config)
    lm = KnownAnswersLM(tasks=questions.tasks, chat=chat)
    answers = ask(lm, questions, config, lambda number: None)
    items = questions.in_order(read_task_items(answers, questions.tasks, benchmark))
    return [_asked(item, lm.requests[item.prompt]) for item in items]


def write_asked(configs: Sequence[EvaluateStage], num_items: int | None, path: Path) -> int:
    """One line per item of every task: {benchmark, task, doc_id, prompt, until, target}; the number of lines.

    Args: num_items: the first of each task; None: all.
    """
    lines = [
        {
            "benchmark": config.benchmark.name, "task": one.item.task, "doc_id": one.item.item_id,
            "prompt": one.item.prompt, "until": list(one.until), "target": one.item.target,
        }
        for config in configs
        for one in _asked_of(config, num_items)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, named=True) as part:
        write_jsonl(part, lines)
    return len(lines)


def _asked(item: Item, requests: list[Instance]) -> Asked:
    if requests[0].request_type == "loglikelihood":
        return Asked(item, tuple(dict.fromkeys(request.args[1] for request in requests)), (), None)
    if requests[0].request_type == "first_tokens":
        return Asked(item, (), (), None, requests[0].args[1])
    settings = requests[0].args[1]
    return Asked(item, (), tuple(settings["until"]), settings.get("max_gen_toks"))


def _declared(benchmark: BenchmarkConfig) -> Benchmark | None:
    return None if isinstance(benchmark, NamedTaskConfig) else benchmarks()[benchmark.name]


def _lacks_answer(declared: Benchmark | None, item: Item) -> bool:
    return declared is not None and declared.right_answer(item.doc) is None


def print_asked(config: EvaluateStage, num_items: int | None, write: Callable[[str], None]) -> None:
    """Args: write: takes one block of text."""
    benchmark = config.benchmark
    found = asked(config, num_items)
    write("\n".join([*_settings(config, found[0]), *(f"note: {note}" for note in benchmark.notes)]))
    for one in found:
        prompt = one.item.prompt
        write(f"---- {one.item.task}, item {one.item.item_id}: the prompt, {len(prompt)} characters")
        write(prompt)
        write("---- end of the prompt")
        write(_result_line(_declared(benchmark), benchmark.metric, one) + "\n")


def _settings(config: EvaluateStage, first: Asked) -> list[str]:
    benchmark = config.benchmark
    tasks = chosen_tasks(benchmark)
    if isinstance(benchmark, NamedTaskConfig):
        tasks = find_task(benchmark.task, benchmark.include_path).tasks
    form = (
        f"chat format, template {template_name(config.template or '')}"
        if benchmark.chat_template
        else "base-model prompt"
    )
    if benchmark.prompts is not None:
        form = f"prompts of {benchmark.prompts}"
    lines = [f"{benchmark.name} as {config.profile} asks it: {form}; metric {benchmark.metric}"]
    if len(tasks) > 1:
        lines.append(f"tasks: {len(tasks)}, of which this is the first: {', '.join(tasks)}")
    if benchmark.items_per_task is not None:
        of = "each task" if benchmark.draws == "each_task" else "each task by one generator, tasks sorted by name"
        lines.append(f"items: {benchmark.items_per_task} of {of}, drawn with seed {benchmark.sample_seed}")
    if first.continuations:
        shown = ", ".join(map(repr, first.continuations))
        lines.append(f"answered by the most probable of these as next text: {shown}")
        return lines
    if first.num_first_tokens is not None:
        lines.append(f"answered by the most probable letter, A to D, among the {first.num_first_tokens} first tokens")
        return lines
    stops = ", ".join(map(repr, first.until)) or "none"
    draw = f"temperature {benchmark.temperature:g}, top_p {benchmark.top_p:g}" if benchmark.temperature else "greedy"
    many = f"; {benchmark.num_samples} completions of each" if benchmark.num_samples > 1 else ""
    limit = (
        "lm-eval's limit of new tokens" if first.max_gen_toks is None else f"{first.max_gen_toks} new tokens at most"
    )
    lines.append(f"stop strings: {stops}, and the end token; {limit}; {draw}{many}")
    return lines


def _result_line(declared: Benchmark | None, metric: str, one: Asked) -> str:
    given = one.item.outputs[0]
    if _lacks_answer(declared, one.item):
        return f"no right answer is published; an answer is checked for {one.item.target}"
    if one.item.score is None:
        return f"right answer: {given!r}; {metric} is computed of all items together"
    if one.continuations or one.num_first_tokens is not None:
        return f"right answer: {one.item.target}; read as {one.item.answer}; {metric} {one.item.score:g}"
    grading = None if declared is None else declared.grading
    if isinstance(grading, Programs | Exported):
        return f"right answer:\n{given}\nread as a whole; its task's tests are run on it (not here)"
    if isinstance(grading, Translations):
        return f"reference translation: {given!r}\nthe first line with anything in it is compared with it"
    if isinstance(grading, Judged):
        return f"reference answer: {given!r}\nnothing is read out of an answer; a judge compares it with the reference"
    if isinstance(grading, FinalAnswers):
        return f"right answer: {given!r}; compared by math-verify with {one.item.target!r}; {metric} {one.item.score:g}"
    return f"right answer: {given!r}; read as {one.item.answer!r}; {metric} {one.item.score:g}"
