"""What a person sees while rows are rated: texts and tokens per second, the time left, and how the ratings fall.

Draws the progress bar; appends running numbers to metrics.jsonl (and W&B) every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import psutil

from selectit.config import NUM_RATINGS
from selectit.scoring.ledger import Record
from selectit.tracking import Advance, Tracker

LOG_SECONDS = 20
BINS = np.linspace(1, NUM_RATINGS, 41)
"""Of the histogram of expected ratings."""


class Watch:
    """Counts what is written down.

    Args:
        rater: name of the model, for the bar.
        num_prompts: rating prompts of the stage.
    """

    def __init__(self, tracker: Tracker, advance: Advance, rater: str, num_prompts: int) -> None:
        self._tracker, self._advance, self._rater, self._num_prompts = tracker, advance, rater, num_prompts
        self._started = self._logged = time.monotonic()
        self._tokens_logged = self._num_done = 0
        self._counts = np.zeros(len(BINS) - 1, dtype=np.int64)
        self._sums = np.zeros(2)  # of the expected rating, of the mass
        self.num_tokens = 0
        """Tokens rated by this process, those of prefixes that are shared included."""
        self.peak_memory_mb = _memory_mb()
        """Highest sampled memory of this process and those it forked, shared pages counted once."""

    def done(self, num_records: int) -> None:
        """Records that are on disk already or are reused."""
        self._num_done += num_records
        self._advance(num_records)

    def rated(self, records: Sequence[Record], num_tokens: int) -> None:
        """Args: num_tokens: of the distinct texts behind the records."""
        if not self.num_tokens:  # all processes are at work by now, as they may not be when a short run is over
            self.peak_memory_mb = max(self.peak_memory_mb, _memory_mb())
        self.num_tokens += num_tokens
        self._num_done += len(records)
        ratings = np.array([r.probabilities for r in records if r.probabilities is not None])
        if len(ratings):
            mass = ratings.sum(axis=1)
            expected = ratings @ np.arange(1, NUM_RATINGS + 1) / mass
            self._counts += np.histogram(expected.clip(1, NUM_RATINGS), BINS)[0]
            self._sums += expected.sum(), mass.sum()
        now = time.monotonic()
        speed = self.num_tokens / max(now - self._started, 1e-9)
        prompt = records[0].prompt
        self._advance(
            len(records),
            description=f"rating with {self._rater}, prompt {prompt + 1} of {self._num_prompts}",
            detail=f"{speed:,.0f} tokens/s",
        )
        if now - self._logged > LOG_SECONDS:
            self.log(prompt)

    def log(self, prompt: int | None = None) -> None:
        """Running numbers: of the time since the last call, the speed; of all that was rated, the ratings."""
        now = time.monotonic()
        self.peak_memory_mb = max(self.peak_memory_mb, _memory_mb())
        num_rated = int(self._counts.sum())
        numbers: dict[str, float | int | str] = {
            "score/texts_done": self._num_done,
            "score/tokens_per_second_now": (self.num_tokens - self._tokens_logged) / max(now - self._logged, 1e-9),
            "score/peak_memory_mb": self.peak_memory_mb,
        }
        if prompt is not None:
            numbers["score/prompt"] = prompt + 1
        if num_rated:
            expected, mass = self._sums / num_rated
            numbers |= {"score/mean_expected_rating": float(expected), "score/running_mean_mass": float(mass)}
        self._tracker.log(numbers, step=self._num_done)
        if num_rated:
            self._tracker.counts("score/expected_rating", self._counts.tolist(), BINS.tolist(), step=self._num_done)
        self._logged, self._tokens_logged = now, self.num_tokens

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / max(time.monotonic() - self._started, 1e-9)


@contextmanager
def watching(tracker: Tracker, total: int, rater: str, num_prompts: int) -> Iterator[Watch]:
    """Args: total: records that there will be."""
    with tracker.progress(f"rating with {rater}", total) as advance:
        watch = Watch(tracker, advance, rater, num_prompts)
        yield watch
        watch.log()


def _memory_mb() -> int:
    me = psutil.Process()
    total = 0
    for process in (me, *me.children(recursive=True)):
        try:
            memory = process.memory_full_info()
        except psutil.Error:  # it has just ended
            continue
        total += getattr(memory, "pss", memory.uss)
    return total // 2**20
