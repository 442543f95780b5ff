"""Every shipped recipe validates in a fresh clone, plans, keeps the protocol that it names, and ends with a table in
miniature: the demonstration's model and data."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from finished_work import call
from test_end_to_end import results, run

from selectit.config import FinetuneConfig
from selectit.inference.shape import shape_from_config
from selectit.inference.training_memory import training_memory
from selectit.plan.build import build
from selectit.plan.status import inspect
from selectit.recipe.load import load
from selectit.recipe.rows import Recipe
from selectit.store.kinds import KINDS
from selectit.store.runs_folder import Store

ROOT = Path(__file__).parents[1]
HOME = ROOT / "recipes"
RECIPES = {str(path.relative_to(HOME)): path for path in sorted(HOME.rglob("*.yaml")) if "\nname: " in path.read_text()}
PARENTS = {"paper/setting.yaml", "instructdiff/setting.yaml"}
IN_DEFAULT_SUITE = "paper/main-7b.yaml"
GIB = 2**30

LLAMA_3_8B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
    "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
}  # fmt: skip
QWEN_2_5_7B = {
    "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
    "num_hidden_layers": 28, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
}  # fmt: skip


def lineage(path: Path) -> list[dict]:
    raw = yaml.safe_load(path.read_text())
    return [raw, *(lineage(path.parent / raw["extends"]) if "extends" in raw else [])]


def miniature(path: Path) -> list[str]:
    """Overrides that leave the recipe's arms, grid and method, and replace what is large."""
    demo = ROOT / "demo"
    overrides = {
        "pool": {"path": f"{demo}/pool.json", "format": "auto", "limit": 60},
        "select": {"ratio": 0.2},
        "model": {"path": f"{demo}/model", "dtype": "float32"},
        "score": {"rating_prompts": "default", "dtype": "float32"},
        "finetune": {
            "max_steps": 2, "global_batch_size": 4, "micro_batch_size": 4, "max_length": 512,
            "launcher": "none", "num_processes": 1, "deepspeed": "none",
        },
        "evaluate": {
            "profile": "miniature", "data": f"{demo}/benchmarks", "benchmarks": ["gsm8k", "mmlu"], "limit": 1,
        },
        "seeds": {"select": [1], "train": [1]},
        "wandb": {"enabled": False},
    }  # fmt: skip
    for raw in lineage(path):
        if raw.get("pool", {}).get("sample"):
            overrides["pool"]["sample"] = {"num_rows": 60, "seed": 42}
        for name, arm in raw.get("arms", {}).items():
            own = overrides.setdefault("arms", {}).setdefault(name, {})
            if models := arm.get("score", {}).get("models"):
                raters = [{"path": f"{demo}/model", "parameters_in_billions": n + 1} for n in range(len(models))]
                own["score"] = {"models": raters, **({"max_length": 512} if "max_length" in arm["score"] else {})}
            if "pool" in arm:
                own["pool"] = {**overrides["pool"], "limit": 30}
    return [f"{section}.{key}={yaml.safe_dump(value, default_flow_style=True).strip().removesuffix('...').strip()}"
            for section, fields in overrides.items() for key, value in fields.items()]  # fmt: skip


@pytest.fixture
def fresh_clone(tmp_path, monkeypatch) -> Path:
    """What a clone holds, in a home folder where nothing was fetched."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for folder in ("recipes", "demo"):
        shutil.copytree(ROOT / folder, tmp_path / "clone" / folder)
    return tmp_path / "clone"


@pytest.fixture
def rating_prompts_fetched(tmp_path, monkeypatch):
    """The released rating prompts are in the cache, in our words."""
    monkeypatch.setattr("selectit.data.fetch.cache_folder", lambda: tmp_path / "fetched")
    monkeypatch.setattr("selectit.scoring.prompts.ensure", lambda location: None)
    (tmp_path / "fetched").mkdir()
    shutil.copyfile(ROOT / "selectit/scoring/rating_prompts.txt", tmp_path / "fetched" / "rating_prompt.txt")


@cache
def loaded(name: str) -> Recipe:
    return load(RECIPES[name])


def test_every_recipe_but_the_parents_has_a_name():
    assert {str(path.relative_to(HOME)) for path in HOME.rglob("*.yaml")} - set(RECIPES) == PARENTS


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_validates_in_a_fresh_clone_without_a_network(name, fresh_clone):
    text = call("validate", fresh_clone / "recipes" / name)
    assert re.search(r"\d+ rows, \d+ stages", text), text


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_plans(name, tmp_path, rating_prompts_fetched):
    plan = build(load(RECIPES[name]))
    states = inspect(plan, Store(tmp_path))
    assert plan.stages and {stage.kind for stage in plan.stages} <= set(KINDS)
    assert all(state.status in ("run", "blocked") for state in states.values())  # blocked: only a hub could say more
    blocked = [state.why for state in states.values() if state.status == "blocked"]
    assert all("hub" in why or "could not be read" in why for why in blocked), blocked


@pytest.mark.parametrize("name", RECIPES)
def test_the_header_of_a_recipe_has_its_command_its_price_and_what_it_cannot_make(name):
    header = RECIPES[name].read_text().split("\nname: ")[0]
    assert all(line.startswith("#") and len(line) <= 120 for line in header.splitlines())
    assert f"selectit run recipes/{name}" in header, "a recipe opens with its command"
    if name.startswith(("paper/", "instructdiff/")):
        words = " ".join(header.replace("#", "").split())
        assert f"selectit plan recipes/{name} --price --tflops 989 --utilisation 0.4" in words
        assert re.search(r"hours? of one H100|hours are not known", words), "the header has the price"
        assert re.search(r"SelectIT paper's|InstructDiff's", words), "the header names the table"
        assert re.search(r"cannot (be made|make)|not known", words), "the header says what is missing"


@pytest.mark.parametrize("name", RECIPES)
def test_each_command_and_override_of_a_header_can_be_typed_as_it_stands(name, fresh_clone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "benchmarks").mkdir(parents=True)
    for pool in ("chatgpt_9k.json", "alpaca.json"):
        (tmp_path / pool).write_text('[{"instruction": "a", "input": "", "output": "b"}]')
    own = [RECIPES[name], *(HOME / one for one in PARENTS if Path(one).parent == Path(name).parent)]
    lines = [line for path in own for line in path.read_text().splitlines() if re.match("#   (selectit|--set) ", line)]
    for line in lines if name != "real-input.yaml" else ():  # whose paths are placeholders
        words = shlex.split(line.removeprefix("#"))
        overrides = [after for word, after in pairwise(words) if word == "--set"]
        load(fresh_clone / "recipes" / name, overrides)


def test_the_page_on_reproducing_has_a_line_for_every_table_with_the_hours_of_its_recipe():
    page = (ROOT / "docs" / "reproduce.md").read_text()
    for name in RECIPES:
        if not name.startswith(("paper/", "instructdiff/")):
            continue
        [line, *_] = [line for line in page.splitlines() if f"(../recipes/{name})" in line]
        header = " ".join(RECIPES[name].read_text().split("\nname: ")[0].replace("#", " ").split())
        if (hours := re.search(r"([\d.]+) hours of one H100", header)) is not None:
            assert re.search(rf"(?<![\d.]){re.escape(hours[1])}(?![\d.])", line), (name, hours[1])
        if (dollars := re.search(r"models: ([\d,]+) to ([\d,]+) USD", header)) is not None:
            assert f"| {dollars[1]} to {dollars[2]} |" in line, name
    assert len(re.findall(r"\(\.\./recipes/", page)) >= 17


@pytest.mark.parametrize(
    ("name", "model", "learning_rate", "batch", "epochs", "max_length", "ratio"),
    [
        ("mathematics", "Qwen/Qwen2.5-7B", 5e-5, 256, 3, 2048, 0.1),
        ("general", "meta-llama/Meta-Llama-3-8B", 2e-5, 64, 10, 2048, 0.1),
        ("medical", "meta-llama/Meta-Llama-3-8B", 2e-5, 64, 3, 512, 0.1),
        ("code", "meta-llama/Meta-Llama-3-8B", 1e-5, 256, 5, 4096, 0.2),
    ],
)
def test_instructdiffs_protocol_is_kept_to_the_letter(name, model, learning_rate, batch, epochs, max_length, ratio):
    """The table of the paper's settings, written once more."""
    recipe = loaded(f"instructdiff/{name}.yaml")
    assert recipe.config.published_files == ("instructdiff",)
    arms = {row.arm: row.config for row in recipe.rows}
    assert set(arms) == {
        "base", "all", "random", "response_length", "instruction_length", "ppl_min", "ppl_mid", "ppl_max", "ifd",
        "superfiltering", "selectit",
    }  # fmt: skip
    for arm, config in arms.items():
        assert (config.model.path, config.model.dtype) == (model, "bfloat16")
        assert (config.pool.sample.num_rows, config.pool.limit) == (10_000, None)
        assert config.evaluate.profile == f"instructdiff-{name}"
        if arm == "base":
            assert config.finetune.method == "none"
            continue
        tuned = config.finetune
        assert (tuned.method, tuned.learning_rate, tuned.global_batch_size) == ("full", learning_rate, batch)
        assert (tuned.num_train_epochs, tuned.max_length, tuned.max_steps) == (epochs, max_length, None)
        assert (tuned.lr_scheduler_type, tuned.warmup_ratio, tuned.weight_decay) == ("cosine", 0.05, 0.01)
        assert tuned.max_grad_norm == 1.0
        assert config.select.strategy == "full" if arm == "all" else config.select.ratio == ratio
    assert [m.path for m in arms["superfiltering"].raters] == ["openai-community/gpt2"]
    assert {m.path for arm in ("ppl_min", "ifd", "selectit") for m in arms[arm].raters} == {model}


@pytest.mark.parametrize("name", ["mathematics", "general", "medical", "code"])
def test_instructdiffs_training_fits_eight_gpus_and_with_the_override_of_the_header_one(name):
    shape = shape_from_config(QWEN_2_5_7B if name == "mathematics" else LLAMA_3_8B, name)
    path = RECIPES[f"instructdiff/{name}.yaml"]
    written = (HOME / "instructdiff/setting.yaml").read_text()
    one_gpu = ["finetune.num_processes=1", "finetune.deepspeed=zero2_offload"]
    assert " ".join(f"--set {override}" for override in one_gpu) in written
    for overrides, num_gpus in (([], 8), (one_gpu, 1)):
        finetune: FinetuneConfig = next(r.config.finetune for r in load(path, overrides).rows if r.arm == "all")
        assert finetune.num_processes == num_gpus
        memory = training_memory(shape, finetune, 2, finetune.micro_batch_size * finetune.max_length, on_gpu=True)
        assert memory.expected < 60 * GIB, "an 80 GB GPU has 74.5 GiB, and libraries take some"
        assert memory.offloaded < 110 * GIB


def test_raters_of_the_papers_recipes_are_the_models_that_they_train():
    raters = {
        name: {row.arm: [model.path for model in row.config.raters] for row in loaded(f"paper/{name}.yaml").rows}
        for name in ("main-13b", "mistral-7b", "llama3-8b", "ratios-13b", "translation")
    }
    assert raters["main-13b"]["sentence"] == raters["ratios-13b"]["selectit"] == ["meta-llama/Llama-2-13b-hf"]
    assert len(raters["main-13b"]["model"]) == 3
    assert raters["mistral-7b"]["selectit"] == ["mistralai/Mistral-7B-v0.1"]
    assert raters["llama3-8b"]["selectit"] == ["meta-llama/Meta-Llama-3-8B"]
    assert raters["translation"]["selectit"] == ["haoranxu/ALMA-7B-Pretrain"]
    dtypes = {row.config.raters[0].dtype for row in loaded("paper/main-7b.yaml").rows if row.config.raters}
    assert dtypes == {"float16"}


def test_published_subsets_are_trained_on_whole():
    arms = {row.arm: row.config for row in loaded("paper/published-subsets.yaml").rows}
    for arm in ("selective_alpaca", "lima"):
        pool = arms[arm].pool
        assert arms[arm].select.strategy == "full" and (pool.sample, pool.limit) == (None, None)
    assert arms["selective_alpaca"].pool.path == "liangxin/Selective_Alpaca"
    assert Path(arms["lima"].pool.path).name == "lima.jsonl"


@pytest.mark.parametrize(
    "name",
    [
        n if n == IN_DEFAULT_SUITE else pytest.param(n, marks=pytest.mark.slow)
        for n in RECIPES
        if n.startswith(("paper/", "instructdiff/"))
    ],
)
def test_a_recipe_ends_with_a_table_in_miniature(name, tmp_path):
    assert_runs(name, tmp_path)


@pytest.mark.slow
def test_instructdiffs_medical_table_in_miniature_has_the_published_number_of_each_arm(shared, tmp_path):
    """Its own profile on a question of the real test set."""
    assert_runs(
        "instructdiff/medical.yaml", tmp_path, "evaluate.profile=instructdiff-medical", f"evaluate.data={shared}",
        "evaluate.benchmarks=[medqa]",
    )  # fmt: skip
    report = (tmp_path / "instructdiff-medical" / "report.md").read_text()
    section = report.partition("## Published results\n")[2].partition("\n## ")[0]
    assert any("SelectIT" in line and "46.11" in line for line in section.splitlines())


@pytest.mark.slow
def test_a_paper_recipe_runs_with_its_launcher_and_deepspeed_in_two_processes(tmp_path):
    pytest.importorskip("deepspeed")
    name = "paper/mistral-7b.yaml"
    setting = yaml.safe_load((HOME / "paper/setting.yaml").read_text())["finetune"]
    own = [f"finetune.{key}={setting[key]}" for key in ("launcher", "deepspeed")]
    assert_runs(name, tmp_path, *own, "finetune.num_processes=2", "finetune.micro_batch_size=2")
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("training.json")]
    assert {(record["num_processes"], record["deepspeed"]) for record in records} == {(2, setting["deepspeed"])}


def assert_runs(name: str, tmp_path: Path, *overrides: str) -> None:
    settings = [*miniature(RECIPES[name]), *overrides]
    run(RECIPES[name], tmp_path, *settings)
    recipe = load(RECIPES[name], settings)
    rows = results(tmp_path / recipe.config.name)
    assert {row["arm"] for row in rows} == set(recipe.config.arms)
    assert all(row["value"] for row in rows)
    assert_no_verdict_on_a_miniature(recipe, (tmp_path / recipe.config.name / "report.md").read_text())


def assert_no_verdict_on_a_miniature(recipe: Recipe, report: str) -> None:
    """Every published number is there, and none is compared with the demonstration's model, pool and items."""
    if not recipe.config.published_files:
        return
    section = report.partition("## Published results\n")[2].partition("\n## ")[0]
    lines = [line.split(" | ") for line in section.splitlines() if line.count(" | ") == 10 and "---" not in line][1:]
    benchmarks = {name for row in recipe.rows for name in row.config.evaluate.benchmarks}
    if recipe.config.published_files == ("instructdiff",) and benchmarks == {"gsm8k", "mmlu"}:
        assert not lines, "it measured neither"
        return
    assert lines and {line[4] for line in lines} == {"not comparable"}
    reasons = {line.split(" ")[1]: line for line in section.splitlines() if line.startswith("- \\[")}
    for line in lines:
        of_a_benchmark = line[2] in benchmarks
        assert ("limit 1 here, none there" if of_a_benchmark else "how the paper measures it") in reasons[line[5]], line
