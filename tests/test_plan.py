from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from selectit.config import (
    BenchmarkConfig,
    Config,
    FinetuneStage,
    JudgeConfig,
    LossStage,
    ModelConfig,
    ScoreStage,
    SelectStage,
    is_execution,
)
from selectit.errors import UserError
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.build import build
from selectit.plan.status import inspect
from selectit.recipe.load import load
from selectit.selection.registry import shipped
from selectit.store.artifact import finish
from selectit.store.fingerprint import Hasher, canonical_json, digest, identity, pinned, resolve_revision
from selectit.store.kinds import KINDS
from selectit.store.runs_folder import Store


@pytest.fixture
def recipe(demo, small_pool, tmp_path):
    raw = {
        "name": "small",
        "pool": {"path": str(small_pool)},
        "model": {"path": str(demo / "model")},
        "evaluate": {"profile": "miniature", "data": str(demo / "benchmarks"), "benchmarks": ["mmlu", "humaneval"]},
        "arms": {
            "full": {"select": {"strategy": "full"}},
            "random": {"select": {"strategy": "random"}},
            "rest": {"select": {"strategy": "random_rest", "rest_of": "selectit"}},
            "matched": {"select": {"strategy": "random_matched", "match": "selectit", "unit": "words"}},
            "selectit": {"select": {"strategy": "selectit"}},
            "mid": {"select": {"strategy": "perplexity", "order": "mid"}},
            "ifd": {"select": {"strategy": "ifd"}},
            "token": {"select": {"strategy": "selectit", "level": "token"}},
            "base": {"finetune": {"method": "none"}},
        },
        "baseline": "full",
    }

    def make(**changes):
        path = tmp_path / "r.yaml"
        path.write_text(yaml.safe_dump({**raw, **changes}))
        return load(path)

    return make


def kinds(plan) -> dict[str, int]:
    names = [stage.kind.split("-")[0] for stage in plan.stages]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def test_scoring_runs_once_whatever_the_number_of_arms(recipe):
    plan = build(recipe())
    assert kinds(plan) == {"select": 8, "finetune": 8, "evaluate": 18, "losses": 2, "score": 1}
    [score] = [s for s in plan.stages if s.kind == "score"]
    assert len(score.config.prompts) in (5, 6)  # the token level's drawn prompt may be among the first five


def test_perplexity_and_ifd_arms_share_the_losses_of_each_text(recipe):
    more = {
        "top": {"select": {"strategy": "perplexity", "over": "full", "ratio": 0.5}},
        "of_perplexities": {"select": {"strategy": "ifd", "form": "perplexity_ratio"}},
        "bare": {"select": {"strategy": "ifd", "unconditioned": "bare"}},
        "elsewhere": {"select": {"strategy": "ifd"}, "finetune": {"template": "llmzoo"}},
        "named": {"select": {"strategy": "ifd", "template": "alpaca"}, "finetune": {"template": "llmzoo"}},
    }
    found = build(recipe(arms={**recipe().config.arms, **more}))
    reported = [(s.config.text, s.config.template) for s in found.stages if s.kind == "losses"]
    alpaca = [(text, "alpaca") for text in ("conditioned", "marker", "bare")]
    assert sorted(reported) == sorted([*alpaca, ("conditioned", "llmzoo"), ("marker", "llmzoo")])


def test_a_template_without_a_response_marker_is_refused_where_ifd_asks_for_one(recipe):
    arms = {"full": {"select": {"strategy": "full"}}, "ifd": {"select": {"strategy": "ifd", "template": "plain"}}}
    with pytest.raises(UserError, match=r"set it to bare, or select\.template to alpaca or llmzoo"):
        build(recipe(arms=arms))


def test_seeds_multiply_only_the_stages_that_use_them(recipe):
    plan = build(recipe(seeds={"select": [1, 2], "train": [1, 2], "eval": [1, 2]}))
    cells = {row.arm: len(row.cells) for row in plan.rows}
    # mmlu is greedy (one evaluation per model), humaneval is sampled (one per evaluation seed)
    assert cells["full"] == 2 * (1 + 2)
    assert cells["random"] == 4 * (1 + 2)
    assert cells["base"] == 1 + 2
    assert cells["selectit"] == 2 * (1 + 2)


def test_seeds_in_step_run_each_arm_once_for_each_seed(recipe):
    plan = build(recipe(seeds={"select": [1, 2], "train": [3, 4], "eval": [5], "combine": "in_step"}))
    cells = {row.arm: {(c.select_seed, c.train_seed, c.eval_seed) for c in row.cells} for row in plan.rows}
    assert cells["random"] == {(1, 3, 5), (2, 4, 5)}
    assert len(cells["full"]) == 2 and len(cells["base"]) == 1
    with pytest.raises(UserError, match=r"2 \(select\), 3 \(train\) and 1 \(eval\) seeds"):
        recipe(seeds={"select": [1, 2], "train": [3, 4, 5], "combine": "in_step"})


def test_a_grid_repeats_only_the_arms_that_it_changes(recipe):
    plan = build(recipe(grid={"select.ratio": [0.2, 0.5]}))
    labels = [row.label for row in plan.rows]
    assert labels.count("full") == labels.count("base") == 1
    assert "random (ratio=0.2)" in labels and "random (ratio=0.5)" in labels
    assert kinds(plan)["score"] == 1


def test_a_grid_over_a_field_of_one_strategy_repeats_only_its_arms(recipe):
    labels = [row.label for row in build(recipe(grid={"select.alpha": [0.2, 0.4]})).rows]
    assert labels.count("random") == 1 and labels.count("full") == 1
    assert "selectit (alpha=0.2)" in labels and "selectit (alpha=0.4)" in labels


def test_inputs_come_before_the_stages_that_read_them(recipe):
    seen = set()
    for stage in build(recipe()).stages:
        assert all(other in seen for _, other in stage.inputs)
        seen.add(stage)


def test_a_fresh_plan_runs_everything_and_gives_the_reason(recipe, tmp_path):
    plan = build(recipe())
    states = inspect(plan, Store(tmp_path / "runs"))
    assert {state.status for state in states.values()} == {"run"}
    whys = {plan.title(stage): state.why for stage, state in states.items()}
    assert whys["select random"] == "never run" and whys["finetune random"] == "after select random"


def test_a_finished_stage_is_done_and_a_changed_one_names_the_field(recipe, tmp_path):
    store = Store(tmp_path / "runs")
    plan = build(recipe())
    stage = next(s for s in plan.stages if plan.title(s) == "select random")
    state = inspect(plan, store)[stage]
    folder = store.folder("select", state.fingerprint)
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text("{}")
    assert inspect(plan, store)[stage].status == "resume"
    for name in KINDS["select"].outputs:
        (folder / name).write_text("{}\n")
    manifest = {"kind": "select", "fingerprint": state.fingerprint, "identity": state.identity}
    finish(folder, manifest, KINDS["select"].outputs, KINDS["select"].content)
    assert inspect(plan, store)[stage].status == "done"

    changed = build(recipe(select={"ratio": 0.5}))
    other = next(s for s in changed.stages if changed.title(s) == "select random")
    assert inspect(changed, store)[other].why == "new: select.ratio 0.2 -> 0.5"

    (folder / "scores.jsonl").unlink()
    assert inspect(plan, store)[stage].status == "resume"


# One other allowed value for every field of every stage, so that no field can be forgotten.
OTHER = {
    "epoch": 1, "keeps_scores": True, "keep_epochs": True,
    "select": {"strategy": "random", "ratio": 0.3}, "seed": 7, "prompts": ("Other.\n\n",), "theta": (1.0,),
    "max_length": 99, "long_rows": "skip", "turns": "mean", "quantization": "8bit", "text": "bare",
    "quantities": ("loss", "last"),
    "batch_tokens": 17, "num_processes": 3, "launcher": "external", "verify": 7,
    "backend": "vllm", "vllm_python": "/other/python",
    "template": "llmzoo", "limit": 3, "judge": "hf:{model}",
    "sandbox": "none", "comet_python": "/other/python", "batch_size": 3, "profile": "other", "bad_rows": "exclude",
}  # fmt: skip


def stage_fields():
    for schema in (ScoreStage, LossStage, SelectStage, FinetuneStage, EvaluateStage):
        for name, info in schema.model_fields.items():
            if name not in ("pool", "model", "finetune", "benchmark", "data", "adapter", "tokenizer"):
                yield schema, name, bool((info.json_schema_extra or {}).get("execution"))


@pytest.mark.parametrize(
    ("schema", "name", "execution"), list(stage_fields()), ids=lambda v: getattr(v, "__name__", str(v))
)
def test_identity_fields_change_the_fingerprint_and_execution_fields_do_not(recipe, demo, schema, name, execution):
    stage = next(s for s in build(recipe()).stages if isinstance(s.config, schema))
    value = "chat" if (schema, name) == (ScoreStage, "template") else OTHER[name]
    value = value.format(model=demo / "model") if isinstance(value, str) else value
    changed = schema.model_validate({**stage.config.model_dump(), name: value}, context=shipped().context)
    same = digest(identity(stage.config, Hasher())) == digest(identity(changed, Hasher()))
    assert same == execution


OTHER_JUDGE = {
    "model": "other", "base_url": "http://127.0.0.1:1/v1", "prompt": "{prompt}", "verdict": "text",
    "api_key_env": "OTHER_KEY", "max_concurrency": 2, "timeout_seconds": 3.5, "max_retries": 1,
    "usd_per_million_input_tokens": 1.5, "usd_per_million_output_tokens": 2.5, "cache": "elsewhere",
    "max_tokens": 50, "temperature": 0.5, "extra_body": {"reasoning_effort": "low"}, "max_missing": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("name", JudgeConfig.model_fields)
def test_every_field_of_a_judge_is_identity_unless_it_is_marked(demo, tmp_path, name):
    (tmp_path / "prompt.txt").write_text("{instruction} {output_m} {output_M}")
    benchmark = BenchmarkConfig(name="alpaca_eval", metric="win_rate")

    def fingerprint(**judge):
        stage = EvaluateStage(
            model=ModelConfig(path=str(demo / "model")),
            benchmark=benchmark,
            data=str(demo / "benchmarks"),
            judge={"model": "one", **judge},
        )
        return digest(identity(stage, Hasher()))

    value = OTHER_JUDGE[name]
    value = value.format(prompt=tmp_path / "prompt.txt") if isinstance(value, str) else value
    assert (fingerprint() == fingerprint(**{name: value})) == is_execution(JudgeConfig.model_fields[name])


def test_two_judges_never_share_a_column_and_one_judge_needs_no_name(recipe):
    def columns(*judges):
        arms = {f"a{i}": {"finetune": {"method": "none"}, "evaluate": {"judge": j}} for i, j in enumerate(judges)}
        made = recipe(arms=arms, baseline="a0", evaluate={"profile": "miniature", "benchmarks": ["alpaca_eval"]})
        return [cell.benchmark for row in build(made).rows for cell in row.cells]

    one, other = {"model": "gpt-4-turbo"}, {"model": "gpt-4-turbo", "verdict": "text"}
    assert columns(one, {**one, "max_retries": 3}, None) == ["alpaca_eval"] * 3
    assert columns(one, other, "hf:org/judge") == [
        "alpaca_eval (gpt-4-turbo)", "alpaca_eval (gpt-4-turbo #2)", "alpaca_eval (judge)",
    ]  # fmt: skip


def test_a_fault_in_a_judge_is_reported_by_its_key(recipe):
    with pytest.raises(UserError, match=r"evaluate\.judge\.base_ulr: unknown key\. Did you mean 'base_url'"):
        recipe(evaluate={"judge": {"model": "x", "base_ulr": "http://h/v1"}})
    with pytest.raises(UserError, match=r"evaluate\.judge\.model: missing"):
        recipe(evaluate={"judge": {}})
    with pytest.raises(UserError, match=r"evaluate\.judge\.prompt: .*nowhere\.txt does not exist"):
        recipe(evaluate={"judge": {"model": "x", "prompt": "nowhere.txt"}})


def leaves(schema: type[Config], prefix=""):
    for name, info in schema.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Config):
            yield from leaves(info.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", bool((info.json_schema_extra or {}).get("execution"))


OTHER_FINETUNE = {
    "method": "full", "template": "chat", "control_tokens": "refuse",
    "learning_rate": 1e-5, "num_train_epochs": 1.5, "max_steps": 9,
    "budget": "steps", "budget_tokens": 99,
    "global_batch_size": 64, "micro_batch_size": 2, "packing": True, "max_length": 99, "max_truncated_share": 0.5,
    "lr_scheduler_type": "linear", "warmup_ratio": 0.5, "weight_decay": 0.1, "max_grad_norm": 2.0,
    "gradient_checkpointing": False, "lora.r": 3, "lora.alpha": 5, "lora.dropout": 0.5,
    "lora.target_modules": ["q_proj"], "lora.use_rslora": True, "lora.use_dora": True, "save_steps": 3,
    "save_minutes": 2, "optimizer": "adafactor", "neftune_noise_alpha": 5, "lora.modules_to_save": ["lm_head"],
    "order": "curriculum", "curriculum": "descending", "validation": {"num_rows": 3}, "adapter": __file__,
    "early_stopping": {"patience": 2}, "replay": {"path": __file__, "share": 0.5},
    "launcher": "accelerate", "num_processes": 2, "deepspeed": "zero2", "report_to": ["tensorboard"],
}  # fmt: skip


NEEDED_WITH = {
    "budget": {"max_steps": 9}, "budget_tokens": {"budget": "tokens", "budget_tokens": 9},
    "curriculum": {"order": "curriculum", "curriculum": "ascending"}, "early_stopping": {"validation": {"share": 0.5}},
}  # fmt: skip
"""What a field needs next to it to be allowed."""


def test_every_training_field_is_identity_unless_it_is_marked(recipe):
    stage = next(s for s in build(recipe()).stages if isinstance(s.config, FinetuneStage))
    for dotted, execution in leaves(type(stage.config.finetune)):
        raw = stage.config.model_dump()
        raw["finetune"].update(NEEDED_WITH.get(dotted, {}))
        before = digest(identity(FinetuneStage.model_validate(raw), Hasher()))
        raw["finetune"]["launcher"] = "torchrun"  # an execution field, without which there is one process
        *parents, last = f"finetune.{dotted}".split(".")
        section = raw
        for parent in parents:
            section = section[parent]
        section[last] = OTHER_FINETUNE[dotted]
        if dotted == "order":
            section["curriculum"] = "ascending"  # one is not given without the other
        same = digest(identity(FinetuneStage.model_validate(raw), Hasher())) == before
        assert same == execution, dotted


def test_a_moved_pool_keeps_its_fingerprint_and_a_changed_one_does_not(recipe, small_pool, tmp_path):
    def fingerprint():
        stage = next(s for s in build(recipe(pool={"path": str(path)})).stages if s.kind == "select")
        return digest(identity(stage.config, Hasher()))

    path = small_pool
    before = fingerprint()
    path = tmp_path / "elsewhere.json"
    path.write_text(small_pool.read_text())
    assert fingerprint() == before
    path.write_text(json.dumps(json.loads(path.read_text())[1:]))
    assert fingerprint() != before


def test_a_value_without_a_stable_form_is_refused():
    assert canonical_json({"b": 1.0, "a": [True, None]}) == '{"a":[true,null],"b":1}'
    for value in ({1, 2}, float("nan"), object(), {1: 2}):
        with pytest.raises(TypeError):
            canonical_json(value)


def test_the_hash_memory_notices_a_change(tmp_path):
    file, memory = tmp_path / "a.json", tmp_path / "hashes.json"
    file.write_text("1")
    first = Hasher(memory).file(file)
    assert Hasher(memory).file(file) == first and str(file) in memory.read_text()
    file.write_text("12")
    assert Hasher(memory).file(file) != first


def test_a_branch_of_a_hub_repository_becomes_the_commit_in_the_cache(tmp_path, monkeypatch):
    commit = "a" * 40
    ref = tmp_path / "models--org--name" / "refs" / "main"
    ref.parent.mkdir(parents=True)
    ref.write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert resolve_revision("org/name", None, "model") == commit
    assert resolve_revision("org/other", "b" * 40, "model") == "b" * 40
    with pytest.raises(UserError, match="org/absent"):
        resolve_revision("org/absent", None, "model")


def test_a_stage_loads_the_commit_that_its_fingerprint_names(tmp_path, monkeypatch, demo):
    for kind, name in (("models", "org--name"), ("datasets", "org--pool")):
        ref = tmp_path / f"{kind}--{name}" / "refs" / "main"
        ref.parent.mkdir(parents=True)
        ref.write_text(kind[0] * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    stage = ScoreStage.model_validate(
        {"pool": {"path": "org/pool"}, "model": {"path": "org/name"}, "prompts": ("Rate.\n\n",)}
    )
    named = identity(stage, Hasher())
    loaded = pinned(stage)
    assert loaded.pool.revision == named["pool"]["path"]["revision"] == "d" * 40
    assert loaded.model.revision == named["model"]["path"]["revision"] == "m" * 40
    local = stage.model_copy(update={"model": ModelConfig(path=str(demo / "model"))})
    assert pinned(local).model.revision is None


def test_any_file_of_a_pool_folder_is_part_of_the_fingerprint_and_a_readme_next_to_weights_is_not(tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n")
    pool, model = Hasher().dataset(tmp_path), Hasher().checkpoint(tmp_path)
    (tmp_path / "rows.csv").write_text("a\n2\n")
    (tmp_path / "README.md").write_text("x")
    assert Hasher().dataset(tmp_path) != pool and Hasher().checkpoint(tmp_path) == model


def test_planning_imports_nothing_heavy(root, tmp_path):
    import subprocess

    code = (
        "import sys; from pathlib import Path; from selectit.cli.app import app; from selectit.recipe.load import load;"
        "from selectit.plan.build import build; from selectit.plan.status import inspect;"
        "from selectit.store.runs_folder import Store; import selectit.report;"
        f"inspect(build(load(Path({str(root / 'recipes' / 'quickstart.yaml')!r}))), Store(Path({str(tmp_path)!r})));"
        "heavy = {'torch','transformers','lm_eval','trl','deepspeed','wandb','datasets','peft'} & set(sys.modules);"
        "print(sorted(heavy))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert answer.stdout.strip() == "[]", answer.stdout + answer.stderr


def test_finetune_and_evaluate_do_not_import_each_other(root):
    for room, other in (("finetune", "evaluate"), ("evaluate", "finetune")):
        for path in (root / room).rglob("*.py"):
            assert f"selectit.{other}" not in path.read_text(), path


def test_an_explanation_reads_each_finished_manifest_once(tmp_path, monkeypatch):
    """Else a plan of hundreds of arms next to hundreds of finished ones takes minutes."""
    import selectit.store.runs_folder as runs_folder

    store, reads = Store(tmp_path), []
    for number in range(3):
        folder = store.folder("select", f"{number}" * 64)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"identity": {"kind": "select", "config": {"a": number}}}))
    read = runs_folder.read_manifest
    monkeypatch.setattr(runs_folder, "read_manifest", lambda path: reads.append(path) or read(path))
    assert all(len(store.identities("select")) == 3 for _ in range(5)) and len(reads) == 3


def test_store_in_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path / "file").prepare()


def test_a_plan_of_the_quickstart_has_five_rows_and_six_benchmarks(root):
    plan = build(load(Path(root / "recipes" / "quickstart.yaml")))
    assert [row.label for row in plan.rows] == ["full", "random", "random_rest", "length", "selectit"]
    assert all(len(row.cells) == 6 for row in plan.rows)
