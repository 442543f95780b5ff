"""A judge behind an OpenAI-compatible endpoint: each comparison asked once, in an order drawn from its instruction.

Every answer goes to the cache before it counts, so a killed run, another arm or another recipe pays only for what
is missing. Retries and back-off (Retry-After, else exponential with jitter) are the openai client's.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import openai

from selectit.config import JudgeConfig
from selectit.errors import UserError
from selectit.evaluate.judge.base import AnswerPair, LeftOut
from selectit.evaluate.judge.bounded_http import NOT_READ, REDIRECTED, BoundedClient
from selectit.evaluate.judge.cache import AnswerCache, JudgeAnswer
from selectit.evaluate.judge.completion import NotACompletion, NoVerdict, read_completion, read_verdict, verdict_in
from selectit.evaluate.judge.key import KeyMask, read_key
from selectit.evaluate.judge.prompt import read_prompt
from selectit.store.fingerprint import digest

TOP_LOGPROBS = 5
MAX_TOKENS = {"logprobs": 1, "text": 100, "game": 4096}
"""AlpacaEval's and, for a verdict of Arena-Hard's, that one's; evaluate.judge.max_tokens sets another."""
MOST_ASKED = 3
"""Times that a comparison is asked while its answers hold no verdict."""
MOST_FAILED = 8
"""Comparisons in a row without a chat completion, after which the endpoint is taken for dead."""
TRIAL_RETRIES = 2
MAX_REASON_CHARS = 200

TRIAL = AnswerPair("Name the capital of France.", reference="I would rather not say.", output="It is Paris.")
_REFUSED = (400, 413, 422, 451)
"""Statuses that one comparison earns (too long, filtered); any other below 500 would meet every request."""
_BUSY = (408, 409, 429)


@dataclass(frozen=True)
class NoAnswer:
    kind: Literal["refused", "unreadable", "failed"]
    """failed: it was not judged, and may be when it is asked another time."""
    reason: str


@dataclass(frozen=True)
class Question:
    messages: tuple[tuple[str, str], ...]
    is_switched: bool
    """The model's output stands first, as m."""
    key: str
    """Of the answer in the cache: all that decides it."""


class EndpointJudge:
    def __init__(self, config: JudgeConfig) -> None:
        """Raises: UserError where the key's variable is not set, the prompt cannot be used or the cache not written."""
        self._config = config
        self._key = read_key(config)
        self._mask = KeyMask(self._key)
        self._prompt = read_prompt(config.prompt)
        self._verdict: str = config.verdict
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", config.model)[:200]
        file = f"{name}-{digest([config.model, config.base_url])[:12]}.jsonl"
        self._cache = AnswerCache(Path(config.cache).expanduser() / file)
        self._usage: dict[str, Any] = {}
        self._left_out: LeftOut | None = None
        self._answered_by: list[str] = []
        self._num_asked = self._num_failed_in_a_row = 0
        self._stop = ""

    def describe(self) -> dict[str, str]:
        described = {
            "name": self._config.model,
            "endpoint": self._config.base_url,
            "verdict": self._verdict,
            "prompt_sha256": self._prompt.sha256,
            "settings": ", ".join(f"{name} {value}" for name, value in self._settings().items()),
            "max_missing": f"{self._config.max_missing:g}",
        }
        return {**described, "answered_by": ", ".join(self._answered_by)} if self._answered_by else described

    def usage(self) -> dict[str, Any]:
        return self._usage

    def left_out(self) -> LeftOut | None:
        return self._left_out

    def notes(self) -> list[str]:
        notes = []
        if len(self._answered_by) > 1:
            names = " and as ".join(self._answered_by)
            notes.append(f"{self._config.model} answered as {names}: the judge changed meanwhile")
        if uncounted := self._usage.get("num_uncounted"):
            notes.append(
                f"{uncounted} answers of {self._config.model} give no token counts: tokens and cost lack theirs"
            )
        return notes

    def check(self) -> None:
        """Ask for one trial comparison."""
        found = asyncio.run(self._ask_all([self._question(TRIAL)], lambda _: None, TRIAL_RETRIES, keep=False))
        if found:
            raise UserError(
                f"evaluate.judge: {self._config.model} at {self._config.base_url} does not judge: "
                + next(iter(found.values())).reason
            )

    def compare(self, comparisons: Sequence[AnswerPair], advance: Callable[[int], None]) -> list[float | None]:
        questions = [None if one.output == one.reference else self._question(one) for one in comparisons]
        answers = self._answers(questions, advance)
        return [0.5 if question is None else _preferred(question, answers.get(question.key)) for question in questions]

    def _answers(self, questions: Sequence[Question | None], advance: Callable[[int], None]) -> dict[str, JudgeAnswer]:
        """The answers by the key of their question, asked where they are not in the cache; some may be left out.

        Raises: UserError where some were not judged.
        """
        asked = {question.key: question for question in questions if question is not None}
        missing = [question for key, question in asked.items() if self._kept(key) is None]
        advance(len(questions) - len(missing))
        without = asyncio.run(self._ask_all(missing, advance, self._config.max_retries)) if missing else {}
        answers = {key: answer for key in asked if (answer := self._kept(key)) is not None}
        self._answered_by = sorted({answer.answered_by for answer in answers.values()})
        lacking = [without[question.key] for question in questions if question is not None and question.key in without]
        kinds: Counter[str] = Counter(one.kind for one in lacking)
        reasons = ", ".join(f"{why} ({n})" for why, n in Counter(one.reason for one in lacking).most_common(3))
        self._usage = self._spent(answers, len(questions), len(asked) - len(missing), kinds) if questions else {}
        if kinds["failed"]:
            raise UserError(
                f"{len(lacking)} of {len(questions)} comparisons have no answer of the judge {self._config.model}, "
                f"so there is no win rate: {reasons}. The other answers are kept; the same command asks for these"
            )
        self._left_out = None
        if lacking:
            numbers = len(questions), kinds["refused"], kinds["unreadable"]
            self._left_out = LeftOut(self._config.model, *numbers, self._config.max_missing, reasons)
        return answers

    def _kept(self, key: str) -> JudgeAnswer | None:
        """The answer in the cache; None also for a text in which no verdict can be read any more."""
        answer = self._cache.find(key)
        if answer is None or self._verdict == "logprobs":
            return answer
        return answer if verdict_in(answer.text, self._verdict) == answer.verdict else None

    def _question(self, comparison: AnswerPair) -> Question:
        return self._in_order(comparison, is_switched_for(comparison.instruction))

    def _in_order(self, comparison: AnswerPair, is_switched: bool) -> Question:
        """Args: is_switched: the model's output stands first."""
        first, second = comparison.reference, comparison.output
        if is_switched:
            first, second = second, first
        settings = {
            "model": self._config.model,
            "base_url": self._config.base_url,
            "verdict": self._verdict,
            **self._settings(),
            "prompt_sha256": self._prompt.sha256,
        }
        shown = {"instruction": comparison.instruction, "output_m": first, "output_M": second}
        return Question(tuple(self._prompt.fill(**shown)), is_switched, digest({**settings, **shown}))

    def _settings(self) -> dict[str, Any]:
        """What decides an answer besides its question; a usual request keeps its key in the cache."""
        temperature, max_tokens = self._config.temperature, self._config.max_tokens or MAX_TOKENS[self._verdict]
        extra = {"extra_body": self._config.extra_body} if self._config.extra_body else {}
        return {
            "temperature": int(temperature) if temperature.is_integer() else temperature,
            "max_tokens": max_tokens,
            **extra,
        }

    async def _ask_all(
        self, questions: Sequence[Question], advance: Callable[[int], None], max_retries: int, keep: bool = True
    ) -> dict[str, NoAnswer]:
        """Why each question that has no answer has none, by its key."""
        self._num_asked = self._num_failed_in_a_row = 0
        self._stop = ""
        free = asyncio.Semaphore(self._config.max_concurrency)

        async def one(client: openai.AsyncOpenAI, question: Question) -> NoAnswer | None:
            async with free:
                answer = await self._ask(client, question)
            if isinstance(answer, NoAnswer):
                return NoAnswer(answer.kind, self._mask.line(answer.reason)[:MAX_REASON_CHARS])
            if keep:
                self._cache.keep(question.key, answer)
            advance(1)
            return None

        async with openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self._config.base_url,
            timeout=self._config.timeout_seconds,
            max_retries=max_retries,
            http_client=BoundedClient(self._config.timeout_seconds),
        ) as client:
            found = await asyncio.gather(*(one(client, question) for question in questions))
        return {question.key: lack for question, lack in zip(questions, found, strict=True) if lack is not None}

    async def _ask(self, client: openai.AsyncOpenAI, question: Question) -> JudgeAnswer | NoAnswer:
        reason, is_completion = "", False
        for _ in range(MOST_ASKED):
            if self._stop:
                return NoAnswer("failed", f"not asked, for {self._stop}")
            try:
                self._num_asked += 1
                response = (
                    await client.chat.completions.with_raw_response.create(**self._request(question))
                ).http_response
            except openai.OpenAIError as error:
                return self._failed(error)
            try:
                answer = self._read(response)
                self._num_failed_in_a_row = 0
                return answer
            except NoVerdict as error:
                reason, is_completion = str(error), True
            except NotACompletion as error:
                reason = str(error)
        if is_completion:
            self._num_failed_in_a_row = 0
        else:
            self._count_failure()
        return NoAnswer("unreadable", f"{reason}, asked {MOST_ASKED} times")

    def _failed(self, error: openai.OpenAIError) -> NoAnswer:
        reason = self._reason(error)
        status = error.status_code if isinstance(error, openai.APIStatusError) else None
        if status in _REFUSED:
            return NoAnswer("refused", reason)
        if status is None or status >= 500 or status in _BUSY:
            self._count_failure()
        else:
            self._stop = reason
        return NoAnswer("failed", reason)

    def _count_failure(self) -> None:
        self._num_failed_in_a_row += 1
        if self._num_failed_in_a_row >= MOST_FAILED:
            self._stop = f"{MOST_FAILED} comparisons in a row failed"

    def _request(self, question: Question) -> dict[str, Any]:
        by_verdict = {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if self._verdict == "logprobs" else {}
        settings = self._settings()
        extra = settings.pop("extra_body", {})
        return {
            "model": self._config.model,
            "messages": [{"role": role, "content": text} for role, text in question.messages],
            **{name: value for name, value in settings.items() if name not in extra},
            **by_verdict,
            "extra_body": {name: value for name, value in extra.items() if name not in settings},
        }

    def _read(self, response: Any) -> JudgeAnswer:
        """Raises: NotACompletion, NoVerdict."""
        if NOT_READ in response.extensions:
            raise NotACompletion(response.extensions[NOT_READ])
        completion = read_completion(response.content)
        return JudgeAnswer(
            verdict=read_verdict(completion, self._verdict),
            text=self._mask(completion.text),
            input_tokens=completion.input_tokens,
            output_tokens=completion.output_tokens,
            answered_by=self._mask.line(completion.model)[:MAX_REASON_CHARS] or self._config.model,
        )

    def _reason(self, error: openai.OpenAIError) -> str:
        if isinstance(error, openai.APITimeoutError):
            return f"no answer within {self._config.timeout_seconds:g} s"
        if isinstance(error, openai.APIStatusError):
            if elsewhere := error.response.extensions.get(REDIRECTED):
                return (
                    f"HTTP {error.status_code}, a redirect to another host, which is not followed as the key would go "
                    f"with it; if {elsewhere} is right, set evaluate.judge.base_url to it"
                )
            return f"HTTP {error.status_code}, {error.message}"
        return f"{error} ({error.__cause__})" if error.__cause__ else str(error)

    def _spent(
        self, answers: dict[str, JudgeAnswer], num_comparisons: int, num_cached: int, lacking: Counter[str]
    ) -> dict[str, Any]:
        """Tokens and cost are those of all answers that count, paid now or earlier."""
        input_tokens = sum(answer.input_tokens or 0 for answer in answers.values())
        output_tokens = sum(answer.output_tokens or 0 for answer in answers.values())
        prices = self._config.usd_per_million_input_tokens, self._config.usd_per_million_output_tokens
        cost = None
        if prices[0] is not None and prices[1] is not None:
            cost = round((input_tokens * prices[0] + output_tokens * prices[1]) / 1e6, 6)
        return {  # the client's own retries are not among num_asked
            "num_comparisons": num_comparisons,
            "num_cached": num_cached,
            "num_asked": self._num_asked,
            "num_refused": lacking["refused"],
            "num_unreadable": lacking["unreadable"],
            "num_uncounted": sum(None in (answer.input_tokens, answer.output_tokens) for answer in answers.values()),
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "usd": cost,
        }


def is_switched_for(instruction: str, seed: int = 0) -> bool:
    """Whether the model's output is shown first. Source: AlpacaEval's draw, so that its orders are ours."""
    return random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True], k=1)[0]


def _preferred(question: Question, answer: JudgeAnswer | None) -> float | None:
    if answer is None:
        return None
    return 1 - answer.verdict if question.is_switched else answer.verdict
