"""What counts as a verdict, in words and in probabilities."""

import math

import pytest

from selectit.evaluate.judge_verdict import verdict_of_logprobs, verdict_of_text
from selectit.evaluate.results import mean_metric


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("M", 1), ("m", 0), (" m\n", 0), ("'M'.", 1), ("**m**", 0),
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]", 0),
        ('[{"model": "model_2", "rank": 1}, {"model": "model_1", "rank": 2}]\n', 1),
        ("", None), ("mM", None), ("Model M", None), ("M is better", None), ("[", None), ("[1, 2]", None),
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 1}]", None),
        ("[{'model': 'model_1', 'rank': 1}, {'model': 'gpt', 'rank': 2}]", None),
        ("[{'model': [1], 'rank': 1}]", None), ("[{'model': 'm', 'rank': 2}, {'model': 'M', 'rank': 1}]", 1),
        ("[{'rank': 1}]", None), ("__import__('os').system('true')", None),
    ],
)  # fmt: skip
def test_a_letter_or_a_ranking_is_a_verdict_and_nothing_else(text, verdict):
    assert verdict_of_text(text) == verdict


@pytest.mark.parametrize(
    ("probabilities", "verdict"),
    [
        ({"m": 0.2, "M": 0.6, "The": 0.1}, 0.75),
        ({"M": 0.01, "The": 0.9}, 1),
        ({"m": 0.9}, 0),
        ({" m": 0.5, "The": 0.5}, None),
        ({}, None),
    ],
)
def test_the_probability_of_M_is_taken_among_m_and_M_and_a_token_that_is_not_listed_counts_nothing(
    probabilities, verdict
):
    found = verdict_of_logprobs([{"token": t, "logprob": math.log(p)} for t, p in probabilities.items()])
    assert found is None if verdict is None else found == pytest.approx(verdict)


def test_a_win_rate_has_the_standard_error_of_a_mean():
    metric = mean_metric([1.0, 0.0, 0.5, 1.0])
    assert metric.value == 0.625 and metric.stderr == pytest.approx(0.4787135538781691 / 2)
