"""Every shipped recipe loads, plans, and goes from end to end in miniature: the demonstration's model and data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from test_end_to_end import results, run

from selectit.artifact import Store
from selectit.graph import KINDS
from selectit.plan import build
from selectit.recipe import Recipe, load
from selectit.states import inspect

ROOT = Path(__file__).parents[1]
HOME = ROOT / "recipes"
RECIPES = {str(path.relative_to(HOME)): path for path in sorted(HOME.rglob("*.yaml")) if "\nname: " in path.read_text()}
IN_DEFAULT_SUITE = "paper/main-7b.yaml"


def lineage(path: Path) -> list[dict]:
    raw = yaml.safe_load(path.read_text())
    return [raw, *(lineage(path.parent / raw["extends"]) if "extends" in raw else [])]


def miniature(path: Path) -> list[str]:
    """Overrides that leave the recipe's arms, grid and method, and replace what is large."""
    demo = ROOT / "demo"
    overrides = {
        "pool": {"path": f"{demo}/pool.json", "format": "auto", "limit": 60},
        "model": {"path": f"{demo}/model", "dtype": "float32"},
        "score": {"rating_prompts": "default"},
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
        if models := raw.get("score", {}).get("models"):
            overrides["score"]["models"] = [{"path": f"{demo}/model"} for _ in models]
        for name, arm in raw.get("arms", {}).items():
            if models := arm.get("score", {}).get("models"):
                raters = [{"path": f"{demo}/model", "parameters_in_billions": n + 1} for n in range(len(models))]
                overrides.setdefault("arms", {})[name] = {"score": {"models": raters}}
    return [f"{section}.{key}={yaml.safe_dump(value, default_flow_style=True).strip().removesuffix('...').strip()}"
            for section, fields in overrides.items() for key, value in fields.items()]  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_loads_and_plans(name, tmp_path):
    path = RECIPES[name]
    prompts = ["score.rating_prompts=default"] if any("data/rating_prompt.txt" in str(r) for r in lineage(path)) else []
    if "data/" in str(lineage(path)[0].get("pool", "")) and "domains" in name:  # a file that a user makes first
        prompts.append(f"pool.path={ROOT}/demo/pool.json")
    if name == "real-input.yaml" and not (ROOT.parent / "shared" / "data").is_dir():
        pytest.skip("its data folder is not on this machine")
    plan = build(load(path, prompts))
    states = inspect(plan, Store(tmp_path))
    assert plan.stages and {stage.kind for stage in plan.stages} <= set(KINDS)
    assert all(state.status in ("run", "blocked") for state in states.values())  # blocked: only a hub could say more
    blocked = [state.why for state in states.values() if state.status == "blocked"]
    assert all("hub" in why for why in blocked), blocked
    written = path.read_text()
    assert f"selectit run recipes/{name}" in written, "a recipe opens with its command"


@pytest.mark.parametrize(
    "name",
    [
        n if n == IN_DEFAULT_SUITE else pytest.param(n, marks=pytest.mark.slow)
        for n in RECIPES
        if n.startswith(("paper/", "domains/"))
    ],
)
def test_a_recipe_ends_with_a_table_in_miniature(name, tmp_path):
    assert_runs(name, tmp_path)


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
    assert lines and {line[4] for line in lines} == {"not comparable"}
    reasons = {line.split(" ")[1]: line for line in section.splitlines() if line.startswith("- \\[")}
    for line in lines:
        of_a_benchmark = line[2] in ("mmlu", "gsm8k")
        assert ("limit 1 here, none there" if of_a_benchmark else "how the paper measures it") in reasons[line[5]], line
