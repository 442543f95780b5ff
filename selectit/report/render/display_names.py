"""How benchmarks and rows are called in a paper's table, which shows no underscores.

Reads and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

BENCHMARKS = {
    "aime24": "AIME 2024", "alpaca_eval": "AlpacaEval", "alpaca_eval_2": "AlpacaEval 2", "amc23": "AMC 2023",
    "arena_hard": "Arena-Hard", "bbh": "BBH", "bigcodebench": "BigCodeBench", "gsm8k": "GSM8K",
    "humaneval": "HumanEval", "humaneval_plus": "HumanEval+", "math500": "MATH-500", "mbpp": "MBPP",
    "mbpp_plus": "MBPP+", "medmcqa": "MedMCQA", "medqa": "MedQA", "minerva": "Minerva", "mmlu": "MMLU",
    "mmlu_medical": "MMLU medical", "olympiadbench": "OlympiadBench", "tydiqa": "TyDiQA",
    **{
        f"wmt22_{pair}{metric}": f"WMT22 {pair.replace('_', '-')}{metric.replace('_comet', ' (COMET)')}"
        for pair in ("de_en", "en_de", "en_zh", "zh_en") for metric in ("", "_comet")
    },
}  # fmt: skip
ROWS = {"selectit": "SelectIT", "ifd": "IFD"}


def column_names(columns: Sequence[str]) -> list[str]:
    return _distinct(columns, BENCHMARKS)


def row_names(labels: Sequence[str]) -> list[str]:
    return _distinct(labels, ROWS)


def _distinct(names: Sequence[str], known: dict[str, str]) -> list[str]:
    """As shown; names that would be shown alike stay as they are."""
    shown = [_shown(name, known) for name in names]
    times = Counter(shown)
    return [own if times[own] == 1 else name for own, name in zip(shown, names, strict=True)]


def _shown(name: str, known: dict[str, str]) -> str:
    """What stands in brackets, a judge or a point of the grid, stays as it is."""
    base, bracket, rest = name.partition(" (")
    return known.get(base, base.replace("_", " ")) + bracket + rest
