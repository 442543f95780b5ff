"""The forward passes of a stage of ratings or of losses, from drawn rows: the batches that its raters would compute.

Reads the pool, the tokenizer and config.json; `score --estimate` tokenises every row instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from selectit.config import LossStage, PoolConfig, ScoreStage, Turns
from selectit.cost.flops import BatchCount, Matrices
from selectit.cost.kept import NOTHING, Kept
from selectit.cost.tokens import END, Drawn, Tokenizing, distinct, draw, pool_rows, renderer, tokenizing
from selectit.data.pool import Row
from selectit.data.turns import texts_of
from selectit.inference.batch import PACKED_PATH, PADDED_PATH, VLLM_PATH, Text, batches, common_prefix
from selectit.inference.shape import config_of, shape_of
from selectit.scoring.batch_tokens import tokens_of_a_batch
from selectit.scoring.prompts import rating_text
from selectit.scoring.rated_rows import rated_rows
from selectit.scoring.reuse import digest_of
from selectit.templates import RESPONSE_MARKER

NO_ROWS = Drawn([], 0)
PACKED = ("llama", "mistral", "qwen2")
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope")
MISTRAL_WINDOW = 4096
"""Where a config.json of mistral does not state it."""


def rating_passes(config: ScoreStage, on_gpu: bool, kept: Kept = NOTHING) -> tuple[BatchCount, str]:
    """Returns: what all ratings compute that are not there yet, and how it was counted.

    Raises: UserError, see `config_of` and `shape_of`.
    """
    tokens, rows = tokenizing(config.model, as_text=True), _rated(config.pool, config.turns)
    pads = config.backend != "vllm" and _pads(config, on_gpu)
    count = BatchCount(Matrices.of_shape(shape_of(config.model)), pads)
    limit = tokens_of_a_batch(config, "cuda" if on_gpu else "cpu")
    done = kept.records(config, [row.row_id for row in rows])
    path = VLLM_PATH if config.backend == "vllm" else PADDED_PATH if pads else PACKED_PATH
    earlier = kept.ratings(config, on_gpu, path)
    largest, num_reused = NO_ROWS, 0.0
    for prompt, its_done in zip(config.prompts, done, strict=True):
        drawn = draw(distinct(_left(rows, its_done), lambda row: (row.instruction, row.response)))
        texts = _texts(drawn.rows, lambda row, p=prompt: rating_text(p, row.instruction, row.response), tokens)  # type: ignore[misc]
        if config.max_length is not None:
            texts = _within(texts, config.max_length, cuts=config.long_rows == "cut")
        known = earlier.answer(prompt, [digest_of(text.ids) for text in texts])
        left = [text for text, rating in zip(texts, known, strict=True) if rating is None]
        count.add_drawn(batches(left, common_prefix(left), limit, pads), drawn.times)
        num_reused += drawn.times * (len(texts) - len(left))
        largest = max(largest, drawn, key=lambda one: one.num_rows)
    reused = f", {round(num_reused):,} ratings reused from finished ledgers" if num_reused else ""
    return count, f"{tokens.how}, {largest.how}{_recorded(done)}{reused}"


def loss_passes(config: LossStage, on_gpu: bool, kept: Kept = NOTHING) -> tuple[BatchCount, str]:
    """Returns, Raises: as `rating_passes`."""
    tokens, render, rows = tokenizing(config.model), renderer(config.template), pool_rows(config.pool)
    done = kept.records(config, [row.row_id for row in rows])
    drawn = draw(distinct(_left(rows, done[0]), lambda row: tuple(tuple(m.items()) for m in row.messages)))
    pads, opening = _pads(config, on_gpu), RESPONSE_MARKER.get(config.template, "") if config.text == "marker" else ""
    count = BatchCount(Matrices.of_shape(shape_of(config.model)), pads, every_logit=True)
    limit = tokens_of_a_batch(config, "cuda" if on_gpu else "cpu")
    for with_input in (False, True):  # as losses are batched
        chosen = [row for row in drawn.rows if any(len(texts_of(m)) > 1 for m in row.messages) == with_input]
        texts = _texts(chosen, render if config.text == "conditioned" else lambda row: opening + _answers(row), tokens)
        if config.max_length is not None:
            texts = _within(texts, config.max_length, cuts=True)
        count.add_drawn(batches(texts, common_prefix(texts), limit, pads), drawn.times)
    return count, f"{tokens.how}, {drawn.how}{_recorded(done)}"


def _left(rows: Sequence[Row], done: np.ndarray) -> list[Row]:
    return [row for row, is_done in zip(rows, done.tolist(), strict=True) if not is_done]


def _recorded(done: np.ndarray) -> str:
    """In the words of the assumptions."""
    return f", {int(done.sum()):,} of {done.size:,} in the unfinished ledger" if done.any() else ""


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


def shares_prefixes(config: Mapping[str, Any]) -> bool:
    """Whether a text may go on from the keys and values of its beginning. Args: config: of config.json."""
    family = config.get("model_type")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    window = config.get("sliding_window", MISTRAL_WINDOW) if family == "mistral" else None
    if family in ("qwen2", "qwen3") and config.get("use_sliding_window"):
        window = config.get("sliding_window")
    return (rope.get("rope_type") or rope.get("type")) not in LENGTH_DEPENDENT_ROPE and window is None


def packs(config: Mapping[str, Any]) -> bool:
    """Args: config: of config.json."""
    return (
        config.get("model_type") in PACKED
        and shares_prefixes(config)
        and config.get("hidden_act", "silu") == "silu"
        and not config.get("attention_bias")
        and not config.get("mlp_bias")
        and "quantization_config" not in config
    )
