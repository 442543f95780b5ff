"""Whether an entry of a profile that names a task of lm-eval can be run and scored, before anything is trained.

The task is loaded with its data, and its first items are asked of a model that answers rightly and of one that answers
nothing, so that prompts, scoring and metrics are tried out as they are in a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from transformers import PreTrainedTokenizerBase

from selectit.errors import UserError, did_you_mean
from selectit.evaluate.benchmarks.named_task import LoadedTask, load_task, set_up
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.benchmarks.task_files import find_task
from selectit.evaluate.grading import followed_instructions
from selectit.evaluate.model.conversation import rendered
from selectit.evaluate.model.harness import quiet

NUM_TRIED = 2
"""Items of each task that are tried out."""
_READ = ("until", "do_sample", "temperature", "top_p", "max_gen_toks", "max_new_tokens")
Chat = Callable[..., str]
"""chat(messages, add_generation_prompt=True) -> prompt"""


@dataclass(kw_only=True)
class RememberingLM(LM):
    """Needs no weights, and remembers the requests."""

    chat: Chat | None = None
    """For chat format, what renders it."""
    requests: dict[str, list[Instance]] = field(default_factory=dict)
    """By prompt."""
    tokenizer_name = ""

    def __post_init__(self) -> None:
        super().__init__()

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        assert self.chat is not None, "chat format is asked with a template"
        return self.chat(chat_history, add_generation_prompt=add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str:
        return ""

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        raise NotImplementedError("refused before, and no benchmark that ships asks for it")

    def _remember(self, requests: list[Instance]) -> None:
        for request in requests:
            self.requests.setdefault(request.args[0], []).append(request)


@dataclass(kw_only=True)
class KnownAnswersLM(RememberingLM):
    """Answers every request of lm-eval's tasks rightly, or not at all."""

    tasks: Mapping[str, Task]
    answers: bool = True
    """False: every text is empty, and of an item's choices the first, of every other item the last is taken."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        self._remember(requests)
        found = []
        for request in requests:
            is_right = self.answers and request.idx in _right_choices(self.tasks[request.task_name], request.doc)
            place = request.idx if (request.doc_id or 0) % 2 == 0 else -request.idx
            found.append((0.0 if is_right else -100.0 - place, is_right))
        return found

    def generate_until(self, requests: list[Instance]) -> list[str]:
        self._remember(requests)
        return [_right_text(self.tasks[one.task_name], one.doc) if self.answers else "" for one in requests]


def _right_choices(task: Task, doc: Any) -> list[int]:
    if task.OUTPUT_TYPE != "multiple_choice":
        return [0]
    gold = task.doc_to_text(doc) if getattr(task, "multiple_input", 0) else task.doc_to_target(doc)
    choices = [str(choice) for choice in task.doc_to_choice(doc)]
    golds = gold if isinstance(gold, list) else [gold]
    return [one if isinstance(one, int) else choices.index(one) if one in choices else -1 for one in golds]


def _right_text(task: Task, doc: Any) -> str:
    target = task.doc_to_target(doc)
    if isinstance(target, int) and getattr(task.config, "doc_to_choice", None) is not None:
        target = task.doc_to_choice(doc)[target]
    return str(target[0] if isinstance(target, list) and target else target)


def chat_with(tokenizer: PreTrainedTokenizerBase, template: str) -> Chat:
    """Args: tokenizer: takes the template; template: Jinja text."""
    tokenizer.chat_template = template

    def chat(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return rendered(tokenizer, messages, add_generation_prompt)

    return chat


def check_task(benchmark: NamedTaskConfig, chat: Chat | None = None) -> str:
    """Args:    chat: for chat format, what renders it.
    Returns: how many items it has, and the commits of its data sets.
    Raises:  UserError with all that is wrong, each with the key of the entry.
    """
    if any("ifeval" in path.parts for path in find_task(benchmark.task, benchmark.include_path).defining):
        followed_instructions.check_installed(None)  # lm-eval would fetch what is missing, or fail on the first answer
    loaded = load_task(benchmark)
    faults = [fault for task in loaded.tasks.values() for fault in _settings_faults(task, benchmark)]
    faults += _without_effect(loaded, benchmark)
    if not faults:
        for task in loaded.tasks.values():
            set_up(task, benchmark)
        faults = _tried(loaded, benchmark, chat)
    if faults:
        where = f"benchmarks.{benchmark.name}"
        raise UserError("\n".join(f"{where}{fault}" for fault in dict.fromkeys(faults)))
    num_items = sum(len(task.eval_docs) for task in loaded.tasks.values())
    data = "".join(f"; {name} at {commit}" for name, commit in benchmark.commits)
    return f"{benchmark.name}: {benchmark.task} of lm-eval, {num_items:,} items{data}"


def _settings_faults(task: Task, benchmark: NamedTaskConfig) -> list[str]:
    name = task.task_name
    if task.OUTPUT_TYPE == "loglikelihood_rolling":
        return [
            f".task: {name} measures the perplexity of whole texts (loglikelihood_rolling), which is not a share of "
            "right answers and is not supported; leave it out"
        ]
    if getattr(task, "UNSAFE_CODE", False):
        return [
            f".task: {name} runs code that a model wrote, outside of a sandbox; use this project's humaneval, mbpp, "
            "humaneval_plus or mbpp_plus"
        ]
    if getattr(task, "MULTIMODAL", False):
        return [f".task: {name} asks about images or sound, which the models here do not read"]
    return [*_shots_faults(task, benchmark), *_generation_faults(task, benchmark)]


def _shots_faults(task: Task, benchmark: NamedTaskConfig) -> list[str]:
    wanted = benchmark.num_fewshot
    if wanted is None or wanted == 0:
        return []
    if task.get_config("num_fewshot") == 0:
        return [
            f".num_fewshot: {wanted}, and {task.task_name} is asked without shots (its num_fewshot is 0); leave it out"
        ]
    if (sampler := getattr(task, "sampler", None)) is None:
        return []
    is_own_split = task.fewshot_cfg.split == task.config.test_split  # then an item is never its own demonstration
    available = max(0, len(sampler.df) - is_own_split)
    if wanted > available:
        return [f".num_fewshot: {wanted}, and {task.task_name} has {available} demonstrations"]
    return []


def _generation_faults(task: Task, benchmark: NamedTaskConfig) -> list[str]:
    own = task.get_config("generation_kwargs") or {}
    faults = [
        f".task: {task.task_name} sets {key} of its generation_kwargs, which is not supported; supported are "
        f"{', '.join(_READ)}"
        for key, value in own.items()
        if key not in _READ and (key, value) != ("num_beams", 1)
    ]
    temperature = float(own.get("temperature") or 0)
    if own.get("do_sample", temperature > 0) and temperature > 0 and benchmark.temperature == 0:
        faults.append(f".temperature: {task.task_name} draws its answers; write temperature: {temperature:g}")
    if benchmark.temperature > 0 and benchmark.top_p == 1 and (top_p := float(own.get("top_p") or 1)) < 1:
        faults.append(f".top_p: {task.task_name} draws its answers with top_p {top_p:g}; write it")
    return faults


def _without_effect(loaded: LoadedTask, benchmark: NamedTaskConfig) -> list[str]:
    if any(task.get_config("generation_kwargs") is not None for task in loaded.tasks.values()):
        return []
    given = {
        "max_gen_toks": benchmark.max_gen_toks is not None,
        "until": benchmark.until is not None,
        "temperature": benchmark.temperature > 0,
    }
    return [f".{key}: {benchmark.task} generates no text; leave it out" for key, is_given in given.items() if is_given]


def _tried(loaded: LoadedTask, benchmark: NamedTaskConfig, chat: Chat | None) -> list[str]:
    """What is wrong with its prompts, its scoring and the metric."""
    best: dict[str, Any] = {}
    for answers in (False, True):
        try:
            with quiet():
                best = evaluate(
                    KnownAnswersLM(tasks=loaded.tasks, chat=chat, answers=answers),
                    {"tasks": loaded.tasks, "groups": loaded.groups},
                    limit=NUM_TRIED, bootstrap_iters=0, apply_chat_template=benchmark.chat_template,
                    fewshot_as_multiturn=True,
                )  # type: ignore[assignment]  # fmt: skip
        except Exception as error:  # a task's own Python code may raise anything
            what = "right answers" if answers else "empty answers"
            return [
                f".task: {benchmark.task} cannot be asked and scored here: on {what} to its first items lm-eval raised "
                f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            ]
    return _metric_faults(loaded, benchmark, best["results"])


def _metric_faults(loaded: LoadedTask, benchmark: NamedTaskConfig, results: Mapping[str, Any]) -> list[str]:
    metric, task = benchmark.metric, benchmark.task
    known = _metric_names(results[task])
    if metric not in known and task in loaded.groups:
        of_tasks = dict.fromkeys(name for one in loaded.tasks for name in _metric_names(results[one]))
        has = f"its numbers are {', '.join(known)}" if known else "it has no number of its own (aggregate_metric_list)"
        return [
            f".metric: '{metric}' is not a number of the group {task}; {has}. Its tasks have {', '.join(of_tasks)}: "
            "name one of them, or write a group of your own (include_path)"
        ]
    if metric not in known:
        return [
            f".metric: '{metric}' is not one of {', '.join(known)}, the numbers of {task}.{did_you_mean(metric, known)}"
        ]
    if without := [one for one in loaded.tasks if metric not in results[one]]:
        return [f".metric: {metric} is not a number of {', '.join(without)}, which {task} has as members"]
    base = metric.rpartition(",")[0]
    for one in loaded.tasks.values():
        if one.higher_is_better().get(base) is not True:
            return [
                f".metric: of {metric} lm-eval does not state that higher is better; the tables are of shares where "
                f"it is. The numbers of {task} are {', '.join(known)}"
            ]
    if (value := results[task][metric]) > benchmark.scale * (1 + 1e-9):
        return [
            f".scale: right answers get {value:g} of {metric}, more than scale, {benchmark.scale:g}; write the value "
            "of a perfect result, such as scale: 100"
        ]
    return []


def _metric_names(numbers: Mapping[str, Any]) -> list[str]:
    pairs = (name.rpartition(",") for name in numbers)
    return [f"{metric},{one}" for metric, comma, one in pairs if comma and not metric.endswith("_stderr")]
