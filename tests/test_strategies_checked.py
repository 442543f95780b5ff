"""What a strategy from outside gives back is checked before anything of it is written, and what it raises is named."""

from __future__ import annotations

import json

import pytest
from finished_work import call

HEAD = '''
from typing import Literal

import numpy as np

from selectit.config import ArmConfig, NeedsLosses, NeedsRatings
from selectit.selection.strategy import Candidates, RatioStrategy, Scored


class MineSelect(RatioStrategy):
    """Mine."""

    strategy: Literal["mine"]

    def score_name(self):
        return "mine"

    def sentence(self, arm):
        return "mine"

    def scores(self, pool):
        n = len(pool)
        return Scored(np.arange(n))
'''
POSITIONS = """
    def arranged(self, order, num_eligible, count):
        return """

GIVEN = {
    "too few": ("Scored([1.0] * 5)", "gave scores of shape (5,) for 8 rows"),
    "two columns": ("Scored(np.ones((n, 2)))", "gave scores of shape (8, 2) for 8 rows"),
    "not a number": ("Scored([float('nan')] + [1.0] * 7)", "gave row 0 the score nan and no reason (1 such row)"),
    "none": ("Scored([1.0] * 7 + [None])", "gave row 7 the score nan and no reason"),
    "infinite": ("Scored([1] * 6 + [float('inf')] * 2)", "gave row 6 the score inf and no reason (2 such rows)"),
    "texts": ("Scored(['1'] * n)", "scores must be numbers, one for each row (found '1')"),
    "complex": ("Scored([1j] * n)", "scores must be numbers"),
    "bare": ("[1.0] * n", "scores gave a list; it must give a Scored"),
    "a failure beyond the pool": ("Scored([1.0] * n, {8: 'gone'})", "failures names row 8; rows are 0 to 7"),
    "a rule from behind": ("Scored([1.0] * n, left_out={-1: 'x'})", "left_out names row -1"),
    "no reason": ("Scored([1.0] * n, {2: ''})", "failures gives row 2 the reason ''; it must be one word"),
    "a hidden number": ("Scored([1.0] * n, record={'num_rows': 3})", "selection.json has the key num_rows already"),
    "a hidden score": ("Scored([1.0] * n, details=lambda at: {'score': 3})", "scores.jsonl has the key score already"),
    "an order of three": ("Scored([1.0] * n)" + POSITIONS + "order[:3]", "arranged must give each of the 8 positions"),
    "one row twice": ("Scored([1.0] * n)" + POSITIONS + "[order[0]] * len(order)", "arranged must give each of the 8"),
    "a failed row first": (
        "Scored([1.0] * n, {0: 'bad'})" + POSITIONS + "order[::-1]",
        "arranged put a row without a score among the 4 first",
    ),
    "more than have a score": (
        "Scored([1.0] * n, {0: 'bad'})\n    def count(self, num_rows, num_eligible):\n        return num_rows",
        "count gave 8; it must be a whole number from 1 to 7, the rows that have a score",
    ),
    "half a row": ("Scored([1.0] * n)\n    def count(self, *sizes):\n        return 2.5", "count gave 2.5"),
    "no row": ("Scored([1.0] * n)\n    def count(self, *sizes):\n        return 0", "count gave 0"),
}  # fmt: skip


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """From code of the plugin to what `selectit select` prints, over a pool of 8 rows."""
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": f"Say {at}.", "input": "", "output": "a" * (at + 1)} for at in range(8)]
    (tmp_path / "pool.json").write_text(json.dumps(rows))

    def select(code: str, rc: int = 1) -> str:
        (tmp_path / "mine.py").write_text(code)
        return call(
            "select", "pool.json", "--plugin", "mine.py", "--strategy", "mine", "--ratio", "0.5", "--out", "out.json",
            "--scores", "scores.jsonl", rc=rc,
        )  # fmt: skip

    return select


@pytest.mark.parametrize("name", GIVEN)
def test_what_a_strategy_gives_is_checked_before_it_is_written(mine, tmp_path, name):
    given, wanted = GIVEN[name]
    told = " ".join(mine(HEAD.replace("Scored(np.arange(n))", given)).split())
    assert wanted in told and "strategy mine" in told
    assert not (tmp_path / "out.json").exists()


def test_whole_numbers_and_arrays_are_scores(mine, tmp_path):
    for given in ("Scored(np.arange(n))", "Scored(list(range(n)))", "Scored(range(n), {np.int64(7): 'bad'})"):
        (tmp_path / "out.json").unlink(missing_ok=True)
        (tmp_path / "scores.jsonl").unlink(missing_ok=True)
        mine(HEAD.replace("Scored(np.arange(n))", given), rc=0)
        lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
        assert [line["row"] for line in lines if line["selected"]] == ([3, 4, 5, 6] if "bad" in given else [4, 5, 6, 7])
