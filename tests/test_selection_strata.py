"""Shares of the values of a column, behind any strategy that goes by scores."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_work import run_selection

from selectit.config import PoolConfig, SelectStage
from selectit.data.row_ids import uniform_number
from selectit.errors import UserError
from selectit.recipe.load import resolve_arm
from selectit.selection.registry import shipped

KINDS = ("long", "short", "rare", "chat")


@pytest.fixture
def rows(demo) -> list[dict]:
    """Rows of the demonstration, of four sources of very different sizes."""
    found = json.loads((demo / "pool.json").read_text())[:200]
    return [
        {"id": f"r{at}", "source": KINDS[0 if at % 2 else 1 if at % 10 else 2 if at % 50 == 0 else 3], **row}
        for at, row in enumerate(found)
    ]


def select(folder: Path, rows: list[dict], seed: int | None = None, **fields: Any):
    folder.mkdir()
    (folder / "pool.json").write_text(json.dumps(rows))
    pool = PoolConfig(path=str(folder / "pool.json"), stratify_by="source", bad_rows="exclude")
    config = SelectStage(pool=pool, select=shipped().read(fields), seed=seed)
    chosen, lines, selection = run_selection(config, folder / "out")
    return [line["row_id"] for line in chosen], lines, selection


def slow_shares(count: int, weights: dict[str, int], capacities: dict[str, int]) -> dict[str, int]:
    """The largest remainder over fractions; groups that are full by then are taken out, and the rest begins anew."""
    full: dict[str, int] = {}
    while True:
        left = {name: weight for name, weight in weights.items() if name not in full}
        rest = count - sum(full.values())
        exact = {name: Fraction(rest * weight, sum(left.values())) for name, weight in left.items()}
        over = {name: capacities[name] for name, share in exact.items() if share >= capacities[name]}
        if not over:
            break
        full |= over
    shares = {name: int(share) for name, share in exact.items()}
    remainders = {name: share - int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: (-remainders[name], name))[: rest - sum(shares.values())]:
        shares[name] += 1
    return {**shares, **full}


@pytest.mark.parametrize("by", ["equal", "proportional"])
@pytest.mark.parametrize("ratio", [0.05, 0.17, 0.4, 0.9])
def test_each_value_gives_its_share_the_rows_of_the_highest_scores(rows, tmp_path, by, ratio):
    for at in (0, 7):
        rows[at]["output"] = ""  # cannot be used
    ids, lines, selection = select(tmp_path / "a", rows, strategy="length", unit="chars", ratio=ratio, stratify=by)
    usable = [row for row in rows if row["output"]]
    sizes = {kind: sum(row["source"] == kind for row in usable) for kind in KINDS}
    assert sizes["rare"] < 0.2 * 200 / 4 < sizes["long"]
    quotas = slow_shares(int(ratio * 200), sizes if by == "proportional" else dict.fromkeys(KINDS, 1), sizes)
    best = sorted(range(200), key=lambda at: (len(rows[at]["output"]), at), reverse=True)
    wanted = {
        kind: [at for at in best if rows[at]["output"] and rows[at]["source"] == kind][: quotas[kind]] for kind in KINDS
    }
    taken = [at for at in best if any(at in of for of in wanted.values())]
    assert ids == [f"r{at}" for at in taken] and len(ids) == int(ratio * 200)
    for kind, of in selection["strata"].items():
        assert of == {"num_rows": sizes[kind], "num_eligible": sizes[kind], "num_selected": quotas[kind]}
    assert list(selection["strata"]) == sorted(KINDS)
    passed = {f"r{at}" for at in best[: best.index(taken[-1])] if rows[at]["output"]} - set(ids)
    assert {line["row_id"] for line in lines if line["failure"] == "stratum_full"} == passed
    assert selection["num_unscored"] == 2


def test_a_stratified_draw_is_seeded_and_is_not_the_head_of_the_file(rows, tmp_path):
    """automated-instruction-selection takes the first rows of each source; its seed orders the output alone."""
    fields = {"strategy": "random", "ratio": 0.1, "stratify": "equal"}
    ids = select(tmp_path / "a", rows, seed=1, **fields)[0]
    for kind in KINDS:
        own = [row["id"] for row in rows if row["source"] == kind]
        drawn = [one for one in ids if one in own]
        assert len(drawn) == min(5, len(own)) or len(drawn) in (5, 6)
        assert drawn == sorted(own, key=lambda one: -uniform_number("random", 1, one))[: len(drawn)]
    assert set(ids) != set(select(tmp_path / "b", rows, seed=2, **fields)[0])
    assert ids == select(tmp_path / "c", rows[::-1], seed=1, **fields)[0]


def test_shares_of_a_pool_without_a_column_and_two_steps_at_once_are_refused(demo):
    def arm(**select: Any):
        pool, model = {"path": str(demo / "pool.json")}, {"path": str(demo / "model")}
        return resolve_arm({"pool": pool, "model": model, "select": {"strategy": "random", **select}})

    with pytest.raises(UserError, match=r"select.stratify needs a column of the pool; name it in pool.stratify_by"):
        arm(stratify="equal")
    with pytest.raises(UserError, match="give one of them"):
        arm(stratify="equal", diversify={"method": "k_center", "path": str(demo / "pool.json")})
    with pytest.raises(UserError, match=r"select.diversify.num_start: found 0; input should be greater"):
        arm(diversify={"method": "k_center", "path": str(demo / "pool.json"), "num_start": 0})
    with pytest.raises(UserError, match=r"select.diversify.path: .*nowhere.npy does not exist"):
        arm(diversify={"method": "k_center", "path": "nowhere.npy"})


def test_the_sentences_name_the_rows_of_the_largest_values():
    from selectit.selection import steps

    strata = {f"s{n:02}": {"num_rows": 100 - n, "num_eligible": 9, "num_selected": n} for n in range(15)}
    [sentence] = steps.notes({"strata": strata})
    assert "s00 0 of 100, s01 1 of 99" in sentence and sentence.endswith("s11 11 of 89, and 3 smaller ones")
    assert np.all([f"s{n}" not in sentence for n in (12, 13, 14)])
