"""The statistics behind a verdict on a published number, against scipy's own tests and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from selectit.statistics.equivalence import (
    Error,
    compare,
    error_of_mean,
    error_of_published,
    item_deviation,
    items_needed,
    joined,
    seeds_needed,
)

RUNS = [53.1, 54.0, 52.6, 53.5]


@pytest.mark.parametrize("published", [51.0, 52.2, 53.3, 54.9, 56.0])
def test_one_sample_verdicts_are_those_of_scipys_two_one_sided_tests(published):
    found = compare(float(np.mean(RUNS)) - published, [error_of_mean(RUNS)], margin=2.0)
    above = stats.ttest_1samp(RUNS, published - 2, alternative="greater").pvalue
    below = stats.ttest_1samp(RUNS, published + 2, alternative="less").pvalue
    two_sided = stats.ttest_1samp(RUNS, published)
    interval = two_sided.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low - published, interval.high - published))
    assert (found.verdict == "agrees") == (max(above, below) < 0.05)
    assert found.significant == (two_sided.pvalue < 0.05)


@pytest.mark.parametrize(
    ("published", "std", "number"), [(52.0, 0.4, 3), (53.0, 1.9, 5), (54.4, 0.2, 2), (57.0, 0.6, 3)]
)
def test_with_a_published_error_the_tests_are_welchs(published, std, number):
    theirs = error_of_published(std, number)
    found = compare(float(np.mean(RUNS)) - published, [error_of_mean(RUNS), theirs], margin=2.0)
    ours = (np.mean(RUNS), np.std(RUNS, ddof=1), len(RUNS))

    def p(shift: float, alternative: str) -> float:
        other = (published + shift, std, number)
        return stats.ttest_ind_from_stats(*ours, *other, equal_var=False, alternative=alternative).pvalue

    assert (found.verdict == "agrees") == (max(p(-2, "greater"), p(2, "less")) < 0.05)
    assert found.significant == (p(0, "two-sided") < 0.05)


def test_joined_errors_have_welchs_degrees_of_freedom():
    a, b = Error(0.3, 2), Error(0.1, 4)
    error, freedom = joined([a, b])
    assert error == pytest.approx(0.4**0.5)
    assert freedom == pytest.approx((0.3 + 0.1) ** 2 / (0.3**2 / 2 + 0.1**2 / 4))
    assert joined([a])[1] == pytest.approx(2)


@pytest.mark.parametrize(
    ("difference", "spread", "verdict", "significant"),
    [
        (0.0, 0.1, "agrees", False),
        (1.0, 0.1, "agrees", True),  # a difference is shown, and it is smaller than the margin
        (1.95, 0.1, "differs", True),
        (9.0, 0.5, "differs", True),
        (0.0, 3.0, "too imprecise to tell", False),
        (4.0, 3.0, "too imprecise to tell", False),
    ],
)
def test_the_verdicts_exclude_each_other(difference, spread, verdict, significant):
    found = compare(difference, [error_of_mean([-spread, 0.0, spread])], margin=2.0)
    assert (found.verdict, found.significant) == (verdict, significant)


@pytest.mark.parametrize(("number", "theirs"), [(3, None), (5, None), (3, 3), (4, 5)])
@pytest.mark.parametrize("deviation", [0.3, 1.5])
def test_at_the_margin_a_false_agreement_is_said_in_at_most_one_of_twenty_tables(number, theirs, deviation):
    """The true difference is the margin, 2 points; with Welch's approximation, within the simulation's error."""
    rng = np.random.default_rng([number, theirs or 0, int(10 * deviation)])
    tables = 2000
    ours = rng.normal(52.0, deviation, (tables, number))
    published = rng.normal(50.0, deviation, (tables, theirs)) if theirs else np.full((tables, 1), 50.0)
    agreed = 0
    for own, other in zip(ours, published, strict=True):
        their_error = error_of_published(float(np.std(other, ddof=1)), theirs) if theirs else None
        errors = [error_of_mean(own.tolist()), *([their_error] if their_error else [])]
        agreed += compare(own.mean() - other.mean(), errors, margin=2.0).verdict == "agrees"
    assert agreed / tables <= 0.05 + 3 * (0.05 * 0.95 / tables) ** 0.5


def test_runs_that_are_all_equal_are_as_uncertain_as_one_item_in_one_run():
    assert error_of_mean([25.0] * 3, resolution=100 / 12).variance == pytest.approx(
        np.var([0, 0, 100 / 12], ddof=1) / 3
    )
    few = compare(0.0, [error_of_mean([0.0] * 3, resolution=100 / 12)], margin=2.0)
    many = compare(0.0, [error_of_mean([0.0] * 3, resolution=100 / 200)], margin=2.0)
    assert (few.verdict, many.verdict) == ("too imprecise to tell", "agrees")
    spread = [10.0, 12.0, 14.0]  # a real spread is not touched
    assert error_of_mean(spread, resolution=0.5).variance == pytest.approx(np.var(spread, ddof=1) / 3)


@pytest.mark.parametrize(("deviation", "theirs"), [(0.8, None), (2.5, None), (1.2, Error(0.1, 2))])
def test_the_seeds_that_are_named_give_agreement_in_four_of_five_tables(deviation, theirs):
    number = seeds_needed(deviation, 2.0, theirs)
    assert number is not None

    def power(runs: int) -> float:
        rng = np.random.default_rng(7)
        samples = rng.normal(0.0, deviation, (800, runs))
        shift = rng.normal(0.0, theirs.variance**0.5, 800) if theirs else np.zeros(800)
        errors = [theirs] if theirs else []
        found = [
            compare(s.mean() + d, [error_of_mean(s.tolist()), *errors], 2.0)
            for s, d in zip(samples, shift, strict=True)
        ]
        return float(np.mean([one.verdict == "agrees" for one in found]))

    assert power(number) > 0.75
    assert number == 3 or power(number - 1) < 0.85


def test_no_number_of_seeds_or_items_is_named_where_the_published_error_alone_is_too_large():
    wide = Error(4.0, 2)
    assert seeds_needed(0.5, 2.0, wide) is None
    assert items_needed(3.0, 200, 2.0, 3, wide) == 0


def test_items_that_are_named_are_the_fewest_that_are_enough():
    deviation = item_deviation(25.0, 12)
    share = (3 + 2) / (12 + 4)
    assert deviation == pytest.approx(100 * (share * (1 - share) / 12) ** 0.5)
    needed = items_needed(deviation, 12, 2.0, 3)
    tails = stats.t.ppf(0.95, 2) + stats.t.ppf(0.9, 2)

    def reach(items: int) -> float:
        return tails * deviation * (12 / items / 3) ** 0.5

    assert reach(needed) < 2.0 <= reach(needed - 1)
    assert item_deviation(0.0, 200) > 0  # no answer right does not mean that none ever is
