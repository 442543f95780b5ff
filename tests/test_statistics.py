"""Paired tests over items, Holm's correction and variance components, against hand and reference values."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats

from selectit.statistics.equivalence import item_deviation
from selectit.statistics.item_error import item_error
from selectit.statistics.items import LEAST_CLUSTERS, item_weights, make_units, read_scores
from selectit.statistics.paired import MOST_ENUMERATED, drawn_p, holm, mcnemar, num_draws, sign_flips
from selectit.statistics.seeds import variance_components


def rng(seed=0):
    return np.random.default_rng(seed)


def flip_p(differences, draws=10_000):
    return sign_flips(np.asarray(differences, dtype=float)[:, None], draws, rng()).p[0]


def binary(num_only_one, num_only_base, num_both=5):
    one = np.array([1.0] * num_only_one + [0.0] * num_only_base + [1.0] * num_both)
    base = np.array([0.0] * num_only_one + [1.0] * num_only_base + [1.0] * num_both)
    return one, base


def test_mcnemar_equals_hand_computed_binomial_tails():
    assert mcnemar(*binary(5, 0)) == pytest.approx(2 / 2**5)
    assert mcnemar(*binary(1, 5)) == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar(*binary(3, 3)) == 1.0


def test_identical_scores_have_p_one_in_every_test():
    scores = rng().random(50)
    assert mcnemar((scores > 0.5).astype(float), (scores > 0.5).astype(float)) == 1.0
    assert flip_p(scores - scores) == 1.0
    assert drawn_p(np.zeros(1), np.zeros((100, 1)), np.zeros(1))[0] == 1.0


def test_sign_flips_of_few_items_are_exact_and_equal_scipy():
    differences = np.array([0.3, -0.1, 0.25, 0.0, 0.4, 0.05, -0.2, 0.6])
    found = sign_flips(differences[:, None], 10_000, rng())
    reference = scipy.stats.permutation_test(
        (differences, np.zeros(8)), lambda a, b, axis: (a - b).mean(axis=axis), permutation_type="samples",
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    assert found.exact[0] and found.p[0] == pytest.approx(reference.pvalue)


def test_sign_flips_of_zero_or_one_are_mcnemar():
    one, base = binary(9, 2)
    assert flip_p(one - base) == pytest.approx(mcnemar(one, base))
    one, base = binary(30, 14)
    assert flip_p(one - base, draws=200_000) == pytest.approx(mcnemar(one, base), abs=0.003)


def test_drawn_sign_flips_agree_with_enumeration_next_to_them():
    differences = rng(3).normal(0.3, 1, MOST_ENUMERATED)
    found = sign_flips(differences[:, None], 100_000, rng(1))
    drawn = drawn_p(differences.sum(keepdims=True), found.draws, np.abs(differences).sum(keepdims=True))
    assert found.exact[0] and drawn[0] == pytest.approx(found.p[0], abs=0.006)


def test_comparisons_that_are_tested_together_do_not_change_each_other():
    parts = rng(5).normal(size=(40, 3))
    together = sign_flips(parts, 2_000, rng(2)).p
    alone = [sign_flips(parts[:, [at]], 2_000, rng(2)).p[0] for at in range(3)]
    assert together.tolist() == alone


def test_a_true_null_is_rejected_no_more_often_than_the_level():
    differences = rng(11).laplace(size=(60, 1_000))
    p = sign_flips(differences, 1_000, rng(12)).p
    assert 0.03 < (p < 0.05).mean() < 0.07 and 0.07 < (p < 0.1).mean() < 0.13


def test_holm_equals_values_computed_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_holm_keeps_the_chance_of_any_false_word_below_the_level():
    p = rng(4).random((2_000, 10))
    assert np.mean([min(holm(list(row))) < 0.05 for row in p]) < 0.06


def test_a_large_table_gets_enough_draws_to_show_a_difference():
    for size in (10, 500, 5_000):
        assert size / (num_draws(size) + 1) < 0.05


def test_a_micro_mean_weighs_items_and_a_macro_mean_weighs_tasks():
    tasks, scores = ["a", "a", "a", "b"], np.array([1.0, 1.0, 0.0, 0.0])
    assert item_weights(tasks, "items") @ scores == pytest.approx(2 / 4)
    assert item_weights(tasks, "tasks") @ scores == pytest.approx((2 / 3 + 0) / 2)


def clustered(num_tasks, shift):
    """Items of a task share its effect, which is drawn around `shift`."""
    generator = rng(8)
    tasks = [f"t{task:02d}" for task in range(num_tasks) for _ in range(30)]
    effect = np.repeat(generator.normal(shift, 0.2, num_tasks), 30)
    return tasks, np.stack([effect + generator.normal(0, 0.01, len(tasks)), np.zeros(len(tasks))], axis=1)


def test_many_tasks_are_drawn_as_clusters_and_make_the_error_wider():
    tasks, scores = clustered(LEAST_CLUSTERS, 0.0)
    weights = item_weights(tasks, "items")
    units = make_units(tasks, weights, scores)
    assert units.kind == "task" and len(units.weights) == LEAST_CLUSTERS
    by_task = item_error(units, [0])
    by_item = item_error(make_units(["a"] * len(tasks), weights, scores), [0])
    assert by_task.over_items > 9 * by_item.over_items
    assert by_task.over_items**0.5 == pytest.approx(0.2 / LEAST_CLUSTERS**0.5, rel=0.5)
    assert (by_task.degrees_of_freedom, by_item.degrees_of_freedom) == (LEAST_CLUSTERS - 1, len(tasks) - 1)


def test_clusters_of_unequal_size_keep_the_micro_mean():
    tasks = [f"t{task}" for task in range(LEAST_CLUSTERS) for _ in range(task + 1)]
    units = make_units(tasks, item_weights(tasks, "items"), np.ones((len(tasks), 1)))
    assert units.sums.sum() == pytest.approx(1.0)
    assert item_error(units, [0]).over_items == pytest.approx(item_deviation(100, len(tasks)) ** 2 / 100**2)


def test_items_alone_in_their_task_are_drawn_with_the_others():
    units = make_units(["a", "b", "c"], item_weights(["a", "b", "c"], "tasks"), np.array([[0.0], [1.0], [1.0]]))
    assert item_error(units, [0]).over_items == pytest.approx(np.var([0, 1, 1], ddof=1) / 3)


def test_scores_are_read_in_the_order_of_task_and_item_without_the_texts(tmp_path):
    lines = [
        {"task": "b", "item_id": 0, "prompt": "x" * 3_000_000, "score": 1.0},
        {"task": "a", "item_id": 10, "outputs": ["y"], "score": None},
        {"task": "a", "item_id": 2, "outputs": [0.5], "score": 0},
    ]
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_scores(path)
    assert found.keys == (("a", 2), ("a", 10), ("b", 0))
    assert found.scores.tolist() == pytest.approx([0.0, float("nan"), 1.0], nan_ok=True)
    path.write_text(json.dumps(lines[1]) + "\n" + json.dumps(lines[1]) + "\n")
    with pytest.raises(ValueError, match="twice"):
        read_scores(path)
    path.write_text("")
    assert read_scores(path).keys == ()


def test_variance_components_are_those_of_a_layout_computed_by_hand():
    values = {(1, 1, 42): 10.0, (1, 2, 42): 12.0, (2, 1, 42): 20.0, (2, 2, 42): 24.0}
    found = variance_components(values)  # means 11 and 22 over training, 15 and 18 over selection, 16.5 over all
    assert found["rest"] == pytest.approx(1.0)  # residuals of half a point with one degree of freedom
    assert found["select"] == pytest.approx(((121.0 - 1.0) / 2) ** 0.5)
    assert found["train"] == pytest.approx(((9.0 - 1.0) / 2) ** 0.5)
    assert "eval" not in found


def test_training_noise_is_not_shown_as_spread_of_the_selection():
    found = [
        variance_components({(s, t, 1): rng([seed, s, t]).normal(50, 2) for s in range(4) for t in range(4)})
        for seed in range(300)
    ]
    assert np.mean([one["select"] ** 2 for one in found]) < 0.4  # 4 of noise over 4 seeds each, floored at 0
    assert np.mean([one["rest"] ** 2 for one in found]) == pytest.approx(4.0, rel=0.1)


def test_variance_components_are_unbiased_for_each_purpose():
    found = []
    for seed in range(400):
        draw = rng(seed)
        select, train = draw.normal(0, 3, 5), draw.normal(0, 2, 5)
        values = {(s, t, 1): select[s] + train[t] + draw.normal(0, 1) for s in range(5) for t in range(5)}
        found.append(variance_components(values))
    assert np.mean([one["select"] ** 2 for one in found]) == pytest.approx(9, rel=0.1)
    assert np.mean([one["train"] ** 2 for one in found]) == pytest.approx(4, rel=0.1)
    assert np.mean([one["rest"] ** 2 for one in found]) == pytest.approx(1, rel=0.1)


def test_no_components_where_seeds_move_together_or_a_combination_is_missing():
    assert variance_components({(1, 1, 1): 3.0}) == {}
    assert variance_components({(1, 1, 1): 3.0, (2, 2, 1): 4.0}) == {}
    assert variance_components({(1, 1, 1): 3.0, (1, 2, 1): 4.0, (2, 1, 1): 5.0}) == {}
