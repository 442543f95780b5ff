"""Answer health in each result, and in the report where it is not clean."""

import json
from types import SimpleNamespace

import pytest

from selectit.evaluate.grading.health import answer_health
from selectit.evaluate.results import Item
from selectit.report.sections import health


def item(outputs, outcomes=(), endings=(), truncated=None):
    found = Item("t", 0, {}, "", list(outputs), None, "", 0.0)
    found.outcomes, found.endings, found.truncated = list(outcomes), list(endings), truncated
    return found


def test_shares_are_of_all_answers_and_none_where_nothing_is_known():
    items = [
        item(["", "x"], ["unparsed", "read"], ["end", "limit"], truncated=True),
        item([" \n", "8"], ["unparsed", "read"], ["stop", "end"], truncated=False),
    ]
    assert answer_health(items) == {"empty": 0.5, "unparsed": 0.5, "limit": 0.25, "end": 0.5, "truncated": 0.5}
    assert set(answer_health([item([-1.0, -2.0])]).values()) == {None}


@pytest.mark.parametrize(
    ("name", "known"), [("gsm8k", {"empty", "unparsed"}), ("mmlu", set()), ("alpaca_eval", {"empty"})]
)
def test_every_result_has_its_health(evaluate, name, known):
    _, out = evaluate(name)
    result = json.loads((out / "result.json").read_text())
    health = result["answer_health"]
    assert set(health) == {"empty", "unparsed", "limit", "end", "truncated"}
    assert {key for key in ("empty", "unparsed") if health[key] is not None} == known
    assert health["truncated"] == 0 and len(result["answers_sha256"]) == 64
    if name != "mmlu":
        assert health["limit"] is not None and health["end"] is not None


def result_of(row, benchmark, **shares):
    health = {"empty": 0.0, "unparsed": 0.0, "limit": 0.0, "end": 1.0, "truncated": 0.0, **shares}
    return SimpleNamespace(
        row=SimpleNamespace(label=row), cell=SimpleNamespace(benchmark=benchmark), record={"answer_health": health}
    )


def test_the_report_lists_what_is_not_clean_over_seeds():
    results = [
        result_of("a", "gsm8k", empty=0.1), result_of("a", "gsm8k", empty=0.3, end=0.5), result_of("a", "mmlu"),
        result_of("b", "bbh", limit=0.0001, unparsed=None),
    ]  # fmt: skip
    _, found = health.section(results).parts
    assert found.columns[:2] == ("row", "benchmark")
    assert found.rows == (
        ("a", "gsm8k", "10.0 to 30.0", "0.0", "0.0", "50.0 to 100.0", "0.0"),
        ("b", "bbh", "0.0", "–", "<0.1", "100.0", "0.0"),
    )
