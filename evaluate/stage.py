"""The evaluate stage: one benchmark on one model.

Reads a model, an adapter or checkpoint from a finetune artifact, and benchmark data. Writes result.json and
items.jsonl, and for graders of others model_outputs.json or samples.jsonl; what a judge has still to read is kept.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from selectit.errors import NotRun, UserError
from selectit.evaluate.benchmarks.files import needs_tokenizer
from selectit.evaluate.benchmarks.named_task import (
    data_set,
    leave_room,
    read_task_items,
    score_task,
    untracked_notes,
    write_task,
)
from selectit.evaluate.benchmarks.questions import HUB, LM_EVAL_VERSION, ask, check_data, load_questions
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.benchmarks.task_check import chat_with, check_task
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.grading import alpaca_eval, arena_hard, length_control
from selectit.evaluate.grading.arena_hard import GamesJudge
from selectit.evaluate.grading.grade import check_can_run, check_means, grade
from selectit.evaluate.grading.kinds import Judged
from selectit.evaluate.grading.length_control import GamedAnswers
from selectit.evaluate.judge.base import Judge
from selectit.evaluate.judge.load import check_judge, load_judge
from selectit.evaluate.model.conversation import check_turns
from selectit.evaluate.model.lm import EvaluatedLM
from selectit.evaluate.model.load import forget_lm, load_lm
from selectit.evaluate.model.trained_template import check_template, is_trained_here
from selectit.evaluate.model.weights import find_weights
from selectit.evaluate.results import BenchmarkResult, Item, read_items, sample_rows
from selectit.evaluate.stage_config import EvaluateStage, GradeStage
from selectit.inference.load import load_skeleton, load_tokenizer, refuse_ids_beyond_embedding
from selectit.inference.vllm_client import check_vllm
from selectit.store.fingerprint import pinned
from selectit.store.names import EPOCHS_FOLDER, ITEMS_FILE
from selectit.store.trained_on import check_base
from selectit.templates import chat_template, template_name
from selectit.tracking import Tracker

release = forget_lm
LOWERED = "max_gen_toks lowered"
"""How the note begins of a model whose context has no room for the new tokens that the profile asks for."""


def preflight(config: EvaluateStage) -> None:
    """Raises: UserError for a data file that is not there, a model without the chat template that is asked for
    or trained in another one or with a tokenizer that is not its own, an adapter of another base, or a judge that
    cannot judge.
    """
    check_benchmark(config)
    tokenizer = load_tokenizer(config.model)
    refuse_ids_beyond_embedding(tokenizer, load_skeleton(config.model))
    if config.template is not None:
        text = chat_template(config.template, tokenizer)
        if config.adapter is not None:
            check_template(config.adapter, config.template, text)
        elif is_trained_here(config.model.path):
            check_template(config.model.path, config.template, text)
        is_ours = not isinstance(config.benchmark, NamedTaskConfig)
        if is_ours and benchmarks()[config.benchmark.name].lm_eval is not None:
            tokenizer.chat_template = text  # of lm-eval's tasks some have examples, others a text in front
            check_turns(tokenizer, template_name(config.template))
    if config.adapter is not None:
        check_base(config.adapter, config.model)
    if config.backend == "vllm":
        check_vllm(config.model, config.vllm_python, "evaluate")
    if config.judge is not None:
        length_control.find_gamed(config)
        check_judge(config.judge)


def check_benchmark(config: EvaluateStage) -> str | None:
    """Its files in a data folder and what its answers are graded with; a named task of lm-eval is loaded and tried.

    Returns: of a named task what was found, in a line.
    Raises:  UserError with all that is wrong.
    """
    if isinstance(config.benchmark, NamedTaskConfig):
        return _check_named_task(config)
    if config.data != HUB:
        check_data(config.benchmark, Path(config.data))
    check_means(config)
    return None


def _check_named_task(config: EvaluateStage) -> str:
    benchmark = pinned(config.benchmark)
    assert isinstance(benchmark, NamedTaskConfig)
    chat = None
    if config.template is not None and benchmark.chat_template:
        tokenizer = load_tokenizer(config.model)
        chat = chat_with(tokenizer, chat_template(config.template, tokenizer))
    return check_task(benchmark, chat)


def run(config: EvaluateStage, inputs: Mapping[str, Path], out: Path, tracker: Tracker) -> dict[str, float]:
    """Args:    inputs: {} for the model as it is, or {"model": a finetune artifact}.
    Returns: value and stderr of the table's metric where it was scored, num_items; seconds that the model was
             asked, and tokens of prompts and answers per second, each counted whole.
    Raises:  NotRun before anything is spent, where programs or COMET cannot be run here.
    """
    out.mkdir(parents=True, exist_ok=True)
    benchmark = config.benchmark
    result = BenchmarkResult(benchmark.name, config.profile, benchmark.metric, lm_eval_version=LM_EVAL_VERSION)
    result.protocol_notes = list(benchmark.notes)
    if isinstance(benchmark, NamedTaskConfig):
        result.protocol_notes += untracked_notes(benchmark)
        result.data = data_set(benchmark)
    elif config.data == HUB:
        result.data = {"hub": benchmarks()[benchmark.name].hub, "revision": benchmark.revision}
    if benchmark.chat_template and config.template is None:
        raise UserError(f"{benchmark.name} asks for chat format, and no template is set (finetune.template)")
    if config.adapter is not None and "model" in inputs:
        raise UserError(f"the adapter {config.adapter} and a fine-tuned model were both given; evaluate one of them")
    # whatever can stop the scoring is found out before anything is generated
    check_can_run(config)
    judge = load_judge_of(config)
    gamed = length_control.find_gamed(config)
    if judge is not None and (kept := alpaca_eval.kept_answers(out)) is not None:
        return judge_items(*kept, judge, gamed, out, tracker)

    weights = find_weights(trained_folder(inputs, config.epoch), config.adapter)
    if benchmark.chat_template and config.template is not None and (tuned := weights.adapter or weights.checkpoint):
        check_template(tuned, config.template, chat_template(config.template, load_tokenizer(config.model)))
    lm = load_lm(config.model, weights, config.backend, config.vllm_python)
    lm.use(config, config.template if benchmark.chat_template else None, out)
    config, notes = _leave_room(config, lm.max_length)
    questions = load_questions(config, lm.tokenizer if needs_tokenizer(benchmark) else None)
    if isinstance(benchmark, NamedTaskConfig):
        notes += leave_room(questions.tasks, lm.max_length)
    questions.notes.extend(notes)
    started = time.monotonic()
    with tracker.progress(benchmark.name, questions.num_requests) as advance:
        answers = ask(lm, questions, config, advance)
    seconds = time.monotonic() - started
    speed = {"seconds": seconds, "tokens_per_second": lm.num_tokens / seconds}
    tracker.log(speed)

    items = questions.in_order(
        read_task_items(answers, questions.tasks, benchmark)
        if isinstance(benchmark, NamedTaskConfig)
        else read_items(answers)
    )
    _mark_endings(lm, items)
    result.model = lm.describe()
    result.notes = questions.notes + truncation_note(items)
    result.complete = not questions.notes
    if isinstance(benchmark, NamedTaskConfig):
        score_task(result, items, answers, benchmark)
        write_task(questions.tasks, benchmark, out)
    else:
        grade(config, result, items, _generator(config, inputs), out, tracker)
    if judge is not None:
        references = alpaca_eval.reference_sha256(questions.rows)
        alpaca_eval.keep_answers(result, items, references, out)
        lm.finish()
        if config.backend == "vllm" and isinstance(config.judge, str):
            forget_lm()  # vLLM takes nearly all of a GPU's memory, and this judge needs some
        return judge_items(result, items, references, judge, gamed, out, tracker) | speed
    metrics = finish(result, items, out, tracker)
    lm.finish()
    return metrics | speed


def trained_folder(inputs: Mapping[str, Path], epoch: int | None) -> Path | None:
    """The folder with the weights of the training, at its end or after an epoch; None: the model as it is.

    Raises: NotRun where early stopping came before that epoch.
    """
    if epoch is None:
        return inputs.get("model")
    folder = inputs["model"] / EPOCHS_FOLDER / str(epoch)
    if not folder.is_dir():
        raise NotRun(f"training stopped early, before the end of epoch {epoch}")
    return folder


def load_judge_of(config: EvaluateStage | GradeStage) -> Judge | None:
    if config.judge is None or isinstance(config.benchmark, NamedTaskConfig):
        return None
    grading = benchmarks()[config.benchmark.name].grading
    if not isinstance(grading, Judged) or (grading.games and isinstance(config.judge, str)):
        return None
    return load_judge(config.judge, games=grading.games)


def judge_items(
    result: BenchmarkResult,
    items: list[Item],
    references: str,
    judge: Judge,
    gamed: GamedAnswers | None,
    out: Path,
    tracker: Tracker,
) -> dict[str, float]:
    """Args: references: sha256 of the reference answers; gamed: of the length-controlled win rate."""
    num_games = len(items) * (2 if isinstance(judge, GamesJudge) else 1)
    with tracker.progress(f"{result.benchmark}: judging", num_games) as advance:
        if isinstance(judge, GamesJudge):
            found = arena_hard.win_rate(items, judge, advance)
        else:
            found = alpaca_eval.win_rate(items, judge, advance)
        if found and length_control.is_length_controlled(result.benchmark):
            controlled, why_not = length_control.length_controlled(items, gamed)
            found |= controlled
            result.not_computed = {length_control.METRIC: why_not} if why_not else {}
        if found:
            result.score(found | alpaca_eval.output_length(items))
    result.reason = ""
    if (left_out := judge.left_out()) is not None:
        result.complete = False
        if found:
            result.notes.append(left_out.note())
        else:
            result.reason = left_out.reason()
    result.judge = {**judge.describe(), "reference_sha256": references}
    if gamed is not None and length_control.METRIC in found:
        result.judge["df_gamed_sha256"] = gamed.sha256
    result.judge_usage = judge.usage()
    result.notes.extend(judge.notes())
    if (usage := result.judge_usage) is not None:
        cost = "" if usage["usd"] is None else f", {usage['usd']:.2f} USD"
        tracker.note(
            f"{result.benchmark}: {usage['num_asked']} questions to the judge, {usage['num_cached']} answers from the "
            f"cache; {usage['input_tokens']:,} tokens read, {usage['output_tokens']:,} written{cost}"
        )
        tracker.log({f"judge/{name}": value for name, value in usage.items() if value is not None})
    metrics = finish(result, items, out, tracker)
    alpaca_eval.forget_answers(out)
    return metrics


def _leave_room(config: EvaluateStage, context_tokens: int) -> tuple[EvaluateStage, list[str]]:
    """At most half of the context for new tokens, so that a prompt fits; a note where that lowers the profile's."""
    wanted, most = config.benchmark.max_gen_toks, context_tokens // 2
    if wanted is None or wanted <= most or isinstance(config.benchmark, NamedTaskConfig):
        return config, []
    note = f"{LOWERED} from {wanted} to {most}: the model's context has {context_tokens} tokens"
    benchmark = config.benchmark.model_copy(update={"max_gen_toks": most})
    return config.model_copy(update={"benchmark": benchmark}), [note]


def _mark_endings(lm: EvaluatedLM, items: list[Item]) -> None:
    """lm-eval hands on texts alone, so what else is known of an answer is found again by its prompt and its text."""
    left = {prompt: list(found) for prompt, found in lm.endings.items()}
    for item in items:
        item.truncated = item.prompt in lm.truncated_prompts
        known = left.get(item.prompt, [])
        for output in item.outputs if known else ():
            found = next((one for one in known if one[0] == output), None)
            if found is not None:
                known.remove(found)  # of equal samples each has an ending of its own
            item.endings.append(found[1] if found else None)


def truncation_note(items: list[Item]) -> list[str]:
    cut = sum(bool(item.truncated) for item in items)
    return [f"{cut} of {len(items)} prompts were longer than the context and lost their beginning"] if cut else []


def _generator(config: EvaluateStage, inputs: Mapping[str, Path]) -> str:
    return Path(config.model.path).name + (" (fine-tuned)" if "model" in inputs or config.adapter else "")


def finish(result: BenchmarkResult, items: list[Item], out: Path, tracker: Tracker) -> dict[str, float]:
    result.write(out, items)
    metrics = result.flat()
    tracker.log(result.named())
    tracker.table("samples", *sample_rows(items), file=ITEMS_FILE)
    if result.reason:
        tracker.note(f"{result.benchmark}: {result.reason}")
    for note in (*result.notes, *(f"no {metric}: {why}" for metric, why in result.not_computed.items())):
        tracker.note(f"{result.benchmark}: {note}")
    return metrics
