"""Several scores as one."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from test_selection_losses import write_ledger

from selectit.config import NeedsLosses, NeedsRatings, PoolConfig, SelectStage
from selectit.errors import UserError
from selectit.plan.build import build
from selectit.recipe.load import load, resolve_arm
from selectit.selection.registry import shipped
from selectit.selection.stage import preflight, run
from selectit.selection.strategies.mix import normalised
from selectit.tracking import Tracker


def select(folder: Path, rows: list[dict], inputs: dict[str, Path] | None = None, **fields: Any):
    folder.mkdir()
    (folder / "pool.json").write_text(json.dumps(rows))
    pool = PoolConfig(path=str(folder / "pool.json"), bad_rows="exclude")
    config = SelectStage(pool=pool, select=shipped().read({"strategy": "mix", **fields}))
    preflight(config)
    out = folder / "out"
    out.mkdir()
    run(config, inputs or {}, out, Tracker(out, Console(quiet=True)))
    lines = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    return [line["row"] for line in sorted(lines, key=lambda line: line["rank"]) if line["selected"]], lines


@pytest.fixture
def rows(demo) -> list[dict]:
    return json.loads((demo / "pool.json").read_text())[:80]


def slow(values: list[float], how: str) -> list[float]:
    if how == "minmax":
        return [(x - min(values)) / (max(values) - min(values)) for x in values]
    if how == "zscore":
        return [(x - statistics.fmean(values)) / statistics.pstdev(values) for x in values]
    below = [sum(other < x for other in values) + (values.count(x) - 1) / 2 for x in values]
    return [rank / (len(values) - 1) for rank in below]


@pytest.mark.parametrize("how", ["rank", "zscore", "minmax"])
def test_the_score_is_the_weighted_mean_of_the_normalised_scores_on_real_rows(rows, tmp_path, how):
    chars = {"strategy": "length", "unit": "chars", "weight": 2, "normalise": how}
    ratio = {"strategy": "length_ratio", "unit": "words", "weight": -0.5, "normalise": how}
    chosen, lines = select(tmp_path / "a", rows, ratio=0.25, mix=[chars, ratio])
    longest = [float(len(row["output"])) for row in rows]
    words = [(len(row["instruction"].split()) + len(row["input"].split()), len(row["output"].split())) for row in rows]
    ratios = [out / max(1, given) for given, out in words]
    wanted = [(2 * x - 0.5 * y) / 2.5 for x, y in zip(slow(longest, how), slow(ratios, how), strict=True)]
    np.testing.assert_allclose([line["score"] for line in lines], wanted, atol=1e-12)
    scores = [line["score"] for line in lines]
    assert chosen == sorted(range(80), key=lambda at: (scores[at], at), reverse=True)[:20]
    first = {"strategy": "length", "score": longest[3], "normalised": pytest.approx(slow(longest, how)[3])}
    assert lines[3]["parts"][0] == first


def test_the_order_of_rows_and_a_monotone_change_of_a_ranked_score_change_nothing(rows, tmp_path):
    rows = [{"id": f"r{at}", **row} for at, row in enumerate(rows)]
    mix = [{"strategy": "length", "unit": "chars"}, {"strategy": "length_ratio", "unit": "chars"}]
    _, lines = select(tmp_path / "a", rows, ratio=0.25, mix=mix)
    _, backwards = select(tmp_path / "b", rows[::-1], ratio=0.25, mix=mix)
    assert [line["score"] for line in lines] == [line["score"] for line in backwards[::-1]]
    values = np.random.default_rng(0).normal(size=50)
    np.testing.assert_array_equal(normalised(values, "rank"), normalised(np.exp(values), "rank"))


def test_equal_scores_say_nothing():
    for how, value in (("rank", 0.5), ("zscore", 0.0), ("minmax", 0.0)):
        for scores in (np.full(4, 0.1), np.ones(1)):
            assert normalised(scores, how).tolist() == [value] * len(scores)


def test_needs_have_names_of_their_own_and_each_part_reads_its_own(tmp_path):
    rows = [{"id": str(n), "instruction": f"Say {n}.", "output": str(n)} for n in range(6)]
    ledgers = {
        "part0_conditioned": write_ledger(tmp_path / "p", [1.0, 2.0, 3.0, 4.0, 5.0, None]),
        "part1_conditioned": write_ledger(tmp_path / "g", [1.0, 3.0, 1.9, 0.2, 2.1, 1.0]),
        "part1_unconditioned": write_ledger(tmp_path / "u", [2.0, 4.0, 2.0, 0.8, 2.0, 2.0]),
    }
    parts = [{"strategy": "perplexity"}, {"strategy": "ifd", "normalise": "minmax"}]
    names = {need.name for need in shipped().read({"strategy": "mix", "mix": parts}).needs()}
    assert names == set(ledgers)
    chosen, lines = select(tmp_path / "a", rows, ledgers, ratio=0.34, mix=parts)
    assert [line["failure"] for line in lines] == [None] * 4 + ["ifd_above_one", "no_response_token"]
    # of the rows that both can score: ranks of 1, 2, 3, 4 and IFD 0.5, 0.75, 0.95, 0.25
    wanted = [(0 + 0.25 / 0.7) / 2, (1 / 3 + 0.5 / 0.7) / 2, (2 / 3 + 1) / 2, (1 + 0) / 2]
    np.testing.assert_allclose([line["score"] for line in lines[:4]], wanted)
    assert chosen == [2, 1]


def test_ratings_are_read_once_whatever_else_is_mixed():
    parts = [{"strategy": "selectit"}, {"strategy": "selectit", "alpha": 0.7}, {"strategy": "ifd"}]
    needs = shipped().read({"strategy": "mix", "mix": parts}).needs()
    assert [type(need) for need in needs] == [NeedsRatings, NeedsLosses, NeedsLosses]


def test_a_plan_of_a_mix_shares_the_stages_of_other_arms(root):
    parts = "[{strategy: selectit}, {strategy: ifd, template: alpaca, weight: 2}]"
    mixed = f"arms.mixed={{select: {{strategy: mix, mix: {parts}}}}}"
    alone = "arms.alone={select: {strategy: ifd, template: alpaca}}"
    plan = build(load(root / "recipes" / "quickstart.yaml", [mixed, alone]))
    without = build(load(root / "recipes" / "quickstart.yaml", [alone]))
    kinds = [stage.kind for stage in plan.stages]
    assert (kinds.count("score"), kinds.count("losses")) == (1, 2)
    assert kinds.count("select") == 1 + [stage.kind for stage in without.stages].count("select")


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([{"strategy": "length"}], "mix: found .*; tuple should have at least 2"),
        ([{"strategy": "length"}, {"strategy": "random"}], "strategy random has no score of a row"),
        ([{"strategy": "length"}, {"strategy": "length", "ratio": 0.5}], "ratio of a part changes nothing"),
        ([{"strategy": "length"}, {"strategy": "perplexity", "order": "mid"}], "does not take the highest scores"),
        ([{"strategy": "length"}, {"strategy": "length", "weight": 0}], "weight is 0"),
        ([{"strategy": "selectit"}, {"strategy": "selectit", "level": "token"}], "parts of mix read different ratings"),
        ([{"strategy": "length"}, {"strategy": "lenght"}], "Did you mean 'length'"),
        ([{"strategy": "length"}, {"strategy": "length", "unti": "chars"}], r"select\.mix\.1\.unti"),
        ([{"strategy": "length"}, {"strategy": "length", "unit": "char"}], r"select\.mix\.1\.unit: found 'char'"),
        ([{"strategy": "length"}, {"strategy": "delta_entropy", "calibrated": "a"}], "another arm selected or trained"),
        ([{"strategy": "length"}, {"strategy": "scores", "path": "no.jsonl"}], r"no.jsonl does not exist"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(demo, parts, why):
    pool, model = {"path": str(demo / "pool.json")}, {"path": str(demo / "model")}
    with pytest.raises(UserError, match=why):
        resolve_arm({"pool": pool, "model": model, "select": {"strategy": "mix", "mix": parts}})


def test_a_file_of_a_part_is_read_from_the_recipe_s_folder_and_is_part_of_the_fingerprint(root, demo, tmp_path):
    (tmp_path / "s.jsonl").write_text("{}\n")
    (tmp_path / "r.yaml").write_text(
        f"name: r\npool: {{path: {demo}/pool.json}}\nmodel: {{path: {demo}/model}}\nbaselines: [m]\n"
        "evaluate: {profile: paper-2023, benchmarks: [gsm8k]}\n"
        "arms: {m: {select: {strategy: mix, mix: [{strategy: length}, {strategy: scores, path: s.jsonl}]}}}\n"
    )
    [row] = load(tmp_path / "r.yaml").rows
    assert row.config.select.mix[1].select.path == str(tmp_path / "s.jsonl")
