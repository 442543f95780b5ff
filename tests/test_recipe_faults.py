"""Recipes that would be read otherwise than they are meant are refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from finished_work import call

from selectit.config import ArmConfig, JudgeConfig, RecipeConfig, nested_configs
from selectit.errors import UserError
from selectit.evaluate.profile import load_profile
from selectit.plan.build import build
from selectit.recipe.load import load
from selectit.recipe.published import read_published
from selectit.scoring.prompts import stated_rating_prompts


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


def test_overrides_that_contradict_are_named(recipe):
    assert "--set finetune.lora.r=3: finetune.lora is 5, which has no 'r'" in fault(
        recipe(), "finetune.lora=5", "finetune.lora.r=3"
    )


def test_a_grid_of_strategies_names_the_key_that_only_one_of_them_has(recipe):
    path = recipe(grid={"select.strategy": ["random", "length"]})
    told = fault(path)
    assert "belongs to strategy selectit, and the arm's is length; remove it" in told and "Did you mean" not in told


def test_grid_keys_with_one_last_part_are_told_apart(recipe):
    grid = {"select.alpha": [0.2, 0.4], "finetune.lora.alpha": [8, 16], "select.ratio": [0.2, 0.4]}
    labels = [row.label for row in build(load(recipe(grid=grid))).rows]
    assert "selectit (select.alpha=0.4, lora.alpha=16, ratio=0.2)" in labels and len(set(labels)) == len(labels) == 12
    assert "random (lora.alpha=8, ratio=0.4)" in labels


def test_two_rows_of_one_name_are_refused(base, recipe):
    arms = {**base["arms"], "selectit (ratio=0.2)": {"select": {"strategy": "full"}}}
    told = fault(recipe(arms=arms, grid={"select.ratio": [0.2, 0.4]}))
    assert "two rows of the table have the name 'selectit (ratio=0.2)'" in told


KEYS = ("sk-proj-ABCDEFGHIJKL1234567890", "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345", "ghp_abcdefghij0123456789ABCD")
SPOTS = {
    "evaluate.judge={model: m, api_key_env: KEY}": "api_key_env",
    "evaluate.judge={model: m, extra_body: {key: KEY}}": "key",
    "model.path=KEY": "model.path",
    "wandb.entity=KEY": "wandb.entity",
    "KEY=1": "",
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("spot", SPOTS)
def test_what_looks_like_a_key_is_refused_and_not_shown(recipe, tmp_path, spot, key):
    told = fault(recipe(), spot.replace("KEY", key))
    assert key not in told and "looks like a key" in told
    dotted, _, value = spot.replace("KEY", key).partition("=")
    raw = yaml.safe_load(recipe().read_text())
    *sections, last = dotted.split(".")
    at = raw
    for section in sections:
        at = at.setdefault(section, {})
    at[last] = yaml.safe_load(value)
    path = tmp_path / "in-file.yaml"
    path.write_text(yaml.safe_dump(raw))
    told = fault(path)
    assert key not in told and "looks like a key" in told and SPOTS[spot] in told


@pytest.mark.parametrize("field", ["api_key", "Authorization", "x-api-key", "password"])
def test_a_request_field_for_a_key_is_refused_whatever_stands_in_it(recipe, field):
    assert "looks like a key" in fault(recipe(), f"evaluate.judge={{model: m, extra_body: {{{field}: abc}}}}")
    with pytest.raises(ValueError, match="holds a key"):
        JudgeConfig(model="m", extra_body={field: "abc"})


@pytest.mark.parametrize(
    "name", ["0123456789abcdef0123456789abcdef01234567", "abcdef0123456789abcdef0123456789abcd", "a b"]
)
def test_the_variable_of_a_key_is_a_name(name):
    with pytest.raises(ValueError, match="not the name of an environment variable") as error:
        JudgeConfig(model="m", api_key_env=name)
    assert "variable" in str(error.value)
    assert JudgeConfig(model="m", api_key_env="MY_KEY_2").api_key_env == "MY_KEY_2"


@pytest.mark.parametrize(
    "name", ["sk-learn-experiments-2026", "hf_my-very-long-data-set-name", "key-words-of-2026-data"]
)
def test_a_name_that_begins_like_a_key_is_none(recipe, name):
    assert load(recipe(), [f"model.path=org/{name}", f"description={name}"]).config.description == name


def test_a_commit_is_no_key(recipe):
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert load(recipe(), ["model.path=org/name", f"model.revision={commit}"]).config.model.revision == commit


def test_an_inherited_arm_is_removed_with_null(recipe, tmp_path):
    recipe()
    child = tmp_path / "child.yaml"
    child.write_text("name: child\nextends: r.yaml\narms: {selectit: null, length: {select: {strategy: length}}}\n")
    assert list(load(child).config.arms) == ["random", "length"]
    grandchild = tmp_path / "grandchild.yaml"
    grandchild.write_text("name: g\nextends: child.yaml\narms: {selectit: {select: {strategy: full}}}\n")
    assert load(grandchild).rows[-1].config.select.strategy == "full"
    assert "baselines: there is no arm 'random'" in fault(child, "arms.random=null")


SIZES = {
    "select.ratio=0.01": "arms.random: select.ratio 0.01 of 20 rows is no row",
    "arms.rest.select={strategy: random_rest, rest_of: random, ratio: 0.9}": "arms.rest: select.ratio 0.9 of 20 rows "
    "is 18 rows, and only 16 may be taken; lower it to at most 0.8; arm 'random' takes 4 of 20",
    "arms.mid.select={strategy: perplexity, order: mid, ratio: 0.8}": "arms.mid: select.order mid starts at rank 6",
}


@pytest.mark.parametrize("override", SIZES)
def test_validate_finds_a_subset_that_cannot_be_chosen(recipe, override):
    assert SIZES[override] in call("validate", recipe(), "--set", override, rc=1)
    assert "2 rows" in call("validate", recipe())


def test_profiles_and_published_results_are_read_by_the_same_rules(tmp_path):
    path = tmp_path / "mine.yaml"
    for text, wanted in (
        ("benchmarks:\n  mmlu: {metric: acc}\n  mmlu: {metric: acc}\n", "line 3: the key 'mmlu' stands twice"),
        ("benchmarks: {mmlu: {metric: acc, num_fewshot: yes}}", "num_fewshot"),
        ("benchmarks: {mmlu: {metric: acc, items_per_task: 010}}", "write 10 for the number"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=wanted.replace("(", r"\(")):
            load_profile(str(path))
    path.write_text("source: x\nnumbers:\n  - {arm: a, benchmark: mmlu, metric: acc, value: true, unit: percent}\n")
    with pytest.raises(UserError, match="value"):
        read_published(str(path))
    path.write_bytes("source: \xe4\n".encode("latin-1"))
    with pytest.raises(UserError, match="line 1: byte 0xe4 is not UTF-8"):
        read_published(str(path))


def _dotted(schema, prefix: str = "", depth: int = 0):
    for name, info in schema.model_fields.items():
        yield prefix + name
        for form in nested_configs(info) if depth < 3 else ():
            yield from _dotted(form, f"{prefix}{name}.", depth + 1)


ODD = ("3", "x", "[1, [2]]", "[{}]", "{a: {b: 1}}", "{strategy: [1]}", "null", "true")


@pytest.mark.slow
def test_no_odd_value_of_any_key_is_a_traceback(recipe):
    """Every key of the schema, at the top, in an arm and in a grid, with values of other kinds."""
    path = recipe()
    keys = dict.fromkeys(
        [*_dotted(RecipeConfig), *_dotted(ArmConfig, "arms.random."), "arms.random", "grid.select.ratio"]
    )
    for key in keys:
        for value in ODD:
            for override in (f"{key}={value}", f"grid={{'{key}': {value}}}"):
                try:
                    build(load(path, [override]), stated_rating_prompts)
                except UserError as error:
                    assert str(error), override
