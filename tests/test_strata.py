"""`pool.stratify_by`: a column that strategies can read; rating and losses know nothing of it."""

from __future__ import annotations

import json

import pytest

from selectit.config import PoolConfig, SelectStage
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.plan.build import build
from selectit.recipe.load import load
from selectit.selection.columns import read_columns
from selectit.selection.registry import shipped
from selectit.selection.stage import preflight
from selectit.store.fingerprint import Hasher, digest, identity


def pool(tmp_path, *values, **settings):
    rows = [{"instruction": f"Say {n}.", "output": "Yes.", **value} for n, value in enumerate(values)]
    (tmp_path / "pool.json").write_text(json.dumps(rows))
    return PoolConfig(path=str(tmp_path / "pool.json"), **{"stratify_by": "source", **settings})


def test_the_values_of_the_column_are_text_in_the_order_of_the_rows(tmp_path):
    found = pool(tmp_path, {"source": "b"}, {"source": 3}, {"source": True}, {"source": ""}, {"source": 0.5})
    assert read_columns(found).strata.to_pylist() == ["b", "3", "True", "", "0.5"]
    assert [row.stratum for row in read_pool(found)] == ["b", "3", "True", "", "0.5"]
    nested = pool(tmp_path, {"meta": {"of": "x"}}, stratify_by="meta.of")
    assert read_columns(nested).strata.to_pylist() == ["x"]
    assert read_columns(pool(tmp_path, {"source": "b"}, stratify_by=None)).strata is None


def test_a_strategy_reads_the_column(tmp_path):
    config = SelectStage(pool=pool(tmp_path, {"source": "a"}), select=shipped().read({"strategy": "full"}))
    assert read_columns(config.pool).candidates(config).strata.to_pylist() == ["a"]


def test_rows_without_a_value_are_bad_rows_and_a_column_that_no_row_has_is_refused(tmp_path):
    values = {"source": "a"}, {}, {"source": None}, {"source": ["a"]}
    with pytest.raises(UserError, match=r"3 of 4 rows .*row 1 .*no stratum \(column 'source' of pool.stratify_by is"):
        read_pool(pool(tmp_path, *values))
    found = read_columns(pool(tmp_path, *values, bad_rows="exclude"))
    assert found.failures == [None, "no_stratum", "no_stratum", "no_stratum"]
    assert found.strata.to_pylist() == ["a", None, None, None]
    missing = pool(tmp_path, {"source": "a"}, {}, stratify_by="sorce", bad_rows="exclude")
    with pytest.raises(UserError, match=r"no row has a value .*--stratify-by.*'sorce'"):
        preflight(SelectStage(pool=missing, select=shipped().read({"strategy": "full"})))


def test_rating_is_shared_by_arms_that_differ_in_the_column(root):
    def fingerprints(*settings):
        plan = build(load(root / "recipes" / "quickstart.yaml", settings))
        return {
            kind: {digest(identity(s.config, Hasher())) for s in plan.stages if s.kind == kind}
            for kind in ("score", "select")
        }

    plain, stratified = fingerprints(), fingerprints("pool.stratify_by=source")
    assert plain["score"] == stratified["score"] and plain["score"]
    assert not plain["select"] & stratified["select"]
