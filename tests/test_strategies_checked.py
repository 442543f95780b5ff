"""What a strategy from outside gives back is checked before anything of it is written, what it raises is named with
file and line, and what its class cannot have is found when its file is read.
"""

from __future__ import annotations

import json

import pytest
from finished_work import call

HEAD = '''
from typing import Literal

import numpy as np

from selectit.config import ArmConfig, NeedsArm, NeedsLosses, NeedsRatings
from selectit.selection.strategy import Candidates, RatioStrategy, Scored


class MineSelect(RatioStrategy):
    """Mine."""

    strategy: Literal["mine"]
    letter: str = "b"
    """A field."""

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
    "taken twice": ("Scored([1.0] * n, taken=[1, 1])", "each once, at least one"),
    "taken nothing": ("Scored([1.0] * n, taken=[])", "each once, at least one"),
    "taken without a score": ("Scored([1.0] * n, {2: 'bad'}, taken=[1, 2])", "taken names a row that has no score"),
    "taken beyond the pool": ("Scored([1.0] * n, taken=[8])", "taken names a row that has no score"),
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
    "a mapping": ("Scored({i: 1.0 for i in range(n)})", "scores must be numbers, one for each row (found a dict)"),
    "a set": ("Scored({1.0, 2.0})", "scores must be numbers, one for each row (found a set)"),
    "masked": ("Scored(np.ma.masked_array(np.ones(n), mask=[0] * 7 + [1]))", "gave row 7 the score nan and no reason"),
    "too large": ("Scored([10 ** 400] * n)", "scores must be numbers, one for each row (int too large"),
    "a gradient": ("Scored(__import__('torch').ones(n, requires_grad=True))", "scores must be numbers, one for each r"),
    "a list of failures": ("Scored([1.0] * n, ['bad'])", "failures is a list; it must be a mapping from a row's posit"),
    "a reason of two lines": ("Scored([1.0] * n, {1: 'a\\nb'})", "failures gives row 1 the reason 'a\\nb'; it must be"),
    "details in a list": ("Scored([1.0] * n, details=[{}])", "details is a list; it must be a function from a row's"),
    "details of nothing": ("Scored([1.0] * n, details=lambda at: None)", "adds to scores.jsonl is None; it must be a"),
    "a detail that is NaN": ("Scored([1.0] * n, details=lambda at: {'x': np.nan})", "x of scores.jsonl is nan, which"),
    "a record in a list": ("Scored([1.0] * n, record=[3])", "adds to selection.json is [3]; it must be a mapping"),
    "a key that is a number": ("Scored([1.0] * n, record={3: 1})", "it must be a mapping whose keys are texts"),
    "a record that is NaN": ("Scored([1.0] * n, record={'x': float('nan')})", "x of selection.json is nan, which JSON"),
    "a record with a set": ("Scored([1.0] * n, record={'x': {1}})", "x of selection.json is {1}, which JSON does not"),
    "an order of lists": ("Scored([1.0] * n)" + POSITIONS + "[[1], [2, 3]]", "arranged must give each of the 8"),
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


def test_numpys_numbers_are_numbers_of_a_record_and_of_a_detail(mine, tmp_path):
    given = (
        "Scored(np.arange(n), record={'x': np.int64(3), 'y': np.arange(2)}, details=lambda at: {'z': np.float32(.5)})"
    )
    mine(HEAD.replace("Scored(np.arange(n))", given), rc=0)
    [selection] = (tmp_path / "runs" / "artifacts").glob("*/selection.json")
    assert {"x": 3, "y": [0, 1]}.items() <= json.loads(selection.read_text()).items()
    assert json.loads((tmp_path / "scores.jsonl").read_text().splitlines()[0])["z"] == 0.5


RAISING = "\n    def {}(self, *given):\n        return 1 / 0\n"
EARLY = ("needs", "check_arm", "check_size", "count", "arranged", "preflight", "sentence", "score_name")
"""Methods that are called before anything is run."""


@pytest.mark.parametrize("method", [*EARLY, "scores", "notes"])
def test_what_a_method_raises_is_named_with_its_line(mine, method):
    code = HEAD + RAISING.format(method)
    line = len(code.splitlines())
    told = " ".join(mine(code).split())
    assert f"mine.py, line {line}: strategy mine: {method} raised ZeroDivisionError: division by zero" in told
    assert ("[1/1]" not in told) == (method in EARLY)


def test_a_detail_that_raises_and_an_exit_are_named_with_their_line(mine):
    for given, wanted in (
        ("Scored(np.arange(n), details=lambda at: {}['x'])", "details raised KeyError: 'x'"),
        ("__import__('sys').exit(4)", "scores raised SystemExit: 4"),
    ):
        code = HEAD.replace("Scored(np.arange(n))", given)
        assert f"mine.py, line {len(code.splitlines())}: strategy mine: {wanted}" in " ".join(mine(code).split())


STATED = {
    "needs of a text": (
        "needs",
        "['ratings']",
        "needs gave ['ratings']; it must give a tuple of NeedsRatings, NeedsLosses",
    ),
    "no needs": ("needs", "None", "needs gave None; it must give a tuple"),
    "losses of no text": (
        "needs",
        "(NeedsLosses('x', 'all'),)",
        "text: Input should be 'conditioned', 'marker' or 'bare'",
    ),
    "a name that is a path": ("needs", "(NeedsLosses('../x', 'bare'),)", "name must be one word in lower case"),
    "no prompt": ("needs", "(NeedsRatings(0),)", "num_prompts must be 1 or more, or None"),
    "no such reading": ("needs", "(NeedsRatings(1, 'mine'),)", "fidelity: Input should be 'paper', 'released_code' or"),
    "ratings twice": ("needs", "(NeedsRatings(1), NeedsRatings(2))", "needs gave NeedsRatings twice"),
    "one name twice": ("needs", "(NeedsLosses('x', 'bare'), NeedsLosses('x', 'marker'))", "two needs of the name x"),
    "no such field": ("needs", "(NeedsArm('other', 'full'),)", "one of its fields (strategy, ratio,"),
    "an axis of a number": ("score_name", "3", "score_name gave 3; it must give a text or None"),
    "no sentence": ("sentence", "''", "sentence gave ''; it must give a text"),
    "notes of letters": ("notes", "'abc'", "notes gave 'abc'; it must give a list of texts"),
    "notes of numbers": ("notes", "[3]", "notes gave [3]; it must give a list of texts"),
}


@pytest.mark.parametrize("name", STATED)
def test_what_a_strategy_states_of_itself_is_checked(mine, name):
    method, given, wanted = STATED[name]
    told = " ".join(mine(f"{HEAD}\n    def {method}(self, *given):\n        return {given}\n").split())
    assert wanted in told and "strategy mine" in told


@pytest.mark.parametrize(
    ("read", "wanted"),
    [
        ("pool.seed", "its class needs draws = True"),
        ("pool.tokenizer()", "give NeedsTokenizer() there (asked for: nothing)"),
        (
            "pool.losses('x')",
            "reads pool.losses('x'), and its `needs` does not ask for that; give NeedsLosses('x', ...)",
        ),
        ("pool.taken_by('x')", "give NeedsArm('x', self.x) there"),
    ],
)
def test_what_a_strategy_did_not_ask_for_is_named(mine, read, wanted):
    assert wanted in " ".join(mine(HEAD.replace("Scored(np.arange(n))", read)).split())


FIELD = '    letter: str = "b"\n'
CLASSES = {
    "a list": (
        "    letter: list[int] = [1]\n",
        "field letter: [1] is a list, which a fingerprint does not take; annotate",
    ),
    "a set": ("    letter: set[int] = {1}\n", "is a set, which a fingerprint does not take"),
    "a function": ("    letter: object = len\n", "is a builtin_function_or_method, which a fingerprint does not take"),
    "NaN": ("    letter: float = float('nan')\n", "nan is a float, which a fingerprint does not take"),
    "another default": (
        "    letter: int = 'x'\n",
        "field letter: its default 'x' is wrong (Input should be a valid int",
    ),
    "a name from nowhere": (
        "    letter: 'Nowhere' = 3\n",
        "annotations cannot be read (name 'Nowhere' is not defined)",
    ),
    "a later default": ("    later_defaults = {'x': 3}\n" + FIELD, "later_defaults names x, which is not a field"),
    "a method for all": (FIELD, "sentence must be a method, def sentence(self, ...)"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_what_a_class_cannot_have_is_found_when_the_file_is_read(mine, name):
    field, wanted = CLASSES[name]
    code = HEAD.replace(FIELD, field)
    if name == "a method for all":
        code = code.replace("    def sentence(self, arm)", "    @staticmethod\n    def sentence(arm)")
    assert wanted in " ".join(mine(code).split())
    assert wanted in " ".join(call("strategies", "--plugin", "mine.py", rc=1).split())


def test_a_value_without_a_stable_form_and_a_validator_that_raises_are_faults_of_the_recipe(mine):
    mine(HEAD.replace(FIELD, "    letter: object = 3\n"), rc=0)
    asked = ("select", "pool.json", "--plugin", "mine.py", "--strategy", "mine", "--out", "o.json", "--set")
    assert "field letter: [1, 2] is a list, which a" in call(*asked, "letter=[1, 2]", rc=1)
    mine(HEAD.replace(FIELD, "    letter: int\n"), rc=1)
    check = "    @__import__('pydantic').field_validator('letter')\n    def check(cls, value): return 1 / value\n"
    mine(
        HEAD.replace("    def score_name", check + "    def score_name", 1).replace(FIELD, "    letter: int = 1\n"),
        rc=0,
    )
    told = call(*asked, "letter=0", rc=1)
    assert "select: plugin" in told and "reading the fields raised ZeroDivisionError: division by zero" in told
    assert "Traceback" not in told


def test_a_list_of_strategies_is_there_whatever_one_needs(mine, tmp_path):
    (tmp_path / "mine.py").write_text(
        HEAD.replace(FIELD, "    letter: int\n") + "    def needs(self): return (NeedsRatings(self.letter + 1),)\n"
    )
    assert "Mine." in call("strategies", "--plugin", "mine.py")
