"""The work of one stage: operations, memory, disk and judge calls, with the assumptions they rest on.

Reads configurations, pools and model files through `passes`, `tokens` and `flops`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from selectit.config import (
    BenchmarkConfig,
    FinetuneConfig,
    FinetuneStage,
    JudgeConfig,
    LossStage,
    ModelConfig,
    ScoreStage,
    SelectStage,
    ValidationSplit,
)
from selectit.cost.flops import BatchCount, Matrices
from selectit.cost.items import items_of_tasks
from selectit.cost.kept import NOTHING, Kept
from selectit.cost.passes import loss_passes, rating_passes, shares_prefixes
from selectit.cost.tokens import CHARS_PER_TOKEN, pool_rows, tokens_per_row
from selectit.errors import UserError
from selectit.evaluate.benchmarks.benchmark import Size
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.stage_config import EvaluateStage
from selectit.inference.shape import Shape, bytes_per_parameter, config_of, shape_of
from selectit.inference.training_memory import adapter_parameters, optimizer_bytes, training_memory
from selectit.plan.graph import Stage
from selectit.scoring.batch_tokens import tokens_of_a_batch
from selectit.selection.strategy import strategy_of

NUM_KEPT_CHECKPOINTS = 2
LEDGER_BYTES_PER_RECORD = 64
ASSUMED_BATCH_SIZE = 8
"""Rows of an evaluation's forward pass where the recipe leaves it to the memory."""

JUDGE_PROMPT_TOKENS = 200
JUDGE_ANSWER_TOKENS = {"logprobs": 1, "text": 100}
"""Of one comparison at most, by `evaluate.judge.verdict`."""


@dataclass(frozen=True)
class Work:
    """What a stage costs. None: not known, and `unknown` is the reason."""

    prompt_flops: float | None = 0.0
    """Of tokens that are read many at a time, training included."""
    decode_flops: float | None = 0.0
    """Of tokens that are written one after the other."""
    memory_bytes: float | None = None
    disk_bytes: float | None = 0.0
    judge_calls: int = 0
    judge_usd: float | None = None
    """By the prices that the judge's settings state; None without them."""
    unknown: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    num_items: float = 0
    """Of an evaluation, those that are left."""
    num_tokens: float = 0.0
    """As the stage's own tokens_per_second counts them; 0 for selections and evaluations."""

    @property
    def flops(self) -> float | None:
        return None if self.prompt_flops is None or self.decode_flops is None else self.prompt_flops + self.decode_flops


def work_of(stage: Stage, on_gpu: bool, kept: Kept = NOTHING) -> Work:
    """Args: kept: what is there of it already, which costs nothing."""
    config = stage.config
    try:
        if isinstance(config, ScoreStage):
            return _score(config, on_gpu, kept)
        if isinstance(config, LossStage):
            return _losses(config, on_gpu, kept)
        if isinstance(config, SelectStage):
            return _select(stage)
        if isinstance(config, FinetuneStage):
            return _finetune(config, stage.inputs[0][1], on_gpu, kept)
        assert isinstance(config, EvaluateStage)
        return _evaluate(config, on_gpu, kept)
    except UserError as error:
        nothing = None if not isinstance(config, SelectStage) else 0.0
        return Work(nothing, nothing, None, None, unknown=(str(error).splitlines()[0],))


def _score(config: ScoreStage, on_gpu: bool, kept: Kept) -> Work:
    count, how = rating_passes(config, on_gpu, kept)
    chat = ", the chat format's own tokens left out" if config.template == "chat" else ""
    return _passes(config, on_gpu, count, f"rating tokens: {how}{chat}")


def _losses(config: LossStage, on_gpu: bool, kept: Kept) -> Work:
    count, how = loss_passes(config, on_gpu, kept)
    return _passes(config, on_gpu, count, f"tokens of losses: {how}")


def _passes(config: ScoreStage | LossStage, on_gpu: bool, count: BatchCount, assumed: str) -> Work:
    shape, width = shape_of(config.model), bytes_per_parameter(config.model, on_gpu)
    batch = tokens_of_a_batch(config, "cuda" if on_gpu else "cpu")
    # keys and values of the shared prefix, and a few activations of the widest layer
    activations = batch * width * (2 * shape.kv_size + 6 * max(out for out, _ in shape.linears.values()))
    num_rows = len(pool_rows(config.pool))
    num_records = num_rows * (len(config.prompts) if isinstance(config, ScoreStage) else 1)
    num_vectors = num_rows * (len(config.poolings) if isinstance(config, LossStage) else 0)
    return Work(
        prompt_flops=count.flops,
        memory_bytes=shape.num_parameters * width + activations,
        disk_bytes=num_records * LEDGER_BYTES_PER_RECORD + num_vectors * 4 * shape.hidden_size,
        num_tokens=count.num_tokens,
        assumed=(assumed,),
    )


def num_selected(stage: Stage) -> int:
    config = stage.config
    assert isinstance(config, SelectStage)
    of_other = [num_selected(other) for _, other in stage.inputs if isinstance(other.config, SelectStage)]
    return strategy_of(config).expected_rows(len(pool_rows(config.pool)), max(of_other, default=0))


def _select(stage: Stage) -> Work:
    config = stage.config
    assert isinstance(config, SelectStage)
    rows = pool_rows(config.pool)
    per_row = sum(len(row.instruction) + len(row.response) for row in rows) / len(rows)
    return Work(disk_bytes=num_selected(stage) * 2 * per_row + len(rows) * 200, memory_bytes=0)


def _finetune(config: FinetuneStage, subset: Stage, on_gpu: bool, kept: Kept) -> Work:
    finetune, shape = config.finetune, shape_of(config.model)
    assert isinstance(subset.config, SelectStage)
    pool, template = subset.config.pool, finetune.template
    longest = None
    if strategy_of(subset.config).takes_longest:
        longest = num_selected(subset) / len(pool_rows(pool))
    row = tokens_per_row(pool, config.model, template, finetune.max_length, longest)
    num_rows, num_validated = _trained_rows(finetune, num_selected(subset))
    rows_per_step = min(finetune.global_batch_size, num_rows)
    seen = finetune.max_steps * rows_per_step if finetune.max_steps else finetune.num_train_epochs * num_rows
    if finetune.budget_tokens is not None:
        rows = pool_rows(pool)
        answers = sum(len(row.response) for row in rows)
        share = answers / (answers + sum(len(row.instruction) for row in rows))
        seen = finetune.budget_tokens / (row.mean * share)
    adapter = adapter_parameters(shape, finetune)
    width = bytes_per_parameter(config.model, on_gpu)
    longest_row = row.mean if finetune.packing else finetune.max_length
    memory = training_memory(shape, finetune, width, finetune.micro_batch_size * longest_row, on_gpu)
    saved, checkpoints = training_disk(config, width)
    matrices = Matrices.of_shape(shape)
    training = matrices.training_flops(row.mean, row.mean_square, adapter, finetune.gradient_checkpointing)
    validated = num_validated * ceil(seen / num_rows)  # after every epoch
    validation = matrices.forward_flops(row.mean, row.mean_square, row.mean)
    left = 1 - kept.trained_share
    return Work(
        prompt_flops=left * (seen * training + validated * validation),
        num_tokens=left * row.mean * (seen + validated * validation / training),
        memory_bytes=memory.expected + memory.offloaded,
        disk_bytes=saved + checkpoints,
        assumed=(
            f"training tokens: {row.how}" + ("" if longest is None else ", the longest responses")
            + "; selected rows taken as long as the pool's mean unless they are chosen by length; no padding",
            *(("training tokens: as many of a row count in the loss as the response has of its characters",)
              if finetune.budget_tokens is not None else ()),
            "disk of a training: its weights and two checkpoints, which go when it is done",
            *(("begun trainings: without the steps before their newest checkpoint",) if left < 1 else ()),
            *(("replayed and validated rows taken as long as the pool's mean",)
              if finetune.replay or finetune.validation else ()),
        ),
    )  # fmt: skip


def _trained_rows(finetune: FinetuneConfig, num_selected: int) -> tuple[int, int]:
    """Rows of an epoch with what is replayed and without what is held out, and rows of the validation.

    Raises: UserError where the file of the validation cannot be read.
    """
    validation, held_out, validated = finetune.validation, 0, 0
    if isinstance(validation, ValidationSplit):
        wanted = validation.num_rows or max(1, round((validation.share or 0) * num_selected))
        held_out = validated = min(wanted, num_selected - 1)
    elif validation is not None:
        validated = len(pool_rows(validation))
    own = num_selected - held_out
    replayed = 0 if finetune.replay is None else round(own * finetune.replay.share / (1 - finetune.replay.share))
    return own + replayed, validated


def training_disk(config: FinetuneStage, width: int) -> tuple[int, int]:
    """Bytes of the weights that stay, those of epochs too, and of the checkpoints that are there while it runs.

    Args: width: bytes of a saved weight of full training; adapters are saved in float32.
    Raises: UserError, see `shape_of`.
    """
    shape, finetune = shape_of(config.model), config.finetune
    trained, saved = shape.num_parameters, width
    if finetune.trains_adapter:
        trained, saved = adapter_parameters(shape, finetune), 4
    per_weight = 4 + optimizer_bytes(finetune)  # of a checkpoint: weights and the optimizer's states
    best = 1 if finetune.early_stopping is not None else 0
    copies = 1 + len(config.epochs) if config.keep_epochs else 1
    return copies * trained * saved, round((NUM_KEPT_CHECKPOINTS * per_weight + best * saved) * trained)


def num_items(benchmark: BenchmarkConfig, limit: int | None, data: str = "hub") -> int:
    """Counted in the files of a folder here, else of the published test set.

    Raises: UserError, see `_size`.
    """
    if (counted := items_of_tasks(benchmark, data)) is not None:
        return sum(min(count, benchmark.items_per_task or count, limit or count) for count in counted)
    size = _size(benchmark)
    per_task = min(size.num_items / size.num_tasks, benchmark.items_per_task or inf, limit or inf)
    return ceil(per_task * (len(benchmark.tasks) if benchmark.tasks else size.num_tasks))


def _size(benchmark: BenchmarkConfig) -> Size:
    """Raises: UserError where it is not known."""
    if isinstance(benchmark, NamedTaskConfig):
        raise UserError(
            f"{benchmark.name}: how many items {benchmark.task} of lm-eval has, and how long they are, is known once "
            f"they are loaded (selectit evaluate --show {benchmark.name} --items all --out FILE writes them)"
        )
    declared = benchmarks()[benchmark.name]
    size = declared.sizes.get(str(benchmark.prompts), declared.size)
    if isinstance(size, str):
        raise UserError(f"how many items {benchmark.name} has, and how long they are, is not known: {size}")
    return size


def _evaluate(config: EvaluateStage, on_gpu: bool, kept: Kept) -> Work:
    benchmark, shape, size = config.benchmark, shape_of(config.model), _size(config.benchmark)
    items = num_items(benchmark, config.limit, config.data)
    prompt_tokens, generated = size.prompt_tokens, benchmark.max_gen_toks or 0
    answers = items * benchmark.num_samples
    left = max(answers - kept.num_answers, 0)
    num_tasks = len(benchmark.tasks) if benchmark.tasks else size.num_tasks
    shared = size.shared_tokens if shares_prefixes(config_of(config.model)) else 0
    width = bytes_per_parameter(config.model, on_gpu)
    cache = (
        (config.batch_size or ASSUMED_BATCH_SIZE)
        * (prompt_tokens + generated)
        * 2
        * shape.kv_size
        * shape.num_layers
        * width
    )
    calls = 0 if config.judge is None else items if isinstance(config.judge, JudgeConfig) else 2 * items  # both orders
    judge, unknown = _judge(config, calls, prompt_tokens + 2 * generated)
    return Work(
        prompt_flops=None if judge is None else judge + _prompts_flops(shape, left, num_tasks, prompt_tokens, shared),
        decode_flops=left * _decode_flops(shape, prompt_tokens, generated),
        memory_bytes=shape.num_parameters * width + cache,
        disk_bytes=answers * (prompt_tokens + generated) * CHARS_PER_TOKEN,
        judge_calls=calls,
        judge_usd=_usd(config, calls, prompt_tokens + 2 * generated),
        unknown=unknown,
        num_items=items * left / answers,
        assumed=(
            "evaluation: items as the files here hold them, else those of the published test sets; mean prompt lengths "
            "measured with LLaMA-2's tokenizer (docs/performance.md), worked examples that all prompts of a task share "
            "once, max_gen_toks for every answer: an upper bound",
            *(("begun evaluations: without the answers that they have written down",) if left < answers else ()),
            *(
                ("judge: both answers as long as max_gen_toks, at the prices in evaluate.judge: an upper bound",)
                if isinstance(config.judge, JudgeConfig)
                else ()
            ),
        ),
    )


def _usd(config: EvaluateStage, calls: int, asked: int) -> float | None:
    """Args: asked: tokens of an instruction and its two answers."""
    judge = config.judge
    if not isinstance(judge, JudgeConfig):
        return None
    read, written = judge.usd_per_million_input_tokens, judge.usd_per_million_output_tokens
    if read is None or written is None:
        return None
    return calls * ((JUDGE_PROMPT_TOKENS + asked) * read + JUDGE_ANSWER_TOKENS[judge.verdict] * written) / 1e6


def _judge(config: EvaluateStage, calls: int, asked: int) -> tuple[float | None, tuple[str, ...]]:
    """Operations of a judge that runs here; one behind an address costs calls only.

    Args: asked: tokens of an instruction and its two answers.
    """
    if config.judge is None or isinstance(config.judge, JudgeConfig):
        return 0.0, ()
    try:
        shape = shape_of(ModelConfig(path=config.judge.partition(":")[2]))
    except UserError as error:
        return None, (f"judge: {error}",)
    return calls * _prompt_flops(shape, JUDGE_PROMPT_TOKENS + asked), ()


def _prompt_flops(shape: Shape, num_tokens: int) -> float:
    return Matrices.of_shape(shape).forward_flops(num_tokens, num_tokens**2, 1)


def _prompts_flops(shape: Shape, num_prompts: int, num_tasks: int, num_tokens: int, num_shared: int) -> float:
    """Of prompts that begin alike within a task, which is read once."""
    if not num_prompts:
        return 0.0
    own, matrices = num_tokens - num_shared, Matrices.of_shape(shape)
    shared = num_tasks * matrices.forward_flops(num_shared, num_shared**2, 0)
    return shared + num_prompts * matrices.forward_flops(own, own * num_tokens, 1)


def _decode_flops(shape: Shape, num_prompt_tokens: int, num_written: int) -> float:
    """Each written token attends to the prompt and to those written before it."""
    pairs = num_written * num_prompt_tokens + num_written * (num_written + 1) / 2
    return Matrices.of_shape(shape).forward_flops(num_written, pairs, num_written)
