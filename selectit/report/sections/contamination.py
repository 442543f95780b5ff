"""Which selected rows share 13 words in a row with a benchmark's items.

Reads items.jsonl of one evaluation of each benchmark. Words are runs of letters, digits and underscores in lower
case. What all prompts of a task begin with (instructions, worked examples) is not part of an item.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from selectit.config import PoolConfig
from selectit.data.jsonl_columns import read_columns
from selectit.report.render import formats
from selectit.report.section import Listing, Note, Section
from selectit.report.tables.results import Result
from selectit.report.tables.subsets import Subset
from selectit.report.tables.texts import Texts
from selectit.store.names import ITEMS_FILE

NUM_WORDS = 13
"""As in GPT-3's check (Brown et al. 2020, appendix C)."""
WORD = re.compile(r"\w+")
SCHEMA = pa.schema([("task", pa.string()), ("prompt", pa.string()), ("own_text_at", pa.int64())])
"""own_text_at: where a prompt's item begins, behind examples that are not those of every item; mostly not there."""
_SEED = 13
_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Contamination:
    """Per pool and benchmark, the ids of the rows that overlap."""

    rows: Mapping[tuple[PoolConfig, str], frozenset[str]]
    items: Mapping[str, tuple[int, int]]
    """Benchmark -> items with 13 words or more, items."""

    def count(self, subset: Subset, benchmark: str) -> int | None:
        """Overlapping rows of a subset; None where no item of the benchmark is long enough, or none is known."""
        found = self.rows.get((subset.pool, benchmark))
        return None if found is None else len(found & subset.row_ids)


class Grams:
    """Every 13-gram of the texts of a pool, as sorted 64-bit hashes: computed once, asked for each benchmark.

    Two different ones have the same hash about once in 10^5 checks of a whole pool against a whole benchmark.
    Args: texts: words of each text.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        self._id: dict[str, int] = {}
        for words in texts:
            for word in words:
                self._id.setdefault(word, len(self._id))
        values = np.random.default_rng(_SEED).integers(0, 2**64, max(1, len(self._id)), dtype=np.uint64)
        self._value = values
        hashes, text = self._hashes(texts)
        order = np.argsort(hashes, kind="stable")
        self._sorted, self._text = hashes[order], text[order]

    def overlapping(self, items: Sequence[Sequence[str]]) -> np.ndarray:
        """Positions of the texts that share a 13-gram with one of the items, given as words; ascending."""
        wanted = np.unique(self._hashes(items)[0])
        start, end = (np.searchsorted(self._sorted, wanted, side) for side in ("left", "right"))  # type: ignore[call-overload]
        found = [self._text[low:high] for low, high in zip(start, end, strict=True) if high > low]
        return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)

    def _hashes(self, texts: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """The hash of every 13-gram of known words, and the position of its text."""
        get = self._id.get
        ids = np.fromiter(itertools.chain.from_iterable(_with_end(text, get) for text in texts), dtype=np.int64)
        text = np.repeat(np.arange(len(texts)), [len(words) + 1 for words in texts])
        if len(ids) < NUM_WORDS:
            return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
        unknown = np.concatenate([[0], np.cumsum(ids < 0)])
        starts = np.flatnonzero(unknown[NUM_WORDS:] == unknown[:-NUM_WORDS])
        hashes = np.zeros(len(starts), dtype=np.uint64)
        for offset in range(NUM_WORDS):
            hashes = hashes * _BASE + self._value[ids[starts + offset]]
        return hashes, text[starts]


def _with_end(words: Sequence[str], get: Callable[[str, int], int]) -> list[int]:
    """Word ids and a -1 behind them, over which no 13-gram runs; -1 too for a word that is not known."""
    return [*(get(word, -1) for word in words), -1]


def contamination(results: Sequence[Result], texts: Texts) -> Contamination:
    rows, items = {}, {}
    grams = {pool: Grams([_words(text.whole) for text in known.values()]) for pool, known in texts.items()}
    for benchmark, path in _evaluations(results).items():
        asked = [_words(prompt) for prompt in own_prompts(path)]
        num_long = sum(len(words) >= NUM_WORDS for words in asked)
        items[benchmark] = num_long, len(asked)
        for pool, known in texts.items() if num_long else ():
            row_ids = list(known)
            rows[pool, benchmark] = frozenset(row_ids[at] for at in grams[pool].overlapping(asked))
    return Contamination(rows, items)


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def _evaluations(results: Sequence[Result]) -> dict[str, Path]:
    """items.jsonl of the evaluation of each benchmark that has most items."""
    found: dict[str, tuple[int, Path]] = {}
    for result in results:
        if result.artifact is not None:
            one = int(result.record.get("num_items") or 0), result.artifact.path / ITEMS_FILE
            if one[0] > found.get(result.cell.benchmark, (-1,))[0]:
                found[result.cell.benchmark] = one
    return {benchmark: path for benchmark, (_, path) in found.items()}


def own_prompts(path: Path) -> list[str]:
    """Each item's prompt without what all prompts of its task begin with."""
    table = read_columns(path, SCHEMA)
    of_task: dict[str, list[str]] = {}
    for task, prompt, start in zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True):
        of_task.setdefault(task, []).append(prompt[start or 0 :])
    found = []
    for prompts in of_task.values():
        start = shared_words(min(prompts), max(prompts))
        found += [prompt[start:] for prompt in prompts]
    return found


def shared_words(first: str, last: str) -> int:
    """Characters, in whole words, with which the first and the last of sorted texts, and so all, begin.

    0 for equal texts, in which the item cannot be distinguished from what stands before it.
    """
    differing = (at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    end = next(differing, 0 if first == last else len(first))
    return len(re.sub(r"\w*$", "", first[:end]))


def section(found: Contamination, subsets: Sequence[Subset], benchmarks: Sequence[str]) -> Section | None:
    """Share of each arm's rows that overlap with each benchmark, lowest to highest over selection seeds."""
    shares: dict[str, dict[str, list[float | None]]] = {}
    for subset in subsets:
        for benchmark in benchmarks:
            count = found.count(subset, benchmark)
            share = None if count is None else 100 * count / len(subset.row_ids)
            shares.setdefault(subset.row.label, {}).setdefault(benchmark, []).append(share)
    rows = [
        (label, *(formats.spread(own[name], "{:.2f} %".format) for name in benchmarks)) for label, own in shares.items()
    ]
    counted = [f"{name} {long:,} of {count:,}" for name, (long, count) in found.items.items()]
    note = (
        f"Rows of the subset, any turn, that share {NUM_WORDS} words in a row with an item of the benchmark (its "
        "prompt without what all prompts of its task begin with; not its answer). Only items of that many words can be "
        "found: "
        f"{', '.join(counted)}. A dash: none is long enough."
    )
    listing = Listing(("arm", *benchmarks), tuple(rows))
    return Section("Rows that overlap with a benchmark", (listing, Note(note))) if rows else None
