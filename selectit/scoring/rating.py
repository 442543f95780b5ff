"""A pool as one rater reads it: the texts, the token ids of the ratings, and what is refused before anything is rated;
and the records of a text.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from selectit.config import ScoreStage
from selectit.data.pool import Row
from selectit.errors import UserError
from selectit.inference.batch import Text
from selectit.inference.load import load_skeleton, load_tokenizer, refuse_ids_beyond_embedding
from selectit.inference.loaded import Loaded, LoadedRater, make_rater
from selectit.inference.vllm_rater import LoadedVllm, longest_text, refuse_beyond
from selectit.scoring.ledger import SCHEMA, TOO_LONG, Record
from selectit.scoring.notes import failures_text
from selectit.scoring.ratings import RatingTokens, rating_tokens
from selectit.scoring.reuse import EarlierRatings, digest_of
from selectit.scoring.texts import index_ratings, rating_texts
from selectit.scoring.written import ending, written

MOST_SHOWN = 5


class Rating:
    """A `selectit.scoring.work.Job`: one rater over one pool.

    Raises: UserError for a pool that cannot be read, or a tokenizer that cannot rate or is not the model's.
    """

    schema = SCHEMA

    def __init__(self, config: ScoreStage) -> None:
        self.config = config
        self.index = index_ratings(config.pool, config.turns)
        self.tokenizer = load_tokenizer(config.model)
        self.rating_tokens = rating_tokens_of(self.tokenizer, config, self.index.examples, self.index.failures)
        self.rating_ids = self.rating_tokens.ids
        self.groups = range(len(config.prompts))
        all_ids = (text.ids for number in self.groups for text in self._texts(number))
        refuse_ids_beyond_embedding(self.tokenizer, load_skeleton(config.model), all_ids)

    def refuse_long(self) -> None:
        """Raises: UserError where long rows are to be refused and there are some, where a rating prompt alone fills
        max_length, or for rows that vLLM does not take.
        """
        config = self.config
        _refuse_full_prompts(config, self.tokenizer)
        if config.long_rows == "fail" and config.max_length is not None:
            for number in range(len(config.prompts)):
                _refuse_long(config, self._texts(number))
        longest = longest_text(config) if config.backend == "vllm" else None
        if longest is not None and (config.max_length is None or config.max_length > longest):
            lengths = self.tokenizer(list(config.prompts), return_length=True)["length"]
            refuse_beyond(longest, config, self._texts(int(np.argmax(lengths))))

    def _texts(self, number: int) -> Iterator[Text]:
        """All texts under one rating prompt, some thousand in memory at a time."""
        config = self.config
        for groups in self.index.groups(np.zeros(self.index.num_rows, dtype=bool)):
            yield from rating_texts(
                self.tokenizer, groups, number, config.prompts[number], config.max_length, config.long_rows,
                config.template,
            )  # fmt: skip

    def load(self, num_processes: int | None) -> Loaded:
        return load_rater(self.config, self.rating_ids, num_processes)

    def known(self, texts: Sequence[Text], earlier: EarlierRatings) -> tuple[list[Text], list[Record]]:
        """Args:    texts: of one rating prompt.
        Returns: those that must be rated, and the records of the others: reused ratings, or why there is none.
        Raises:  UserError for long rows where they are to be refused.
        """
        left: list[Text] = []
        records: list[Record] = []
        if not texts:
            return left, records
        if self.config.long_rows == "fail":
            _refuse_long(self.config, texts)
        prompt = self.config.prompts[texts[0].keys[0][1]]
        for text, found in zip(texts, earlier.answer(prompt, [digest_of(text.ids) for text in texts]), strict=True):
            if text.failure is not None:
                records += records_of(text, None)
            elif found is not None:
                records += records_of(text, found.probabilities, found.source)
            else:
                left.append(text)
        return left, records


def load_rater(config: ScoreStage, rating_ids: Sequence[int], num_processes: int | None) -> Loaded:
    if config.backend == "vllm":
        return LoadedVllm(config, rating_ids, num_processes)
    make = functools.partial(make_rater, rating_ids=rating_ids)
    return LoadedRater(config.model, make, num_processes, config.quantization)


def rating_tokens_of(
    tokenizer: PreTrainedTokenizerBase, config: ScoreStage, rows: Sequence[Row], failures: Mapping[str, int]
) -> RatingTokens:
    """Args:   rows: some usable ones, as `PoolIndex.examples` has them; the tokenizer is proven on all.
            failures: why rows of the pool cannot be rated.
    Raises: UserError where there is none, or the tokenizer cannot rate.
    """
    if not rows:
        raise UserError(f"pool {config.pool.path}: no row can be rated: {failures_text(failures)}")
    endings = (ending(tokenizer, config.template, p, r.instruction, r.response) for r in rows for p in config.prompts)
    return rating_tokens(tokenizer, endings)


def _refuse_full_prompts(config: ScoreStage, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises: UserError where a text without instruction and response leaves no token for them."""
    if config.max_length is None:
        return
    lengths = [len(written(tokenizer, config.template, p, [("", "")], False)[0].ids) for p in config.prompts]
    longest = max(lengths)
    if longest >= config.max_length:
        raise UserError(
            f"score.max_length is {config.max_length} tokens, and rating prompt {lengths.index(longest) + 1} alone has "
            f"{longest} with what stands around a row; set it well above {longest}"
        )


def _refuse_long(config: ScoreStage, texts: Iterable[Text]) -> None:
    longest: list[Text] = []
    num_long = 0
    for text in texts:
        if text.failure == TOO_LONG:
            num_long += len(text.keys)
            longest = sorted([*longest, text], key=lambda text: -len(text.ids))[:MOST_SHOWN]
    if longest:
        shown = ", ".join(f"row {text.keys[0][0]}: {len(text.ids)}" for text in longest)
        more = f" and {num_long - len(longest)} more" if num_long > len(longest) else ""
        raise UserError(
            f"pool {config.pool.path}: {num_long} rating texts are longer than score.max_length = "
            f"{config.max_length} tokens ({shown}{more}). Raise it, shorten the rows, or set score.long_rows to "
            "'cut' (responses lose their end) or 'skip' (these rows are not rated)."
        )


def records_of(text: Text, probabilities: np.ndarray | None, source: str | None = None) -> list[Record]:
    """Args: probabilities: None for a text that is not to be rated; source: the artifact that they are reused from."""
    mass = 0.0 if probabilities is None else float(probabilities.sum())
    good = probabilities is not None and bool(np.isfinite(probabilities).all()) and mass > 0
    return [
        Record(
            row_id, prompt,
            probabilities=[float(p) for p in probabilities] if good and probabilities is not None else None,
            mass=mass if good else None,
            num_tokens=len(text.ids),
            truncated=text.truncated,
            failure=None if good else text.failure or "no_rating_probability",
            digest=digest_of(text.ids),
            taken_from=source,
        )
        for row_id, prompt in text.keys
    ]  # fmt: skip
