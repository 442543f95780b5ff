"""A judge behind an OpenAI-compatible endpoint: each comparison asked once, in an order drawn from its instruction.

Every answer goes to the cache before it counts, so a killed run, another arm or another recipe pays only for what
is missing. Retries and back-off (Retry-After, else exponential with jitter) are the openai client's.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from selectit.config import JudgeConfig
from selectit.errors import UserError
from selectit.evaluate.judge import Comparison
from selectit.evaluate.judge_cache import Answer, AnswerCache
from selectit.evaluate.judge_prompt import arena_hard_prompt, read_prompt
from selectit.evaluate.judge_verdict import GAMES, verdict_of_game, verdict_of_logprobs, verdict_of_text
from selectit.fingerprint import digest

TEMPERATURE = 0
TOP_LOGPROBS = 5
MAX_TOKENS = {"logprobs": 1, "text": 100, "game": 4096}
"""AlpacaEval's and, for a verdict of Arena-Hard's, that one's."""
MOST_ASKED = 3
"""Times that a comparison is asked while its answers hold no verdict."""
MOST_FAILED = 8
"""Comparisons in a row without an answer, after which the endpoint is taken for dead."""
TRIAL_RETRIES = 2
NO_KEY = "EMPTY"
"""The client insists on a key; endpoints without one ignore it."""

TRIAL = Comparison("Name the capital of France.", reference="I would rather not say.", output="It is Paris.")
_REFUSED = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
"""Errors that every further request would meet too."""


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
        self._key = _read_key(config)
        self._prompt = read_prompt(config.prompt)
        self._verdict: str = config.verdict
        name = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', config.model)}-{digest([config.model, config.base_url])[:12]}.jsonl"
        self._cache = AnswerCache(Path(config.cache).expanduser() / name)
        self._usage: dict[str, Any] = {}
        self._answered_by: list[str] = []
        self._num_asked = self._num_failed_in_a_row = 0
        self._stop = ""

    def describe(self) -> dict[str, str]:
        told = {
            "name": self._config.model,
            "endpoint": self._config.base_url,
            "verdict": self._verdict,
            "prompt_sha256": self._prompt.sha256,
        }
        return {**told, "answered_by": ", ".join(self._answered_by)} if self._answered_by else told

    def usage(self) -> dict[str, Any]:
        return self._usage

    def notes(self) -> list[str]:
        if len(self._answered_by) < 2:
            return []
        return [f"{self._config.model} answered as {' and as '.join(self._answered_by)}: the judge changed meanwhile"]

    def check(self) -> None:
        """Ask for one trial comparison."""
        reason = asyncio.run(self._ask_all([self._question(TRIAL)], lambda _: None, TRIAL_RETRIES, keep=False))
        if reason:
            raise UserError(
                f"evaluate.judge: {self._config.model} at {self._config.base_url} does not judge: {reason[0]}"
            )

    def compare(self, comparisons: Sequence[Comparison], advance: Callable[[int], None]) -> list[float]:
        questions = [None if one.output == one.reference else self._question(one) for one in comparisons]
        answers = self._answers(questions, advance)
        return [0.5 if question is None else _preferred(question, answers[question.key]) for question in questions]

    def _answers(self, questions: Sequence[Question | None], advance: Callable[[int], None]) -> dict[str, Answer]:
        """The answers by the key of their question, asked where they are not in the cache.

        Raises: UserError where one is missing.
        """
        asked = {question.key: question for question in questions if question is not None}
        missing = [question for key, question in asked.items() if self._cache.find(key) is None]
        advance(len(questions) - len(missing))
        failures = asyncio.run(self._ask_all(missing, advance, self._config.max_retries)) if missing else []
        answers = {key: answer for key in asked if (answer := self._cache.find(key)) is not None}
        self._answered_by = sorted({answer.answered_by for answer in answers.values()})
        self._usage = self._spent(answers, len(questions), len(missing), len(failures))
        if failures:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in Counter(failures).most_common(3))
            raise UserError(
                f"{len(failures)} of {len(questions)} comparisons have no answer of the judge {self._config.model}, "
                f"so there is no win rate: {reasons}. The other answers are kept; the same command asks for these"
            )
        return answers

    def _question(self, comparison: Comparison) -> Question:
        return self._in_order(comparison, is_switched_for(comparison.instruction))

    def _in_order(self, comparison: Comparison, is_switched: bool) -> Question:
        """Args: is_switched: the model's output stands first."""
        first, second = comparison.reference, comparison.output
        if is_switched:
            first, second = second, first
        settings = {
            "model": self._config.model,
            "base_url": self._config.base_url,
            "verdict": self._verdict,
            "temperature": TEMPERATURE,
            "max_tokens": MAX_TOKENS[self._verdict],
            "prompt_sha256": self._prompt.sha256,
        }
        shown = {"instruction": comparison.instruction, "output_m": first, "output_M": second}
        return Question(tuple(self._prompt.fill(**shown)), is_switched, digest({**settings, **shown}))

    async def _ask_all(
        self, questions: Sequence[Question], advance: Callable[[int], None], max_retries: int, keep: bool = True
    ) -> list[str]:
        """Why each question that has no answer has none."""
        self._num_asked = self._num_failed_in_a_row = 0
        self._stop = ""
        free = asyncio.Semaphore(self._config.max_concurrency)

        async def one(client: openai.AsyncOpenAI, question: Question) -> str:
            async with free:
                answer = await self._ask(client, question)
            if isinstance(answer, str):
                return answer
            if keep:
                self._cache.keep(question.key, answer)
            advance(1)
            return ""

        async with openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self._config.base_url,
            timeout=self._config.timeout_seconds,
            max_retries=max_retries,
        ) as client:
            reasons = await asyncio.gather(*(one(client, question) for question in questions))
        return [reason for reason in reasons if reason]

    async def _ask(self, client: openai.AsyncOpenAI, question: Question) -> Answer | str:
        """The answer, or why there is none."""
        reason = ""
        for _ in range(MOST_ASKED):
            if self._stop:
                return f"not asked, for {self._stop}"
            try:
                self._num_asked += 1
                completion = await client.chat.completions.create(**self._request(question))
            except _REFUSED as error:
                self._stop = self._told(error)
                return self._stop
            except openai.OpenAIError as error:
                if not isinstance(error, openai.BadRequestError):  # which is the fault of one comparison
                    self._num_failed_in_a_row += 1
                if self._num_failed_in_a_row >= MOST_FAILED:
                    self._stop = f"{MOST_FAILED} comparisons in a row failed"
                return self._told(error)
            except ValueError:  # the body is not JSON
                reason = "the endpoint's answer is not JSON"
                continue
            self._num_failed_in_a_row = 0
            answer = self._read(completion)
            if not isinstance(answer, str):
                return answer
            reason = answer
        return f"{reason}, asked {MOST_ASKED} times"

    def _request(self, question: Question) -> dict[str, Any]:
        by_verdict = {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if self._verdict == "logprobs" else {}
        return {
            "model": self._config.model,
            "messages": [{"role": role, "content": text} for role, text in question.messages],
            "temperature": TEMPERATURE,
            "max_tokens": MAX_TOKENS[self._verdict],
            **by_verdict,
        }

    def _read(self, completion: ChatCompletion) -> Answer | str:
        """The answer, or what is wrong with it."""
        if not isinstance(completion, ChatCompletion) or not completion.choices or not completion.choices[0].message:
            return "the endpoint's answer is not a chat completion"
        choice = completion.choices[0]
        text = choice.message.content or ""
        if self._verdict != "logprobs":
            verdict = verdict_of_text(text) if self._verdict == "text" else GAMES.get(verdict_of_game(text) or "")
            if verdict is None:
                return f"no verdict in the answer {text[:40]!r}"
        else:
            if choice.logprobs is None or not choice.logprobs.content:
                return "the endpoint gives no log-probabilities (set evaluate.judge.verdict to text)"
            top = [entry.model_dump() for entry in choice.logprobs.content[0].top_logprobs]
            verdict = verdict_of_logprobs(top)
            if verdict is None:
                return f"neither m nor M among the most probable tokens of the answer {text[:40]!r}"
        usage = completion.usage
        return Answer(
            verdict=verdict,
            text=text,
            input_tokens=usage.prompt_tokens if usage else 0,
            output_tokens=usage.completion_tokens if usage else 0,
            answered_by=completion.model or self._config.model,
        )

    def _told(self, error: openai.OpenAIError) -> str:
        if isinstance(error, openai.APITimeoutError):
            return f"no answer within {self._config.timeout_seconds:g} s"
        if isinstance(error, openai.APIStatusError):
            text = f"HTTP {error.status_code}, {error.message}"
        else:
            text = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
        if self._key != NO_KEY:
            text = text.replace(self._key, "<key>")
        return " ".join(text.split())[:200]

    def _spent(self, answers: dict[str, Answer], num_comparisons: int, num_missing: int, num_failures: int) -> Any:
        """Tokens and cost are those of all answers that count, paid now or earlier."""
        input_tokens = sum(answer.input_tokens for answer in answers.values())
        output_tokens = sum(answer.output_tokens for answer in answers.values())
        prices = self._config.usd_per_million_input_tokens, self._config.usd_per_million_output_tokens
        cost = None
        if prices[0] is not None and prices[1] is not None:
            cost = round((input_tokens * prices[0] + output_tokens * prices[1]) / 1e6, 6)
        return {  # the client's own retries are not among num_asked
            "num_comparisons": num_comparisons,
            "num_cached": len(answers) - (num_missing - num_failures),
            "num_asked": self._num_asked if num_missing else 0,
            "num_failures": num_failures,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "usd": cost,
        }


class GamesEndpointJudge(EndpointJudge):
    """Arena-Hard's judge: explains itself, and gives one of five verdicts in either order of the answers."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__(config)
        self._prompt = arena_hard_prompt()
        self._verdict = "game"

    def play(self, comparisons: Sequence[Comparison], advance: Callable[[int], None]) -> list[tuple[str, str]]:
        """The verdicts with the reference shown first and with the output shown first; equal ones are ties."""
        questions = [
            None if one.output == one.reference else self._in_order(one, is_switched)
            for one in comparisons
            for is_switched in (False, True)
        ]
        answers = self._answers(questions, advance)
        verdicts = [verdict_of_game(answers[q.key].text) if q is not None else "A=B" for q in questions]
        return [(str(first), str(second)) for first, second in zip(verdicts[::2], verdicts[1::2], strict=True)]


def is_switched_for(instruction: str, seed: int = 0) -> bool:
    """Whether the model's output is shown first. Source: AlpacaEval's draw, so that its orders are ours."""
    return random.Random(f"is_switched_outputs{instruction}{seed}").choices([False, True], k=1)[0]


def _preferred(question: Question, answer: Answer) -> float:
    return 1 - answer.verdict if question.is_switched else answer.verdict


def _read_key(config: JudgeConfig) -> str:
    if config.api_key_env is None:
        return NO_KEY
    if not (key := os.environ.get(config.api_key_env)):
        raise UserError(
            f"evaluate.judge: the environment variable {config.api_key_env} is not set; put the key of "
            f"{config.base_url} there, name another variable in evaluate.judge.api_key_env, or set that to null for an "
            "endpoint without keys"
        )
    return key
