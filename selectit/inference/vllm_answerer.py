"""vLLM, in a Python of its own, answers batches of requests: the token ids and the texts are this side's.

vLLM batches by itself and computes shared beginnings once, so a batch here is what is handed over at a time and
written down when it is answered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from selectit.inference.answer_end import AnswerEnd, Decode
from selectit.inference.batch import Batch
from selectit.inference.load import not_finite
from selectit.inference.requests import (
    Answer,
    FirstTokens,
    Generation,
    GenerationSettings,
    Ids,
    Likelihood,
    Request,
)
from selectit.inference.sampling import seed_of
from selectit.inference.vllm_client import VllmEngine

REQUESTS_AT_A_TIME = 1024
STEPS_BETWEEN_LOOKS = 16
"""New tokens of a row, after which it is searched for its stop strings."""


class VllmAnswerer:
    def __init__(self, start: Callable[[], VllmEngine], decode: Decode, name: str) -> None:
        """Args: start: gives a loaded engine, now and again after one has failed; name: the model's.

        Raises: UserError where vLLM does not start or does not take the model.
        """
        self._start, self._decode, self._name = start, decode, name
        engine = start()
        self._engine: VllmEngine | None = engine
        self.facts = {
            "backend": "vllm",
            "vllm_version": engine.version,
            "dtype": engine.dtype,
            "device": engine.device,
        }

    def answer(self, batch: Batch[Request]) -> list[Answer]:
        """Raises: UserError where vLLM fails or is killed, or log-probabilities are not finite."""
        self._engine = self._engine or self._start()
        try:
            if isinstance(batch.items[0], Likelihood):
                rows = [r for r in batch.items if isinstance(r, Likelihood)]
                return _log_likelihoods(self._engine, self._name, rows)
            if isinstance(batch.items[0], FirstTokens):
                asked = [r for r in batch.items if isinstance(r, FirstTokens)]
                return _first_tokens(self._engine, self._name, asked)
            return self._generate(self._engine, [r for r in batch.items if isinstance(r, Generation)])
        except BaseException:  # what it was about to say would be the next question's answer
            self.close()
            raise

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _generate(self, engine: VllmEngine, requests: Sequence[Generation]) -> list[Answer]:
        """Args: requests: of equal settings."""
        settings = requests[0].settings
        end = AnswerEnd(self._decode, settings)
        engine.ask(
            "start_generating",
            rows=[list(request.ids) for request in requests],
            seeds=[seed_of(request) if settings.temperature > 0 else None for request in requests],
            max_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            stop_token_ids=sorted({*settings.ends, *settings.stop_ids}),
        )
        new: list[list[int]] = [[] for _ in requests]
        running, stopped = set(range(len(requests))), list[int]()
        while running or stopped:
            found = engine.ask("generate_on", stopped=stopped, num_steps=STEPS_BETWEEN_LOOKS)
            stopped = []
            for number, (tokens, has_ended, log_probs_are_finite) in found.items():
                if not log_probs_are_finite:
                    raise not_finite(self._name, engine.dtype)
                new[number] += tokens
                if has_ended:
                    running.remove(number)
                elif end.holds_stop(new[number]):
                    running.remove(number)
                    stopped.append(number)
        ended = [end.read(tokens) for tokens in new]
        return [
            Answer(one.text, len(request.ids) + one.num_tokens, one.ending)
            for request, one in zip(requests, ended, strict=True)
        ]


def batches(requests: Sequence[Request], num_requests: int | None) -> list[Batch[Request]]:
    """Batches of equal settings, in which rows that start alike follow each other.

    Args: num_requests: of one batch at most; default: REQUESTS_AT_A_TIME.
    """
    by_settings: dict[GenerationSettings | None, list[Request]] = {}
    for request in requests:
        by_settings.setdefault(request.settings, []).append(request)
    size = num_requests or REQUESTS_AT_A_TIME
    ordered = [sorted(alike, key=lambda request: request.ids) for alike in by_settings.values()]
    return [Batch(alike[at : at + size]) for alike in ordered for at in range(0, len(alike), size)]


def _log_likelihoods(engine: VllmEngine, name: str, requests: Sequence[Likelihood]) -> list[Answer]:
    """Each token of a continuation is asked for as the next one of what stands before it: vLLM's own log-probabilities
    of a prompt cost the logits of all its tokens, and do not read what it has cached of shared beginnings.
    """
    wanted: dict[Ids, dict[int, None]] = {}
    for request in requests:
        for continuation in request.continuations:
            for row, token in _steps(request.ids, continuation):
                wanted.setdefault(row, {})[token] = None
    tokens = [list(of_row) for of_row in wanted.values()]
    found = engine.ask("next_of_each", rows=[list(row) for row in wanted], token_ids=tokens)
    greedy = {row: token for row, (token, _) in zip(wanted, found, strict=True)}
    log_probs = {
        row: dict(zip(its_tokens, values, strict=True))
        for row, its_tokens, (_, values) in zip(wanted, tokens, found, strict=True)
    }

    if not all(math.isfinite(value) for values in log_probs.values() for value in values.values()):
        raise not_finite(name, engine.dtype)

    def score(ids: Ids, continuation: Ids) -> list[Any]:
        steps = list(_steps(ids, continuation))
        return [sum(log_probs[row][token] for row, token in steps), all(greedy[row] == token for row, token in steps)]

    return [
        Answer(
            [score(request.ids, continuation) for continuation in request.continuations],
            len(request.ids) + sum(map(len, request.continuations)),
        )
        for request in requests
    ]


def _first_tokens(engine: VllmEngine, name: str, requests: Sequence[FirstTokens]) -> list[Answer]:
    """Args: requests: which all ask for as many tokens."""
    found = engine.ask("top_of_each", rows=[list(request.ids) for request in requests], most=requests[0].most)
    if not all(math.isfinite(value) for pairs in found for _, value in pairs):
        raise not_finite(name, engine.dtype)
    return [
        Answer([list(pair) for pair in pairs], len(request.ids) + 1)
        for request, pairs in zip(requests, found, strict=True)
    ]


def _steps(ids: Ids, continuation: Ids) -> Iterator[tuple[Ids, int]]:
    """Each token of a continuation with the row that it follows; all but its last token end `ids`."""
    start = len(ids) - len(continuation) + 1
    return ((ids[: start + at], token) for at, token in enumerate(continuation))
