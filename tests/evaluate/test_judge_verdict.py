"""What counts as a verdict, in words and in probabilities."""

import math
import time

import pytest

from selectit.evaluate.judge.verdict import verdict_of_game, verdict_of_logprobs, verdict_of_text
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


RANKING = "[{'model': 'model_1', 'rank': %s}, {'model': 'model_2', 'rank': %s}]"
JSON = '[{"model": "M", "rank": 1}, {"model": "m", "rank": 2}]'
AS_WRITTEN = {
    # a letter, and what judges put around it
    "M\n\nBecause m leaves the second question open.": 1,
    "m.": 0,
    "**M**": 1,
    "M\n": 1,
    " `m` ": 0,
    "(M)": 1,
    '"M"': 1,
    "“m”": 0,
    "[[M]]": 1,
    "__m__": 0,
    "M,": 1,
    "M!": 1,
    "\\boxed{M}": 1,
    "$\\boxed{\\text{m}}$": 0,
    "<answer>M</answer>": 1,
    "```\nM\n```": 1,
    "```m```": 0,
    "> M": 1,
    "m\r\n\r\nThe first is right.": 0,
    "M. It names the capital, as was asked.": 1,
    "**m.** Both are short.": 0,
    "m, because it is right": 0,
    "M because the other is wrong.": 1,
    "M - since it is complete": 1,
    # a letter that is named as the verdict
    "Final answer: M": 1,
    "**Final verdict:** m": 0,
    "The better assistant is M.": 1,
    "The better output is: **m**": 0,
    "Answer: m": 0,
    "Verdict: M\n\nReasons follow.": 1,
    "Both name Paris, and m says no more.\n\nTherefore, the better assistant is m.": 0,
    "Let us compare.\n\nM": 1,
    "I prefer M.": 1,
    "I would choose output m": 0,
    "Winner = M": 1,
    "My final choice is assistant M.": 1,
    '{"winner": "M"}': 1,
    '{"verdict": "M", "reason": "m is too long"}': 1,
    '```json\n{"reason": "M is long, and m right.", "winner": "m"}\n```': 0,
    '```json\n{\n  "reason": "m is wrong",\n  "verdict": "M"\n}\n```': 1,
    "Overall, the preferred answer is m": 0,
    "M\n\nAll in all, so the winner is M.": 1,
    "M\n\nThe worse answer is m, and the answer of m is short.": 1,
    # rankings
    RANKING % (1, 2): 0,
    RANKING % (2, 1): 1,
    RANKING % ("'1'", "'2'"): 0,
    JSON: 1,
    f"```json\n{JSON}\n```": 1,
    f"```python\n{RANKING % (2, 1)}\n```": 1,
    f"Here is the ranking:\n{JSON}\nM explains more.": 1,
    JSON.replace("}, {", "},\n    {").replace("[{", "[\n    {"): 1,
    f"{JSON}\n\n{JSON}": 1,
    # thoughts
    "<think>m, no, M. [[m]]\nm</think>M": 1,
    "So m it is?</think>\n\nM": 1,
    "<THINKING>m</THINKING>\n\nm": 0,
    "<think></think>\nM": 1,
}
SAYS_NOTHING = [
    "",
    " \n",
    "mM",
    "M m",
    "m/M",
    "m or M",
    "M\nm",
    "M\n\nOn reflection, the better assistant is m.",
    "If only style counted, the winner is m.",
    '{"verdict": "M", "winner": "m"}',
    '{"verdict": "neither", "reason": "M and m are alike"}',
    "M\n\nThough in the end I think that the better one is m, by a little.",
    "m. Short. M. Long.",
    "M?",
    "Is it M?",
    "M is better",
    "Model M",
    "Output M is longer",
    "M's answer",
    "The worst answer is m",
    "Worse: m",
    "the loser is M",
    "Not M",
    "The answer is not M.",
    "The answer is M or m.",
    "The answer is m. No, the answer is M.",
    "model: M",
    '{"loser": "M"}',
    "Output of m: short",
    "Answer m: it is short.",
    "Assistant m is right.\nAssistant M is wrong.",
    "\u041c",
    "A",
    "N",
    "Tie",
    "I cannot decide.",
    "<think>M",
    "<think>\nM\n",
    "M<think>so</think>\nm",
    RANKING % (1, 1),
    RANKING % (1, 3),
    RANKING % (True, 2),
    RANKING % ([1], [2]),
    RANKING % (1.5, 2),
    RANKING % ("None", 2),
    f"{JSON} or {RANKING % (1, 2)}",
    f"m\n\n{JSON}",
    JSON.replace("]", ', {"model": "M", "rank": 2}]'),
    JSON.replace('"m"', '"x"'),
    JSON[:-1],
    '[{"model": "M"}]',
    "[{}]",
    "[1, 2]",
    "[{'model': 'model_1', 'rank': 1}]",
    "[" * 100_000,
    "[{" * 50_000,
    "{" * 100_000,
    "<think>" * 50_000 + "M",
    "[{'a': '\\d'}]",
    "[{" + "1" * 9000 + "}]",
    "[{'model': {}, 'rank': 1}, {'model': [], 'rank': 2}]",
    " " * 100_000,
    "*" * 100_000,
    "M" * 100_000,
    "m, " * 50_000,
    "the " * 50_000,
    "[ {" * 30_000,
]


@pytest.mark.parametrize("text", AS_WRITTEN, ids=lambda text: repr(text[:50]))
def test_a_verdict_is_read_as_judges_write_it(text):
    assert verdict_of_text(text) == AS_WRITTEN[text]


@pytest.mark.parametrize("text", SAYS_NOTHING, ids=lambda text: repr(text[:50]))
def test_a_text_without_one_verdict_is_not_guessed_at_and_costs_no_time(text):
    started = time.monotonic()
    assert verdict_of_text(text) is None and verdict_of_game(text) is None
    assert time.monotonic() - started < 2


GAMES_AS_WRITTEN = {
    "My verdict: [[A>>B]]": "A>>B",
    "[[A > B]]": "A>B",
    "[[A>>B]].": "A>>B",
    "**[[B>A]]**": "B>A",
    "[[**A=B**]]": "A=B",
    "[[ B >> A ]]": "B>>A",
    "[[A≫B]]": "A>>B",
    "[[A&gt;B]]": "A>B",
    "\\[\\[A\\>B\\]\\]": "A>B",
    "$[[A \\gg B]]$": "A>>B",
    "[[A<B]]": "B>A",
    "[[A<<B]]": "B>>A",
    "[[B=A]]": "A=B",
    "[[a>b]]": "A>B",
    "so [[A>>B]], I say [[A >> B]]": "A>>B",
    "The verdict is [B>A].": "B>A",
    "[see above] and [1]: [[A=B]]": "A=B",
    "<think>[[A>B]]? No.</think>[[B>>A]]": "B>>A",
    "[[`A>B`]]\n": "A>B",
    "[[A>B]] as A is right [2]": "A>B",
}
NO_GAMES = [
    "",
    "A>B",
    "A is much better",
    "[[A]]",
    "[[A>C]]",
    "[[A>A]]",
    "[[A>>>B]]",
    "[[A=>B]]",
    "[[A>B]] or [[B>A]]",
    "[[A>B]] or [[A>>B]]",
    "<think>[[A>B]]",
    "[[A>>B]] [[A>B]] [[A=B]] [[B>A]] [[B>>A]]",
    "[[tie]]",
    "[A>B] or [B>A]",
    "[[" * 50_000,
    "[[A>B",
]


@pytest.mark.parametrize("text", GAMES_AS_WRITTEN, ids=repr)
def test_a_game_is_read_as_judges_write_it(text):
    assert verdict_of_game(text) == GAMES_AS_WRITTEN[text]


@pytest.mark.parametrize("text", NO_GAMES, ids=lambda text: repr(text[:50]))
def test_a_game_that_is_not_said_or_said_in_two_ways_is_none(text):
    assert verdict_of_game(text) is None


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
