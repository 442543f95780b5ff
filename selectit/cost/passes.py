"""The forward passes of a stage of ratings or of losses, from drawn rows: the batches that its raters would compute.

Reads the pool, the tokenizer and config.json; `score --estimate` tokenises every row instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from selectit.config import LossStage, PoolConfig, ScoreStage, Turns
from selectit.cost.flops import BatchCount, Matrices
from selectit.cost.tokens import END, Tokenizing, distinct, draw, pool_rows, renderer, tokenizing
from selectit.data.pool import Row
from selectit.data.turns import texts_of
from selectit.inference.batch import Text, batches, common_prefix
from selectit.inference.shape import config_of, shape_of
from selectit.scoring.batch_tokens import tokens_of_a_batch
from selectit.scoring.prompts import rating_text
from selectit.scoring.rated_rows import rated_rows
from selectit.templates import RESPONSE_MARKER

PACKED = ("llama", "mistral", "qwen2")
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
MISTRAL_WINDOW = 4096
"""Where a config.json of mistral does not state it."""


@cache
def rating_passes(config: ScoreStage, on_gpu: bool) -> tuple[BatchCount, str]:
    """Returns: what all ratings compute, and how it was counted. Raises: UserError, see `config_of` and `shape_of`."""
    tokens = tokenizing(config.model, as_text=True)
    drawn = draw(distinct(_rated(config.pool, config.turns), lambda row: (row.instruction, row.response)))
    pads = config.backend != "vllm" and _pads(config, on_gpu)
    count = BatchCount(Matrices.of_shape(shape_of(config.model)), pads)
    limit = tokens_of_a_batch(config, "cuda" if on_gpu else "cpu")
    for prompt in config.prompts:
        texts = _texts(drawn.rows, lambda row, p=prompt: rating_text(p, row.instruction, row.response), tokens)  # type: ignore[misc]
        if config.max_length is not None:
            texts = _within(texts, config.max_length, cuts=config.long_rows == "cut")
        count.add_drawn(batches(texts, common_prefix(texts), limit, pads), drawn.times)
    return count, f"{tokens.how}, {drawn.how}"


@cache
def loss_passes(config: LossStage, on_gpu: bool) -> tuple[BatchCount, str]:
    """Returns, Raises: as `rating_passes`."""
    tokens, render = tokenizing(config.model), renderer(config.template)
    drawn = draw(distinct(pool_rows(config.pool), lambda row: tuple(tuple(m.items()) for m in row.messages)))
    pads, opening = _pads(config, on_gpu), RESPONSE_MARKER.get(config.template, "") if config.text == "marker" else ""
    count = BatchCount(Matrices.of_shape(shape_of(config.model)), pads, every_logit=True)
    limit = tokens_of_a_batch(config, "cuda" if on_gpu else "cpu")
    for with_input in (False, True):  # as losses are batched
        rows = [row for row in drawn.rows if any(len(texts_of(m)) > 1 for m in row.messages) == with_input]
        texts = _texts(rows, render if config.text == "conditioned" else lambda row: opening + _answers(row), tokens)
        if config.max_length is not None:
            texts = _within(texts, config.max_length, cuts=True)
        count.add_drawn(batches(texts, common_prefix(texts), limit, pads), drawn.times)
    return count, f"{tokens.how}, {drawn.how}"


@cache
def _rated(pool: PoolConfig, turns: Turns) -> tuple[Row, ...]:
    """What a rater reads. Raises: as `pool_rows`."""
    return tuple(row for row in rated_rows(pool, turns) if row.failure is None)


def _texts(rows: Sequence[Row], render: Callable[[Row], str], tokens: Tokenizing) -> list[Text]:
    return [Text(((row.row_id, 0),), tokens.ids(render(row))) for row in rows]


def _within(texts: Sequence[Text], max_length: int, cuts: bool) -> list[Text]:
    """Those that are not too long, or all of them without what is too much."""
    kept = texts if cuts else [text for text in texts if len(text.ids) <= max_length]
    return [Text(text.keys, text.ids[:max_length]) for text in kept]


def _answers(row: Row) -> str:
    return "".join(message["content"] + END for message in row.messages if message["role"] == "assistant")


def _pads(config: ScoreStage | LossStage, on_gpu: bool) -> bool:
    """Whether the padded path computes it; as `selectit.inference.packed.obstacle` decides on the loaded model."""
    dtype = config.model.dtype
    if config.quantization != "none" or (not on_gpu and dtype not in ("auto", "float32")):
        return True
    return not packs(config_of(config.model))


def packs(config: Mapping[str, Any]) -> bool:
    """Args: config: of config.json."""
    family = config.get("model_type")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    window = config.get("sliding_window", MISTRAL_WINDOW) if family == "mistral" else None
    if family == "qwen2" and config.get("use_sliding_window"):
        window = config.get("sliding_window")
    return (
        family in PACKED
        and (rope.get("rope_type") or rope.get("type")) not in LENGTH_DEPENDENT_ROPE
        and window is None
        and config.get("hidden_act", "silu") == "silu"
        and not config.get("attention_bias")
        and not config.get("mlp_bias")
        and "quantization_config" not in config
    )
