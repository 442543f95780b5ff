from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from selectit.errors import UserError
from selectit.recipe.load import load


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


def test_all_errors_are_reported_together_with_path_value_and_what_is_allowed(base, tmp_path):
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
        "strategy 'full' decides how many rows it takes",
    ),
    "grid elsewhere": ({"grid": {"seeds.train": [1]}}, "grid.seeds.train: a grid key starts with one of"),
}


@pytest.mark.parametrize("name", SINGLE_FAULTS)
def test_an_error_states_what_is_allowed(base, tmp_path, name):
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


RATERS = {"score": {"models": [{"path": "org/seven"}]}, "model": {"path": "org/seven"}}


@pytest.fixture
def child_of(base, tmp_path):
    """A child recipe of one whose raters are named for org/seven."""

    def make(parent: dict, **child) -> Path:
        write(tmp_path / "parent.yaml", {**base, **parent})
        return write(tmp_path / "child.yaml", {"extends": "parent.yaml", "name": "child", **child})

    return make


def raters_of(path: Path, *overrides: str, arm: str = "selectit") -> list[str]:
    return [model.path for row in load(path, overrides).rows if row.arm == arm for model in row.config.raters]


def test_the_arms_own_model_rates_where_no_rater_is_named(child_of):
    path = child_of({"model": {"path": "org/seven"}, "score": {"dtype": "float16"}}, model={"path": "org/eight"})
    assert raters_of(path) == ["org/eight"] and raters_of(path, "arms.selectit.model.path=org/nine") == ["org/nine"]
    [row] = [row for row in load(path).rows if row.arm == "selectit"]
    assert (row.config.raters[0].dtype, row.config.model.dtype) == ("float16", "auto")
    assert raters_of(path, arm="random") == []


@pytest.mark.parametrize(
    ("child", "overrides"),
    [
        ({"model": {"path": "org/eight"}}, ()),
        ({}, ("model.path=org/eight",)),
        ({"arms": {"selectit": {"model": {"path": "org/eight"}}}}, ()),
        ({"grid": {"model.path": ["org/seven", "org/eight"]}}, ()),
    ],
    ids=["child", "set", "arm", "grid"],
)
def test_raters_of_a_parent_do_not_rate_for_another_model_unseen(child_of, child, overrides):
    path = child_of(RATERS, **child)
    reported = faults(path, overrides)
    assert (
        "score.models: org/seven, named in" in reported
        and "parent.yaml where the model of arm 'selectit' is" in reported
    )
    assert "it is org/eight now. Name its raters, or set score.models to null" in reported
    assert reported.count("score.models") == 2  # one fault: arms that rate nothing have none
    cured = (*overrides, "score.models=null")
    assert "org/eight" in raters_of(path, *cured)
    assert raters_of(path, *overrides, "score.models=[{path: org/seven}]")[0] == "org/seven"


def test_raters_that_are_named_with_the_model_or_after_it_are_kept(base, child_of, tmp_path):
    named = {"models": [{"path": "org/small"}]}
    assert raters_of(child_of(RATERS, model={"path": "org/eight"}, score=named)) == ["org/small"]
    assert raters_of(child_of(RATERS, arms={"selectit": {"score": named}})) == ["org/small"]
    base["arms"]["selectit"]["model"] = {"path": "org/eight"}  # one file: who reads it sees both
    assert raters_of(write(tmp_path / "r.yaml", {**base, **RATERS})) == ["org/seven"]
    assert raters_of(child_of(RATERS, model={"path": "org/seven"})) == ["org/seven"]
    assert raters_of(child_of({"score": named}, model={"path": base["model"]["path"]})) == ["org/small"]


def test_raters_of_an_arm_are_its_own_whatever_the_child_writes_for_all(child_of):
    parent = {"model": {"path": "org/seven"}}
    arms = {"selectit": {"select": {"strategy": "selectit"}, "score": RATERS["score"]}}
    path = child_of(
        {**parent, "arms": arms, "baseline": "selectit"}, model={"path": "org/eight"}, score={"models": None}
    )
    assert "arms.selectit.score.models: org/seven, named in" in faults(path)
    assert raters_of(path, "arms.selectit.score.models=null") == ["org/eight"]


def test_a_revision_does_not_outlive_the_path_that_it_was_given_for(child_of, base):
    path = child_of({"model": {"path": "org/seven", "revision": "v1"}}, model={"path": "org/eight"})
    assert "model.revision: v1, given in" in faults(path) and "model.path is org/eight now" in faults(path)
    assert load(path, ["model.revision=null"]).rows
    assert load(path, ["model.revision=v2"]).rows
    assert load(path, [f"model.path={base['model']['path']}"]).rows  # a folder has no revision
    path = child_of({"pool": {"path": "org/pool", "revision": "v1"}}, pool={"path": "org/other"})
    assert "pool.revision: v1, given in" in faults(path)


def test_a_type_that_is_given_twice_must_be_the_same(base, tmp_path):
    base["score"] = {"dtype": "float16", "models": [{"path": "org/a"}, {"path": "org/b", "dtype": "bfloat16"}]}
    reported = faults(write(tmp_path / "r.yaml", base))
    assert "score: dtype is float16, and models.1 (org/b) has bfloat16; give the type once" in reported


def test_a_plan_lists_the_rater_of_each_arm(base, tmp_path):
    from finished_work import call

    base["arms"]["ifd"] = {"select": {"strategy": "ifd"}, "score": {"models": [{"path": "org/gpt"}], "dtype": None}}
    base["score"] = {"dtype": "float32"}
    text = call("plan", write(tmp_path / "r.yaml", base), "--runs-dir", tmp_path / "runs")
    assert f"rater of selectit: {base['model']['path']} (float32), the arm's own model" in text
    assert "rater of ifd: org/gpt (auto), named in score.models" in text
