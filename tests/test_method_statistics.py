"""Inference over training seeds and items: against scipy, a slow bootstrap, and simulated tables of equal methods."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from selectit.statistics import ALPHA
from selectit.statistics.equivalence import Error
from selectit.statistics.item_error import item_error
from selectit.statistics.items import item_weights, make_units
from selectit.statistics.method import Spread, detectable, infer, is_equivalent, spread
from selectit.statistics.power import Planned, items_needed, seeds_needed
from selectit.statistics.seed_error import RowValues, is_by_run, lacks_draws, own_error, seed_error

OURS, THEIRS = np.array([41.0, 43.5, 44.0, 40.0]), np.array([40.0, 41.0, 44.5, 38.0])


def rng(seed=0):
    return np.random.default_rng(seed)


def runs(values, first=0, select=0) -> RowValues:
    return RowValues(tuple((select, first + at) for at in range(len(values))), np.asarray(values, dtype=float))


def over_seeds(one: RowValues, other: RowValues):
    found = seed_error(one, other)
    assert found is not None
    return infer(found.difference, Spread(found.errors)), found


def test_shared_training_seeds_are_a_paired_t_test():
    tested, found = over_seeds(runs(OURS), runs(THEIRS))
    reference = scipy.stats.ttest_rel(OURS, THEIRS)
    interval = reference.confidence_interval(0.95)
    assert (tested.p, tested.low, tested.high) == pytest.approx((reference.pvalue, interval.low, interval.high))
    assert found.paired and found.num_seeds == 4


def test_other_training_seeds_are_welchs_t_test():
    tested, found = over_seeds(runs(OURS), runs(THEIRS, first=10))
    reference = scipy.stats.ttest_ind(OURS, THEIRS, equal_var=False)
    assert tested.p == pytest.approx(reference.pvalue) and found.errors[0].freedom == pytest.approx(reference.df)
    assert not found.paired and found.num_seeds == 4


@pytest.mark.parametrize(("few", "many", "ratio"), [(2, 5, 1), (2, 5, 3), (2, 10, 1), (3, 5, 3), (3, 10, 2)])
def test_rows_with_unequal_numbers_of_seeds_keep_the_level(few, many, ratio):
    """Welch's test calls 5 to 10 % of them different, the most where the row with few seeds spreads more."""
    draw, tables = rng([few, many, ratio]), 1_000
    words = welch = 0
    for _ in range(tables):
        one, other = draw.normal(0, ratio, few), draw.normal(0, 1, many)
        found = seed_error(runs(one), runs(other, first=10))
        words += abs(found.difference) > Spread(found.errors).reach(ALPHA)
        welch += scipy.stats.ttest_ind(one, other, equal_var=False).pvalue < ALPHA
    assert words / tables <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / tables) ** 0.5
    assert words < welch


def test_seeds_that_only_one_row_has_are_left_out_of_the_pairs():
    tested, found = over_seeds(runs(OURS), runs(THEIRS[:3]))
    assert tested.p == pytest.approx(scipy.stats.ttest_rel(OURS[:3], THEIRS[:3]).pvalue) and found.num_seeds == 3


def test_a_model_without_training_is_a_constant_on_either_side():
    fixed = RowValues((), np.array([39.0]))
    reference = scipy.stats.ttest_1samp(OURS, 39.0).pvalue
    one, other = over_seeds(runs(OURS), fixed), over_seeds(fixed, runs(OURS))
    assert one[0].p == pytest.approx(reference) and other[0].p == pytest.approx(reference)
    assert one[0].difference == pytest.approx(-other[0].difference)
    assert seed_error(fixed, fixed) is None


@pytest.mark.parametrize("base", [runs([40.0]), runs([40.0, 41.0]), RowValues((), np.array([40.0]))])
def test_one_training_seed_is_not_about_the_method(base):
    assert seed_error(runs([45.0]), base) is None and seed_error(base, runs([45.0])) is None
    assert seed_error(RowValues(((1, 1), (2, 1), (3, 1)), np.array([41.0, 43.0, 45.0])), base) is None


def test_three_seeds_of_which_one_is_far_off_are_not_a_better_method():
    tested, _ = over_seeds(runs([100.0, 37.5, 37.5]), runs([37.5, 37.5, 37.5]))
    assert tested.p == pytest.approx(scipy.stats.ttest_rel([100, 37.5, 37.5], [37.5] * 3).pvalue) and tested.p > 0.4


def test_crossed_selection_seeds_are_averaged_and_their_draw_is_added():
    grid = np.array([[30.0, 31.0, 33.0], [40.0, 42.0, 41.5]])  # [select, train]: the draw matters most
    crossed = RowValues(tuple(itertools.product((0, 1), range(3))), grid.ravel())
    [own] = own_error(crossed)
    assert own.variance > np.var(grid.mean(axis=0), ddof=1) / 3
    draws = 3 * np.var(grid.mean(axis=1), ddof=1)
    rest = grid - grid.mean(axis=1, keepdims=True) - grid.mean(axis=0) + grid.mean()
    expected = np.var(grid.mean(axis=0), ddof=1) / 3 + (draws - (rest**2).sum() / 2) / 6
    assert own.variance == pytest.approx(expected)
    assert seed_error(crossed, runs(THEIRS[:3])).errors[0].freedom == 1  # two draws of the subset


def test_too_few_runs_of_every_draw_are_not_about_the_method():
    """Without an error of the draw, rows that differ by their draws alone are called different."""
    other = runs(THEIRS[:3], select=7)
    whole = RowValues(tuple(itertools.product((0, 1), range(3))), np.arange(6.0))
    missing = RowValues(((0, 0), (1, 0), (0, 1), (0, 2)), np.arange(4.0))  # one training seed has both draws
    in_step = RowValues(((0, 0), (1, 1), (2, 2)), np.arange(3.0))
    assert [lacks_draws(one) for one in (whole, missing, in_step, other)] == [False, True, False, False]
    assert seed_error(missing, other) is None and seed_error(other, missing) is None
    assert seed_error(missing, missing) is None and seed_error(missing, RowValues((), np.array([1.0]))) is None
    assert seed_error(whole, other) is not None and seed_error(in_step, other) is not None


def answers(draw, num_items, num_runs, interaction, noise_of_seeds=0.0, difficulty=None, shift=0.0):
    """float64 [num_items, num_runs] of 0 and 1: a method whose items differ by `interaction` from the other's."""
    own = difficulty + draw.normal(0, interaction, num_items) + shift
    chance = own[:, None] + draw.normal(0, noise_of_seeds, num_runs)
    return (draw.random((num_items, num_runs)) < 1 / (1 + np.exp(-chance))).astype(float)


def units_of(*sides):
    scores = np.concatenate(sides, axis=1)
    tasks = ["a"] * len(scores)
    return make_units(tasks, item_weights(tasks, "items"), scores)


def test_the_variance_over_items_is_that_of_a_bootstrap():
    draw = rng(1)
    difficulty = draw.normal(0, 1.5, 200)
    one, other = (answers(draw, 200, 3, 0.7, 0.2, difficulty) for _ in range(2))
    found = item_error(units_of(one, other), range(3), range(3, 6), by_run=True)
    difference = one.mean(axis=1) - other.mean(axis=1)
    drawn = [difference[draw.integers(0, 200, 200)].mean() for _ in range(20_000)]
    assert found.over_items == pytest.approx(np.var(drawn), rel=0.05) and found.degrees_of_freedom == 199


def test_the_noise_of_runs_and_what_items_add_are_distinguished():
    """Means over tables whose true parts are known: equal methods differ by noise alone, others by items too."""
    noise, added = {0.0: [], 1.5: []}, {0.0: [], 1.5: []}
    for interaction in noise:
        for seed in range(200):
            draw = rng([seed, int(10 * interaction)])
            difficulty = draw.normal(0, 1, 300)
            one, other = (answers(draw, 300, 3, interaction, 0.0, difficulty) for _ in range(2))
            items = item_error(units_of(one, other), range(3), range(3, 6), by_run=True)
            noise[interaction].append(items.run_noise)
            added[interaction].append(items.over_items - items.run_noise)
    error = np.std(added[0.0]) / 200**0.5
    assert abs(np.mean(added[0.0])) < 3 * error
    assert np.mean(added[1.5]) > np.mean(noise[1.5]) and np.mean(noise[0.0]) > 0


def test_an_error_is_never_below_that_over_items():
    draw = rng(3)
    for _ in range(50):
        difficulty = draw.normal(0, 1, 40)
        one, other = (answers(draw, 40, 2, 0.5, 0.0, difficulty) for _ in range(2))
        items = item_error(units_of(one, other), range(2), range(2, 4))
        for variance in (0.0, items.over_items / 2, 1.0):
            whole = spread([Error(variance, 1)], items).error ** 2
            assert whole >= items.over_items - 1e-12 and whole >= variance


def test_runs_that_are_equal_by_luck_leave_the_error_over_items():
    one, other = np.zeros((8, 3)), np.zeros((8, 3))
    one[0] = 1.0  # each run of ours answers the same one of eight items more
    items = item_error(units_of(one, other), range(3), range(3, 6), by_run=True)
    seeds = seed_error(runs(one.mean(axis=0)), runs(other.mean(axis=0)))
    assert seeds.errors[0].variance == 0
    tested = infer(seeds.difference, spread(seeds.errors, items))
    assert tested.error == pytest.approx((np.var(one[:, 0], ddof=1) / 8) ** 0.5) and tested.p > 0.3


@pytest.mark.parametrize(("ours", "theirs"), [(0, 0), (1, 1), (1, 0)])
def test_items_that_are_all_answered_alike_are_not_known_exactly(ours, theirs):
    """Three seeds of each, every answer the same: the error is that with half an item more in each of four outcomes."""
    for num_items in (8, 100):
        one, other = np.full((num_items, 3), float(ours)), np.full((num_items, 3), float(theirs))
        cells = np.array([0.5, 0.5, 0.5, 0.5])  # both, ours alone, theirs alone, none
        cells[{(0, 0): 3, (1, 1): 0, (1, 0): 1}[ours, theirs]] += num_items
        share = cells / cells.sum()
        variance = (share[1] + share[2] - (share[1] - share[2]) ** 2) / cells.sum()
        items = item_error(units_of(one, other), range(3), range(3, 6), by_run=True)
        assert items.over_items == pytest.approx(variance) and items.run_noise == 0
        seeds = seed_error(runs(one.mean(axis=0)), runs(other.mean(axis=0)))
        tested = infer(seeds.difference, spread(seeds.errors, items))
        assert tested.error == pytest.approx(variance**0.5) and (tested.p < ALPHA) == (ours != theirs)


def test_one_kind_of_error_alone_is_a_t_test():
    for freedom in (1, 2, 30):
        alone = Spread((Error(0.04, freedom), Error(0.0, 500)))
        for difference in (0.1, -0.5, 2.0):
            assert alone.p(difference) == pytest.approx(2 * scipy.stats.t.sf(abs(difference) / 0.2, freedom))


def test_two_kinds_of_error_weigh_their_critical_values_by_variance():
    """Cochran and Cox, one half of a t with 2 degrees of freedom and one of a t with 400."""
    both = Spread((Error(0.02, 2), Error(0.02, 400)))
    critical = (scipy.stats.t.isf(0.025, 2) + scipy.stats.t.isf(0.025, 400)) / 2
    assert both.reach(0.05) == pytest.approx(critical * 0.2)
    assert both.p(critical * 0.2) == pytest.approx(0.05)


@pytest.mark.parametrize("num_seeds", [2, 3, 5, 10])
def test_the_level_is_kept_whatever_part_of_the_error_the_seeds_have(num_seeds):
    draw, number = rng(num_seeds), 4_000
    for items in (0.0, 0.05, 0.5, 2.0, 20.0):
        differences = draw.normal(0, (1 + items) ** 0.5, number)
        seeds = draw.chisquare(num_seeds - 1, number) / (num_seeds - 1)
        words = [
            abs(difference) > Spread((Error(variance, num_seeds - 1), Error(items, 500))).reach(ALPHA)
            for difference, variance in zip(differences, seeds, strict=True)
        ]
        assert np.mean(words) <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / number) ** 0.5


def test_the_detectable_difference_is_found_four_times_in_five():
    for num_seeds in (3, 6):
        error = 1.3 / num_seeds**0.5
        shift = detectable(Spread((Error(error**2, num_seeds - 1),)))
        drawn = rng(num_seeds).normal(shift, 1.3, (20_000, num_seeds))
        assert (scipy.stats.ttest_1samp(drawn, 0, axis=1).pvalue < ALPHA).mean() == pytest.approx(0.8, abs=0.015)


def test_equivalence_is_two_one_sided_tests():
    values = np.array([0.3, -0.4, 0.2, 0.1, -0.2])
    alone = Spread((Error(float(np.var(values, ddof=1)) / 5, 4.0),))
    above = scipy.stats.ttest_1samp(values, -1.0, alternative="greater").pvalue
    below = scipy.stats.ttest_1samp(values, 1.0, alternative="less").pvalue
    assert max(above, below) < ALPHA and is_equivalent(values.mean(), alone, 1.0)
    above = scipy.stats.ttest_1samp(values, -0.25, alternative="greater").pvalue
    assert above > ALPHA and not is_equivalent(values.mean(), alone, 0.25)


def false_words(num_tables, num_items, num_seeds, seed_spread, interaction, seed=0) -> float:
    """Share of tables in which two methods of equal expected score are called different."""
    words = 0
    for table in range(num_tables):
        draw = rng([seed, table])
        difficulty = draw.normal(0, 1.5, num_items)
        sides = [answers(draw, num_items, num_seeds, interaction, seed_spread, difficulty) for _ in range(2)]
        words += p_of_methods(*sides) < ALPHA
    return words / num_tables


def p_of_methods(one, other) -> float:
    number = one.shape[1]
    ours, theirs = runs(one.mean(axis=0)), runs(other.mean(axis=0))
    units = units_of(one, other)
    items = item_error(units, range(number), range(number, 2 * number), by_run=is_by_run(ours, theirs))
    seeds = seed_error(ours, theirs)
    return infer(seeds.difference, spread(seeds.errors, items)).p


SETTINGS = list(itertools.product((8, 200), (2, 3), (0.0, 0.3), (0.0, 1.0)))


@pytest.mark.parametrize(("num_items", "num_seeds", "seed_spread", "interaction"), SETTINGS)
def test_equal_methods_are_called_different_in_at_most_five_of_a_hundred_tables(
    num_items, num_seeds, seed_spread, interaction
):
    tables = 200
    most = ALPHA + 3 * (ALPHA * (1 - ALPHA) / tables) ** 0.5
    assert false_words(tables, num_items, num_seeds, seed_spread, interaction) <= most


@pytest.mark.slow
@pytest.mark.parametrize("num_items", [50, 200, 1319])
@pytest.mark.parametrize("num_seeds", [2, 3, 5])
@pytest.mark.parametrize(("seed_spread", "interaction"), [(0.0, 0.0), (0.1, 0.0), (0.3, 0.0), (0.1, 1.0), (0.3, 1.0)])
def test_equal_methods_over_many_tables(num_items, num_seeds, seed_spread, interaction):
    tables = 2_000
    most = ALPHA + 3 * (ALPHA * (1 - ALPHA) / tables) ** 0.5
    share = false_words(tables, num_items, num_seeds, seed_spread, interaction, seed=1)
    print(f"\n{num_items} items, {num_seeds} seeds, spread {seed_spread}, interaction {interaction}: {share:.3f}")
    assert share <= most


def test_a_method_that_is_better_is_found():
    found = 0
    for table in range(100):
        draw = rng([7, table])
        difficulty = draw.normal(0, 1.5, 500)
        better = answers(draw, 500, 5, 0.2, 0.1, difficulty, shift=0.8)
        found += p_of_methods(better, answers(draw, 500, 5, 0.2, 0.1, difficulty)) < ALPHA
    assert found > 80


def table_of(draw, num_items, num_seeds, seed_spread, interaction, shift):
    difficulty = draw.normal(0, 1.5, num_items)
    better = answers(draw, num_items, num_seeds, interaction, seed_spread, difficulty, shift)
    return better, answers(draw, num_items, num_seeds, interaction, seed_spread, difficulty)


def planned_from(num_items, seed_spread, interaction, shift) -> tuple[Planned, float]:
    """What large tables say of two methods, and their true difference."""
    draw = rng(11)
    found = []
    for _ in range(40):
        one, other = table_of(draw, num_items, 12, seed_spread, interaction, shift)
        variances = [np.var(side.mean(axis=0), ddof=1) for side in (one, other)]
        apart = [((a - b) ** 2).mean() for a, b in ((one[:, 0], other[:, 0]), (one[:, 0], one[:, 1]))]
        found.append((np.mean(variances), *apart, one.mean() - other.mean()))
    variance, disagreement, of_seeds, difference = np.mean(found, axis=0)
    return Planned(num_items, float(variance**0.5), disagreement, of_seeds), float(difference)


@pytest.mark.parametrize(
    ("num_items", "seed_spread", "interaction", "shift"),
    [(1319, 0.05, 0.2, 0.2), (1319, 0.1, 0.0, 0.2), (400, 0.2, 0.3, 0.45), (400, 0.05, 1.0, 0.6)],
)
def test_the_planned_seeds_find_the_difference_in_simulated_tables(num_items, seed_spread, interaction, shift):
    """Four times in five, and not ten times as many seeds as that takes."""
    planned, difference = planned_from(num_items, seed_spread, interaction, shift)
    seeds = seeds_needed(difference, planned)
    assert seeds is not None and seeds <= 20
    tables, power = 120, {}
    for number in (seeds, max(2, seeds // 2)):
        draw = rng([5, number])
        words = [p_of_methods(*table_of(draw, num_items, number, seed_spread, interaction, shift)) < ALPHA
                 for _ in range(tables)]  # fmt: skip
        power[number] = np.mean(words)
    print(
        f"\n{num_items} items, spread {seed_spread}, interaction {interaction}: {100 * difference:.1f} points, {power}"
    )
    assert power[seeds] > 0.68 and power[max(2, seeds // 2)] < 0.8


def test_the_part_of_the_spread_that_items_make_falls_with_their_number():
    noise_alone = Planned(1_000, (0.3 / 2 / 1_000) ** 0.5, 0.3, 0.3)
    few, many = noise_alone.spread(3), noise_alone.spread(3, 4_000)
    assert few.error == pytest.approx((0.3 / 1_000 / 3) ** 0.5) and many.error == pytest.approx(few.error / 2)
    fixed = Planned(1_000, 0.02, 0.0, 0.0)
    assert fixed.spread(3).error == fixed.spread(3, 4_000).error == pytest.approx(0.02 * (2 / 3) ** 0.5)


def test_few_draws_of_the_subset_are_not_known_better_with_more_training_seeds():
    once, twice = Planned(500, 0.01, 0.2, 0.1), Planned(500, 0.01, 0.2, 0.1, num_draws=2)
    assert [part.freedom for part in twice.spread(10).parts] == [1, 499]
    assert seeds_needed(0.05, once) < seeds_needed(0.05, twice)


def test_no_number_of_items_makes_up_for_seeds_that_are_too_few():
    far, near = Planned(1_000, 0.02, 0.3, 0.1), Planned(1_000, 0.009, 0.3, 0.15)
    assert items_needed(0.01, 3, far) is None and items_needed(0.05, 1, near) is None
    needed = items_needed(0.05, 5, near)
    assert detectable(near.spread(5, needed)) <= 0.05 < detectable(near.spread(5, needed - 1))


@pytest.mark.parametrize("values", [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)])
def test_one_item_has_an_error_an_interval_and_a_p(values):
    """`evaluate.limit: 1`: nothing is left over for degrees of freedom, and the report must be written all the same."""
    one, other = (np.array([[value]]) for value in values)
    items = item_error(units_of(one, other), range(1), range(1, 2))
    found = infer(values[0] - values[1], spread((), items))
    assert items.over_items > 0 and items.degrees_of_freedom == 1
    assert np.isfinite([found.error, found.low, found.high]).all() and 0.05 < found.p <= 1
