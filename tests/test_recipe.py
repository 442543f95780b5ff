from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from selectit.errors import UserError
from selectit.recipe import load


@pytest.fixture
def base(demo, small_pool) -> dict:
    return {
        "name": "small",
        "pool": {"path": str(small_pool)},
        "model": {"path": str(demo / "model")},
        "evaluate": {"profile": "miniature", "data": str(demo / "benchmarks")},
        "arms": {
            "full": {"select": {"strategy": "full"}},
            "random": {"select": {"strategy": "random"}},
            "selectit": {"select": {"strategy": "selectit"}},
        },
        "baseline": "full",
    }


def write(path: Path, raw: dict) -> Path:
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def faults(path: Path, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(UserError) as error:
        load(path, overrides)
    return str(error.value)


def test_a_section_reaches_every_arm_and_an_arm_overrides_it(base, tmp_path):
    base["finetune"] = {"learning_rate": 1e-3, "lora": {"r": 4}}
    base["arms"]["random"]["finetune"] = {"lora": {"alpha": 8}}
    rows = {row.arm: row.config for row in load(write(tmp_path / "r.yaml", base)).rows}
    assert rows["full"].finetune.learning_rate == rows["random"].finetune.learning_rate == 1e-3
    assert (rows["full"].finetune.lora.alpha, rows["random"].finetune.lora.alpha) == (32, 8)
    assert rows["random"].finetune.lora.r == 4


def test_a_child_merges_sections_and_replaces_lists(base, tmp_path):
    base["seeds"] = {"train": [1, 2, 3]}
    write(tmp_path / "parent.yaml", base)
    child = {"extends": "parent.yaml", "name": "child", "seeds": {"train": [9]}, "finetune": {"lora": {"r": 2}}}
    recipe = load(write(tmp_path / "child.yaml", child))
    assert recipe.config.name == "child" and recipe.config.seeds.train == (9,)
    assert recipe.rows[0].config.finetune.lora.r == 2 and recipe.rows[0].config.model.path == base["model"]["path"]


def test_paths_are_read_from_the_file_that_holds_them(base, tmp_path, monkeypatch):
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent" / "pool.json").write_text(Path(base["pool"]["path"]).read_text())
    base["pool"]["path"] = "./pool.json"
    write(tmp_path / "parent" / "p.yaml", base)
    child = write(tmp_path / "c.yaml", {"extends": "parent/p.yaml", "name": "c"})
    monkeypatch.chdir("/")
    assert load(child).rows[0].config.pool.path == str(tmp_path / "parent" / "pool.json")


def test_set_wins_over_the_file_and_is_typed(base, tmp_path):
    path = write(tmp_path / "r.yaml", base)
    recipe = load(path, ["finetune.learning_rate=2e-5", "seeds.train=[1, 2]", "arms.random.select.ratio=0.5"])
    assert recipe.rows[0].config.finetune.learning_rate == 2e-5
    assert recipe.config.seeds.train == (1, 2)
    assert next(r for r in recipe.rows if r.arm == "random").config.select.ratio == 0.5


def test_a_grid_crosses_arms_and_values(base, tmp_path):
    base["grid"] = {"select.ratio": [0.1, 0.2], "finetune.learning_rate": [1e-4, 2e-4]}
    rows = load(write(tmp_path / "r.yaml", base)).rows
    assert len([r for r in rows if r.arm == "random"]) == 4


def test_all_faults_are_told_at_once_with_path_value_and_legal(base, tmp_path):
    base["finetune"] = {"learning_rte": 1, "num_train_epochs": "many", "lora": {"r": 0}}
    base["select"] = {"ratio": 1.5}
    base["arms"]["random"]["select"]["strategy"] = "randm"
    text = faults(write(tmp_path / "r.yaml", base))
    assert "finetune.learning_rte: unknown key. Did you mean 'learning_rate'?" in text
    assert "finetune.num_train_epochs: found 'many'" in text
    assert "finetune.lora.r: found 0" in text
    assert "select.ratio: found 1.5" in text and "less than or equal to 1" in text


def test_faults_of_one_arm_carry_its_name(base, tmp_path):
    base["arms"]["random"] = {"select": {"strategy": "randm"}}
    base["arms"]["length"] = {"select": {"strategy": "length", "felds": "response"}}
    base["arms"]["odd"] = {"selct": {}}
    text = faults(write(tmp_path / "r.yaml", base))
    assert "arms.random.select: strategy 'randm' is unknown" in text and "Did you mean 'random'?" in text
    assert "arms.length.select.felds: unknown key. Did you mean 'field'?" in text
    assert "arms.odd.selct: unknown section" in text and "Did you mean 'select'?" in text


SINGLE_FAULTS = {
    "ratio of zero": ({"select": {"ratio": 0}}, "select.ratio: found 0; input should be greater than 0"),
    "benchmark typo": ({"evaluate": {"benchmarks": ["gsm8"]}}, "Did you mean 'gsm8k'?"),
    "profile typo": ({"evaluate": {"profile": "miniatur"}}, "miniatur"),
    "missing baseline": ({"baseline": "ful"}, "baselines: there is no arm 'ful'"),
    "missing pool": ({"pool": {"path": "./nowhere.json"}}, "nowhere.json does not exist"),
    "missing data": ({"evaluate": {"data": "./nowhere"}}, "nowhere does not exist"),
    "missing prompts": (
        {"score": {"rating_prompts": "nowhere.txt"}},
        "score.rating_prompts: nowhere.txt does not exist",
    ),
    "micro batch": (
        {"finetune": {"global_batch_size": 10, "micro_batch_size": 4}},
        "global_batch_size 10 is not a multiple of micro_batch_size 4",
    ),
    "rest of nothing": (
        {"arms": {"rest": {"select": {"strategy": "random_rest", "rest_of": "full"}}}},
        "arms.rest.select.rest_of: found 'full'; it must name an arm that chooses from the same pool "
        "by itself (random, selectit)",
    ),
    "ratio of full": (
        {"arms": {"full": {"select": {"ratio": 0.5}}}},
        "strategy 'full' says itself how many rows it takes",
    ),
    "grid elsewhere": ({"grid": {"seeds.train": [1]}}, "grid.seeds.train: a grid key starts with one of"),
}


@pytest.mark.parametrize("name", SINGLE_FAULTS)
def test_a_fault_says_what_is_legal(base, tmp_path, name):
    patch, wanted = SINGLE_FAULTS[name]
    for section, value in patch.items():
        both = isinstance(value, dict) and section in base
        base[section] = (
            {
                **base[section],
                **{k: {**base[section].get(k, {}), **v} if isinstance(v, dict) else v for k, v in value.items()},
            }
            if both
            else value
        )
    if name == "ratio of full":
        base["arms"]["full"] = {"select": {"strategy": "full", "ratio": 0.5}}
    assert wanted in faults(write(tmp_path / "r.yaml", base))


def test_a_model_folder_without_tokenizer_is_named_before_anything_runs(base, tmp_path, demo):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((demo / "model" / name).read_bytes())
    base["model"] = {"path": str(folder)}
    assert "has no tokenizer" in faults(write(tmp_path / "r.yaml", base))


def test_a_key_that_stands_twice_is_refused(base, tmp_path):
    path = write(tmp_path / "r.yaml", base)
    path.write_text(path.read_text() + "\nbaseline: random\n")
    assert "'baseline' stands twice" in faults(path)


def test_baseline_is_read_as_the_old_form_of_baselines(base, tmp_path):
    assert load(write(tmp_path / "r.yaml", base)).config.baselines == ("full",)
    child = write(tmp_path / "child.yaml", {"extends": "r.yaml", "baselines": ["random", "full"]})
    assert load(child).config.baselines == ("random", "full")
    assert load(child, ["baseline=selectit"]).config.baselines == ("selectit",)
    assert "give `baselines` alone" in faults(write(tmp_path / "r.yaml", {**base, "baselines": ["random"]}))
    del base["baseline"]
    assert "names an arm twice" in faults(write(tmp_path / "r.yaml", {**base, "baselines": ["random", "random"]}))


PRIMARY_FAULTS = {
    "no such row": ({"row": "selctit", "against": "full"}, "primary.row: there is no row 'selctit'"),
    "no baseline": ({"row": "selectit", "against": "random"}, "primary.against: 'random' is not one of the baselines"),
    "itself": ({"row": "full", "against": "full"}, "primary: row and against are both 'full'"),
    "typo": ({"row": "selectit", "againts": "full"}, "Did you mean 'against'?"),
}


@pytest.mark.parametrize("name", PRIMARY_FAULTS)
def test_a_primary_comparison_that_cannot_be_made_is_refused(base, tmp_path, name):
    primary, sentence = PRIMARY_FAULTS[name]
    assert sentence in faults(write(tmp_path / "r.yaml", {**base, "primary": primary}))


def test_a_recipe_that_extends_itself_is_refused(base, tmp_path):
    base["extends"] = "r.yaml"
    assert "extends itself" in faults(write(tmp_path / "r.yaml", base))


def test_a_missing_recipe_and_a_missing_parent_are_named(base, tmp_path):
    assert "does not exist" in faults(tmp_path / "no.yaml")
    base["extends"] = "gone.yaml"
    assert "named by extends" in faults(write(tmp_path / "r.yaml", base))


def test_an_untrained_arm_selects_nothing(base, tmp_path):
    base["arms"]["base"] = {"finetune": {"method": "none"}}
    recipe = load(write(tmp_path / "r.yaml", base))
    assert next(r for r in recipe.rows if r.arm == "base").config.select.strategy == "full"
    base["arms"]["base"]["select"] = {"strategy": "random"}
    assert "nothing is selected" in faults(write(tmp_path / "r.yaml", base))


def test_a_remainder_of_text_numbers_is_typed_before_it_is_used(base, tmp_path):
    path = write(tmp_path / "r.yaml", base)
    path.write_text(path.read_text() + "finetune: {learning_rate: 2e-5}\n")  # PyYAML reads 2e-5 as text
    assert load(path).rows[0].config.finetune.learning_rate == pytest.approx(2e-5)
    assert json.loads(load(path).rows[0].config.finetune.model_dump_json())["learning_rate"] == 2e-5
