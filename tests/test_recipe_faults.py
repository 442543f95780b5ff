"""Recipes that would be read otherwise than they are meant are refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from finished_work import call

from selectit.errors import UserError
from selectit.evaluate.profile import load_profile
from selectit.plan.build import build
from selectit.recipe.load import load
from selectit.recipe.published import read_published


@pytest.fixture
def base(demo, tmp_path) -> dict:
    rows = [{"id": f"r{i}", "instruction": f"a {i}", "output": "b" * (i + 1)} for i in range(20)]
    (tmp_path / "pool.json").write_text(json.dumps(rows))
    return {
        "name": "small",
        "pool": {"path": str(tmp_path / "pool.json")},
        "model": {"path": str(demo / "model")},
        "evaluate": {"profile": "miniature", "data": str(demo / "benchmarks"), "benchmarks": ["mmlu"]},
        "arms": {
            "random": {"select": {"strategy": "random"}},
            "selectit": {"select": {"strategy": "selectit", "level": "sentence"}},
        },
        "baselines": ["random"],
    }


@pytest.fixture
def recipe(base, tmp_path):
    def write(**changes) -> Path:
        path = tmp_path / "r.yaml"
        path.write_text(yaml.safe_dump({**base, **changes}, sort_keys=False))
        return path

    return write


def fault(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        build(load(path, overrides))
    return str(error.value)


NOT_AS_MEANT = {
    "finetune.max_steps=yes": "finetune.max_steps: found 'yes'; input should be a valid integer",
    "finetune.max_steps=true": "finetune.max_steps: found true; input should be a valid integer",
    "finetune.max_steps='6'": "found '6'; input should be a valid integer; leave out the quotes",
    "finetune.learning_rate=true": "finetune.learning_rate: found true; input should be a valid number",
    "finetune.learning_rate=.inf": "found .inf",
    "finetune.packing=1": "finetune.packing: found 1; input should be a valid boolean",
    "wandb.enabled=no": "wandb.enabled: found 'no'; input should be a valid boolean; write true or false",
    "seeds.train=[1_000]": "seeds.train.0: found '1_000'",
    "seeds.train=[1:30]": "seeds.train.0: found '1:30'",
    "seeds.train=[4294967296]": "seeds.train.0: found 4294967296; input should be less than 4294967296",
    "seeds.select=[-1]": "seeds.select.0: found -1",
    "description=3": "description: found 3; input should be a valid string",
    "finetune=3": "finetune: found 3; a section belongs here, written as a mapping",
    "arms.random.select=random": "arms.random.select: found 'random'; write a mapping such as {strategy: random}",
    "arms.random.finetune=lora": "arms.random.finetune: found 'lora'; write a mapping such as",
    "grid={select.strategy.foo: [1]}": "grid.select.strategy.foo: select.strategy is a value and has no 'foo'",
    "grid={select: [{strategy: random}]}": "grid.select: it names a section; name one of its fields",
    "grid={finetune.lr: [1]}": "grid.finetune.lr: unknown key 'lr' in finetune",
    "name=Artifacts": "name: 'Artifacts' names the report's folder",
    "select.level=token": "select.level: this key belongs to strategy selectit; write it into the select section of an",
    "arms.random.select.level=token": "this key belongs to strategy selectit, and the arm's is random; remove it",
    "arms.random.select.field=full": "belongs to strategy length and random_matched, and the arm's is random",
    "pool.path=${DATA}/pool.json": "pool.path: found '${DATA}/pool.json', and a recipe has no variables",
    "arms.nobody=null": "arms.nobody: null removes an arm of a parent recipe, and no parent has this one",
}


@pytest.mark.parametrize("override", NOT_AS_MEANT)
def test_a_value_that_is_not_what_it_seems_is_refused(recipe, override):
    assert NOT_AS_MEANT[override] in fault(recipe(), override)


def test_a_list_with_a_wrong_element_has_one_fault(recipe):
    assert fault(recipe(), "seeds.train=[true]").count("seeds.train") == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("finetune.lora=5", "finetune.lora.r=3"),
        ("finetune.max_steps=8", "finetune={max_steps: 7}"),
        ("select.ratio=0.1", "select.ratio=0.2"),
    ],
)
def test_overrides_of_one_key_are_refused(recipe, one, other):
    assert f"--set {other}: --set {one.partition('=')[0]} gives it too" in fault(recipe(), one, other)


def test_a_parent_cannot_be_set(recipe):
    assert "--set extends: a recipe's parent stands in its file" in fault(recipe(), "extends=other.yaml")


def test_a_seed_or_a_value_of_the_grid_that_stands_twice_is_refused(recipe):
    assert "select 1, train 2, eval 42 comes up twice" in fault(recipe(seeds={"select": [1], "train": [2, 2]}))
    in_step = {"select": [1, 1, 2], "train": [1, 2, 2], "combine": "in_step"}
    assert len(build(load(recipe(seeds=in_step))).rows) == 2
    assert "grid.select.ratio: found 0.2 twice" in fault(recipe(grid={"select.ratio": [0.2, 0.4, 0.20]}))


LINES = """\
extends: parent.yaml
finetune:
  learning_rate: fast
  lora: {r: -1}
  max_stepz: 3
seeds:
  train:
    - 1
    - yes
arms:
  a.b: {select: {strategy: random, ratio: 7}}
  one: &one {select: {strategy: length, ratio: 0.1}}
  two: {<<: *one, finetune: {method: magic}}
grid:
  finetune.num_train_epochs: [1, many]
"""


def test_every_error_names_its_line_and_the_file_where_it_is_a_parent(base, tmp_path):
    parent = {**base, "margin": -1, "evaluate": {**base["evaluate"], "limit": "x"}}
    (tmp_path / "parent.yaml").write_text(yaml.safe_dump(parent, sort_keys=False))
    (tmp_path / "child.yaml").write_text(LINES)
    lines = (tmp_path / "parent.yaml").read_text().splitlines()
    reported = fault(tmp_path / "child.yaml", "wandb.enabled=maybe")
    for line, key in ((3, "finetune.learning_rate"), (4, "finetune.lora.r"), (5, "finetune.max_stepz")):
        assert f"  line {line}: {key}: " in reported
    assert "  line 9: seeds.train.1: found 'yes'" in reported and "  --set: wandb.enabled: found 'maybe'" in reported
    assert f"parent.yaml, line {1 + lines.index('margin: -1')}: margin: found -1" in reported
    assert f"parent.yaml, line {1 + lines.index('  limit: x')}: evaluate.limit: found 'x'" in reported


def test_errors_of_arms_and_of_the_grid_name_their_lines(base, tmp_path):
    (tmp_path / "parent.yaml").write_text(yaml.safe_dump(base, sort_keys=False))
    good = LINES.replace("fast", "1.0e-4").replace("{r: -1}", "{r: 8}").replace("  max_stepz: 3\n", "  max_steps: 3\n")
    (tmp_path / "child.yaml").write_text(good.replace("- yes", "- 2"))
    reported = fault(tmp_path / "child.yaml")
    assert (
        "line 11: arms.a.b.select.ratio: found 7" in reported
        and "line 13: arms.two.finetune.method: found 'magic'" in reported
    )
    assert "line 15: arms.one.finetune.num_train_epochs: found 'many'" in reported


def test_errors_of_a_profile_and_of_published_results_name_their_lines(tmp_path):
    (tmp_path / "p.yaml").write_text("description: x\nbenchmarks:\n  mmlu:\n    num_fewshot: -3\n")
    with pytest.raises(UserError, match=r"line 4: benchmarks\.mmlu\.num_fewshot"):
        load_profile(str(tmp_path / "p.yaml"))
    numbers = "source: x\nnumbers:\n  - {benchmark: mmlu, value: 50, unit: percent, arm: a, setting: s}\n"
    (tmp_path / "n.yaml").write_text(numbers + "  - benchmark: mmlu\n    value: 500\n    unit: percent\n    arm: b\n")
    with pytest.raises(UserError, match=r"line [4-7]: numbers\.1"):
        read_published(str(tmp_path / "n.yaml"))


def test_validate_gives_each_error_by_itself_as_json(recipe):
    reported = json.loads(call("validate", recipe(), "--json", "--set", "seeds.train=[yes, true]", rc=1))
    assert [error.partition(": found")[0] for error in reported["errors"]] == [
        "--set: seeds.train.0", "--set: seeds.train.1",
    ]  # fmt: skip
