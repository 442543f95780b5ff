"""Methods by vectors, each tested against a slow one that is written from its definition alone."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_work import run_selection

from selectit.config import PoolConfig, SelectStage
from selectit.errors import UserError
from selectit.selection.diversity import facility_location as fl
from selectit.selection.diversity.cosine_filter import cosine_filter
from selectit.selection.diversity.facility_location import facility_location
from selectit.selection.diversity.k_center import k_center
from selectit.selection.diversity.kmeans_quota import equal_quota, kmeans_labels, released_quota, weighted_order
from selectit.selection.quotas import apportioned
from selectit.selection.registry import shipped

WIDTH = 48


@pytest.fixture(scope="module")
def rows(demo, request) -> list[dict]:
    """Real rows where they are on the machine, else those of the demonstration."""
    [path] = [*(Path(demo).parents[1] / "shared" / "data" / "alpaca").glob("*.json")] or [demo / "pool.json"]
    found = {row["instruction"] + row["output"]: row for row in json.loads(path.read_text())}
    return [{"id": f"r{at}", **row} for at, row in enumerate(found.values())][:300]


def embedded(rows: list[dict]) -> np.ndarray:
    """float32 [num_rows, WIDTH], counts of letter triples in a row's words, each triple in one of WIDTH columns."""
    vectors = np.zeros((len(rows), WIDTH), dtype=np.float32)
    for at, row in enumerate(rows):
        text = row["instruction"] + row["output"]
        for triple, count in Counter(map("".join, zip(text, text[1:], text[2:], strict=False))).items():
            vectors[at, sum(ord(c) * 31**n for n, c in enumerate(triple)) % WIDTH] += math.sqrt(count)
    return vectors


@pytest.fixture(scope="module")
def vectors(rows) -> np.ndarray:
    return embedded(rows)


# the slow ones


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(float), y.astype(float)
    return float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))


def slow_cosine_filter(vectors: np.ndarray, threshold: float, count: int) -> list[int]:
    kept: list[int] = []
    for at in range(len(vectors)):
        if len(kept) < count and not any(cosine(vectors[at], vectors[k]) > threshold for k in kept):
            kept.append(at)
    return kept


def slow_k_center(vectors: np.ndarray, num_start: int, count: int) -> list[int]:
    taken = list(range(num_start))
    while len(taken) < count:
        left = [at for at in range(len(vectors)) if at not in taken]
        taken.append(max(left, key=lambda at: (min(math.dist(vectors[at], vectors[t]) for t in taken), -at)))
    return taken


def slow_facility_location(vectors: np.ndarray, count: int) -> tuple[list[int], list[float]]:
    width = vectors.shape[1]
    similar = [[math.exp(-math.dist(x, y) / width) for y in vectors.tolist()] for x in vectors.tolist()]
    covered = [0.0] * len(similar)
    taken: list[int] = []
    gains = []
    for _ in range(count):
        total = sum(covered)
        found = {at: sum(map(max, covered, similar[at])) - total for at in range(len(similar)) if at not in taken}
        highest = max(found.values())  # of a tie, sums of float64 see two numbers
        best = min(at for at in found if found[at] > highest - 1e-11)
        covered = [*map(max, covered, similar[best])]
        taken.append(best)
        gains.append(found[best])
    return taken, gains


# the functions


@pytest.mark.parametrize("threshold", [0.85, 0.9, 0.95])
@pytest.mark.parametrize("block", [1, 7, 256])
def test_the_cosine_filter_is_its_definition_on_real_rows_whatever_the_block(vectors, threshold, block, monkeypatch):
    monkeypatch.setattr("selectit.selection.diversity.cosine_filter.BLOCK_ROWS", block)
    wanted = slow_cosine_filter(vectors, threshold, 300)
    assert 5 < len(wanted) < 250
    kept, dropped = cosine_filter(vectors, threshold, 300)
    assert kept.tolist() == wanted and sorted([*kept, *dropped]) == list(range(300))
    few, met = cosine_filter(vectors, threshold, 4)
    assert few.tolist() == wanted[:4] and sorted([*few, *met]) == list(range(wanted[3] + 1))


def test_a_row_like_a_dropped_one_is_kept():
    """DEITA's code at a batch size of 2 drops it."""
    angles = np.radians([0, 20, 40])  # cosines 0.94, 0.94 and, of the outer two, 0.77
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert cosine_filter(chain, 0.9, 3)[0].tolist() == [0, 2]


def test_the_cosine_filter_looks_at_directions_and_not_at_distances():
    """The filter of iterative-data-selection rejects by squared distance."""
    near_but_across = np.array([[0.1, 0], [0, 0.1], [100, 0]], dtype=np.float32)
    assert cosine_filter(near_but_across, 0.9, 3)[0].tolist() == [0, 1]
    assert cosine_filter(np.zeros((2, 3), dtype=np.float32), 0.9, 2)[0].tolist() == [0, 1]  # zeros are like nothing


@pytest.mark.parametrize("num_start", [1, 10])
def test_k_center_is_its_definition_on_real_rows(vectors, num_start):
    order, distances = k_center(vectors, num_start, 60)
    assert order.tolist() == slow_k_center(vectors, num_start, 60)
    assert np.isnan(distances[:num_start]).all() and (np.diff(distances[num_start:]) <= 0).all()
    wanted = [min(math.dist(vectors[order[n]], vectors[t]) for t in order[:n]) for n in range(num_start, 60)]
    np.testing.assert_allclose(distances[num_start:], wanted, rtol=1e-6)


def test_k_center_takes_from_every_group_where_the_farthest_rows_at_once_come_from_one():
    """SFT-DataSelection-at-scale takes the farthest rows at once; 8 of 10 were of one group."""
    generator = np.random.default_rng(0)
    groups = np.array([[0, 0], [10, 0], [0, 30], [12, 12]])
    points = np.concatenate([group + generator.normal(0, 0.5, (20, 2)) for group in groups]).astype(np.float32)
    at_once = np.argsort([-math.dist(x, points[0]) for x in points])[:3] // 20
    assert set(at_once) == {2} and set(k_center(points, 1, 4)[0] // 20) == {0, 1, 2, 3}


def test_k_center_survives_duplicates(vectors):
    twice = np.repeat(vectors[:20] * 1e3, 3, axis=0)  # a rounded square of a distance may be negative, its root NaN
    order, distances = k_center(twice, 1, 60)
    assert sorted(order.tolist()) == list(range(60))
    assert len({at // 3 for at in order[:20]}) == 20 and (distances[20:] == 0).all() and (distances[1:20] > 0).all()


def test_facility_location_is_plain_greedy_on_real_rows(vectors):
    order, gains = facility_location(vectors[:120], 40)
    wanted, wanted_gains = slow_facility_location(vectors[:120], 40)
    assert order.tolist() == wanted
    np.testing.assert_allclose(gains, wanted_gains, rtol=1e-5)


def test_a_kernel_that_is_not_kept_gives_the_same_order(vectors, monkeypatch):
    order, gains = facility_location(vectors, 80)
    monkeypatch.setattr(fl, "MOST_KEPT", 0)
    again, other = facility_location(vectors, 80)
    assert order.tolist() == again.tolist() and (gains == other).all()


def test_facility_location_tells_rows_apart_where_all_similarities_are_near_one(vectors):
    """Unit vectors of width 384: every similarity is above 0.994, and float32 would keep little of the gains."""
    unit = np.zeros((80, 384), dtype=np.float32)
    unit[:, :WIDTH] = vectors[:80] / np.linalg.norm(vectors[:80], axis=1, keepdims=True)
    order, _ = facility_location(unit, 30)
    assert order.tolist() == slow_facility_location(unit, 30)[0]


def test_rows_that_gain_the_same_are_told_apart_by_their_order_alone(vectors):
    """Two rows that are each other's only: either adds what both lack less their distance, exactly the same."""
    order, gains = facility_location(vectors, 60)
    for seed in range(4):
        moved = np.random.default_rng(seed).permutation(len(vectors))
        again, other = facility_location(vectors[moved], 60)
        assert (gains == other).all() and not (moved[again] == order).all()
    pair = np.array([[0, 0], [0, 1], [50, 0], [50, 3], [90, 40]], dtype=np.float32)
    for order_ in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 3, 1]):
        taken = facility_location(pair[order_], 5)[0].tolist()
        first = next(at for at in taken if order_[at] in (2, 3))
        assert first == min(order_.index(2), order_.index(3))


def test_facility_location_takes_one_of_equal_rows_and_can_take_all(vectors):
    twice = np.concatenate([vectors[:30], vectors[:30]])
    order, gains = facility_location(twice, 60)
    assert sorted(order.tolist()) == list(range(60)) and set(order[:30].tolist()) == set(range(30))
    assert gains[30:].max() < 1e-6 < gains[:30].min()


def test_shares_are_by_the_largest_remainder_and_unused_ones_are_given_away():
    assert apportioned(10, [1, 1, 1], [9, 9, 9]) == [4, 3, 3]  # of equal remainders the earlier group's
    assert apportioned(10, [50, 30, 20], [50, 30, 20]) == [5, 3, 2]
    assert apportioned(7, [6, 3, 1], [6, 3, 1]) == [4, 2, 1]  # 4.2, 2.1, 0.7
    assert apportioned(10, [1, 1, 1], [1, 9, 9]) == [1, 5, 4]
    assert apportioned(10, [1, 1, 1], [1, 2, 9]) == [1, 2, 7]
    assert apportioned(3, [0, 5], [4, 2]) == [1, 2] and apportioned(0, [1], [3]) == [0]
    with pytest.raises(ValueError, match="3 rows are asked for"):
        apportioned(3, [1, 1], [1, 1])


def test_every_share_is_within_capacity_and_they_add_up():
    generator = np.random.default_rng(0)
    for _ in range(500):
        sizes = generator.integers(0, 12, generator.integers(1, 7)).tolist()
        weights = generator.integers(0, 9, len(sizes)).tolist()
        for count in range(sum(sizes) + 1):
            given = apportioned(count, weights, sizes)
            assert sum(given) == count and all(0 <= g <= size for g, size in zip(given, sizes, strict=True))
            open_ = [at for at in range(len(sizes)) if given[at] < sizes[at] and weights[at]]
            for one, other in itertools.combinations(open_, 2):  # where nobody is full, quotas follow the weights
                assert (
                    abs(given[one] / weights[one] - given[other] / weights[other])
                    < 1 / weights[one] + 1 / weights[other]
                )


def test_a_weighted_order_is_a_draw_without_replacement_with_those_probabilities():
    scores, draws = np.log([1.0, 2.0, 3.0, 4.0]), np.random.default_rng(0)
    found = Counter(tuple(weighted_order(scores, draws.random(4))[:2].tolist()) for _ in range(20_000))
    for (first, second), count in found.items():
        wanted = (first + 1) / 10 * (second + 1) / (10 - first - 1)  # one after the other
        assert count / 20_000 == pytest.approx(wanted, abs=4 * math.sqrt(wanted / 20_000))


def test_the_released_quota_is_the_authors_from_labels_and_scores():
    labels = np.array([0, 1, 0, 2, 0, 1, 2, 0, 0, 1])
    scores = np.array([1.7, 2.2, 3.9, 1, 2, 5.5, 4, 0.1, 2.8, 3.0])
    generator = np.random.RandomState(42)
    wanted: list[int] = []
    for cluster in range(3):  # facts: int of the quota, softmax of whole scores, one stream
        members = [at for at in range(10) if labels[at] == cluster]
        weights = np.array([math.exp(int(scores[at])) for at in members])
        size, shares = min(7 // 3, len(members)), weights / weights.sum()
        wanted += generator.choice(members, size, replace=False, p=shares).tolist()
    assert released_quota(labels, 3, scores, 7, seed=42).tolist() == wanted
    whole = released_quota(labels, 3, np.floor(scores) + 0.75, 7, seed=42)
    assert whole.tolist() == wanted  # what stands behind the point changes nothing
    assert len(released_quota(labels, 3, scores, 2, seed=42)) == 0  # fewer rows than clusters: none at all


def test_the_corrected_quota_gives_exactly_as_many_rows_the_first_of_each_cluster():
    labels = np.array([0, 0, 1, 0, 2, 0, 1, 0, 0, 0])
    assert equal_quota(labels, 5).tolist() == [0, 1, 2, 4, 6]
    assert equal_quota(labels, 8).tolist() == [0, 1, 2, 3, 4, 5, 6, 7]  # small clusters are topped up elsewhere


def test_clusters_are_those_of_the_vectors():
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 10, (4, 8))
    truth = generator.integers(0, 4, 200)
    labels = kmeans_labels((centres[truth] + generator.normal(0, 0.1, (200, 8))).astype(np.float32), 4, 5, seed=1)
    assert len({*zip(truth.tolist(), labels.tolist(), strict=True)}) == 4


# the strategies, and the steps behind a score


def select(folder: Path, rows: list[dict], vectors: np.ndarray | None, seed: int = 3, bad_rows="refuse", **fields: Any):
    """Ids of the selected rows, best first; the lines of scores.jsonl; selection.json."""
    folder.mkdir()
    (folder / "pool.json").write_text(json.dumps(rows))
    if vectors is not None:
        np.save(folder / "v.npy", vectors)
        path = {"path": str(folder / "v.npy")}
        fields |= {"diversify": {**fields["diversify"], **path}} if "diversify" in fields else path
    pool = PoolConfig(path=str(folder / "pool.json"), bad_rows=bad_rows)
    config = SelectStage(pool=pool, select=shipped().read(fields), seed=seed)
    chosen, lines, selection = run_selection(config, folder / "out")
    return [line["row_id"] for line in chosen], lines, selection


ALONE: dict[str, dict[str, Any]] = {
    "cosine_filter": {"threshold": 0.93},
    "k_center": {"num_start": 3},
    "facility_location": {},
    "kmeans_quota": {"num_clusters": 7},
}
LONGEST = {"strategy": "length", "unit": "chars", "ratio": 0.1}


@pytest.mark.parametrize("name", ALONE)
def test_a_method_alone_does_not_depend_on_the_order_of_the_rows(rows, vectors, tmp_path, name):
    fields = {"strategy": name, "ratio": 0.1, **ALONE[name]}
    ids, lines, selection = select(tmp_path / "a", rows, vectors, **fields)
    assert len(ids) == 30 == selection["num_selected"]
    assert ids == select(tmp_path / "b", rows[::-1], vectors[::-1], **fields)[0]
    other = select(tmp_path / "c", rows, vectors, seed=4, **fields)[0]
    assert (other == ids) == (not shipped()[name].draws)
    assert {line["failure"] for line in lines if not line["selected"]} <= {"not_picked", "near_duplicate"}
    assert selection["num_unscored"] == 0


@pytest.mark.parametrize("name", ALONE)
def test_rows_without_a_vector_are_named_and_never_taken(rows, vectors, tmp_path, name):
    broken = vectors.copy()
    broken[[2, 5], 3] = np.nan, np.inf
    made = [{**row, "output": "" if at == 9 else row["output"]} for at, row in enumerate(rows)]
    for folder, fields in (
        ("a", {"strategy": name, "ratio": 0.1, **ALONE[name]}),
        ("b", {**LONGEST, "diversify": {"method": name, **ALONE[name]}}),
    ):
        ids, lines, selection = select(tmp_path / folder, made, broken, bad_rows="exclude", **fields)
        assert len(ids) == 30 and not {"r2", "r5", "r9"} & set(ids)
        assert [lines[at]["failure"] for at in (2, 5, 9)] == ["vector_not_finite"] * 2 + ["empty_response"]
        assert selection["num_unscored"] == 3


def by_length(rows: list[dict]) -> list[int]:
    return sorted(range(len(rows)), key=lambda at: (len(rows[at]["output"]), at), reverse=True)


def test_the_cosine_filter_behind_a_score_walks_in_its_order(rows, vectors, tmp_path):
    diversify = {"method": "cosine_filter", "threshold": 0.9}
    ids, lines, selection = select(tmp_path / "a", rows, vectors, **LONGEST, diversify=diversify)
    order = by_length(rows)
    wanted = [order[at] for at in slow_cosine_filter(vectors[order], 0.9, 30)]
    assert ids == [f"r{at}" for at in wanted]
    dropped = [line["row"] for line in lines if line["failure"] == "near_duplicate"]
    assert sorted(dropped) == sorted(set(order[: order.index(wanted[-1])]) - set(wanted))
    assert selection["left_out"] == ["near_duplicate"] and selection["diversify"]["num_near_duplicates"] == len(dropped)
    assert all(line["score"] == len(rows[line["row"]]["output"]) for line in lines)  # scores stay those of the strategy


def test_k_center_and_facility_location_choose_among_the_best_rows(rows, vectors, tmp_path):
    order = by_length(rows)[:75]
    fields = {**LONGEST, "diversify": {"method": "facility_location", "preselect": 2.5}}
    ids, *_ = select(tmp_path / "a", rows, vectors, **fields)
    assert ids == [f"r{order[at]}" for at in slow_facility_location(vectors[order], 30)[0]]
    fields = {**LONGEST, "diversify": {"method": "k_center", "preselect": 2.5, "num_start": 2}}
    ids, *_ = select(tmp_path / "b", rows, vectors, **fields)
    assert ids == [f"r{order[at]}" for at in slow_k_center(vectors[order], 2, 30)]


def test_each_cluster_gives_its_best_rows(rows, tmp_path):
    corners = np.repeat(np.eye(6, dtype=np.float32) * 10, 50, axis=0)
    fields = {**LONGEST, "diversify": {"method": "kmeans_quota", "num_clusters": 6}}
    ids, *_ = select(tmp_path / "a", rows, corners, **fields)
    wanted = {at for corner in range(6) for at in [at for at in by_length(rows) if at // 50 == corner][:5]}
    assert {int(one[1:]) for one in ids} == wanted
    released = {"strategy": "random", "ratio": 0.11}  # 33 rows of 6 clusters: 5 from each, 3 are missing
    fields = {**released, "diversify": {"method": "kmeans_quota", "num_clusters": 6, "fidelity": "released_code"}}
    assert len(select(tmp_path / "b", rows, corners, **fields)[0]) == 30
    fields["diversify"]["fidelity"] = "corrected"
    assert len(select(tmp_path / "c", rows, corners, **fields)[0]) == 33


def test_a_cosine_filter_that_leaves_too_few_rows_is_refused_or_takes_fewer(rows, vectors, tmp_path):
    left = len(slow_cosine_filter(vectors[by_length(rows)], 0.6, 300))
    fields = {**LONGEST, "ratio": 0.5, "diversify": {"method": "cosine_filter", "threshold": 0.6}}
    with pytest.raises(UserError, match=f"{left} of 300 rows are left, and 150 are asked for; raise threshold"):
        select(tmp_path / "a", rows, vectors, **fields)
    fields["diversify"] = {**fields["diversify"], "fidelity": "released_code"}
    ids, _, selection = select(tmp_path / "b", rows, vectors, **fields)
    assert len(ids) == left == selection["num_selected"]


def test_a_method_behind_a_random_draw_is_seeded_and_one_that_draws_gives_a_seed_to_the_strategy(rows):
    read = shipped().read
    quota = read({**LONGEST, "diversify": {"method": "kmeans_quota", "path": "v.npy"}})
    assert quota.has_seed and not read(LONGEST).has_seed
    assert not read({**LONGEST, "diversify": {"method": "k_center", "path": "v.npy"}}).has_seed


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (np.zeros((299, 4)), "found 299 rows; it must be a matrix"),
        (np.zeros(300), r"found float64 of shape \(300,\)"),
        (np.array(["a"] * 300)[:, None], "found <U1 of shape"),
        (np.array([[{}]] * 300), "cannot be read as a .npy file"),
    ],
)
def test_vectors_that_are_not_those_of_the_pool_are_refused_before_anything_runs(rows, tmp_path, made, why):
    for name, fields in (("a", {"strategy": "k_center"}), ("b", {**LONGEST, "diversify": {"method": "k_center"}})):
        with pytest.raises(UserError, match=why):
            select(tmp_path / name, rows, made, **fields)
        assert not (tmp_path / name / "out").exists()


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_without_a_file_the_vectors_are_the_model_s_from_the_pass_of_the_losses(demo, small_pool, tmp_path, pooling):
    from finished_work import call

    diversify = f"diversify={{method: k_center, preselect: 3, num_start: 2, pooling: {pooling}}}"
    options = ["--model", demo / "model", "--runs-dir", tmp_path / "runs", "--ratio", "0.2"]
    options += ["--strategy", "length", "--set", "unit=chars", "--scores", tmp_path / "s.jsonl"]
    call("select", small_pool, "--out", tmp_path / "a.json", "--set", diversify, *options)
    [found] = (tmp_path / "runs").rglob("*.npy")
    raw, states = json.loads(small_pool.read_text()), np.load(found)
    assert states.shape[0] == 40 and np.isfinite(states).all()
    order = by_length(raw)[:24]
    wanted = [order[at] for at in slow_k_center(states[order], 2, 8)]
    lines = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    chosen = sorted((line for line in lines if line["selected"]), key=lambda line: line["rank"])
    assert [line["row"] for line in chosen] == wanted
    if pooling == "last":
        options[options.index("length")] = "perplexity"
        options[options.index("--set") : options.index("--set") + 2] = []
        call("select", small_pool, "--out", tmp_path / "b.json", "--set", "diversify={method: cosine_filter}", *options)
