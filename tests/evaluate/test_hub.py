"""Benchmarks of the hub: read at one commit, which is recorded and counted. Caches stand in for the hub, as offline."""

import json
import os

import pytest
import yaml
from datasets import Dataset, DatasetInfo, SplitDict, SplitInfo, Version
from datasets.arrow_writer import ArrowWriter
from lm_eval.tasks._yaml_loader import load_yaml
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import BenchmarkConfig
from selectit.errors import UserError
from selectit.evaluate.benchmarks.hub import file_at
from selectit.evaluate.benchmarks.questions import load_questions
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.grading import length_control
from selectit.evaluate.profile import load_profile
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.build import build
from selectit.recipe.load import load
from selectit.run.engine import found
from selectit.store.fingerprint import Hasher, identity, pinned
from selectit.store.runs_folder import Store

OLD, NEW = "0" * 40, "f" * 40
QUESTIONS = {OLD: "One and one?", NEW: "Two and two?"}
REFERENCES = {OLD: "Old.", NEW: "New."}


class Hub:
    """What a machine without internet has of the hub: refs and files, and data sets that were read before."""

    def __init__(self, folder):
        self.folder = folder

    def repository(self, dataset):
        return self.folder / "hub" / f"datasets--{dataset.replace('/', '--')}"

    def point(self, dataset, commit):
        """main is this commit now."""
        refs = self.repository(dataset) / "refs"
        refs.mkdir(parents=True, exist_ok=True)
        (refs / "main").write_text(commit)

    def add_file(self, dataset, commit, name, text):
        path = self.repository(dataset) / "snapshots" / commit / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def add_rows(self, dataset, config, commit, splits):
        """As datasets leaves a data set of the hub in its cache."""
        owner, name = dataset.split("/")
        path = self.folder / "datasets" / f"{owner}___{name}" / config / "0.0.0" / commit
        path.mkdir(parents=True)
        sizes = SplitDict()
        for split, rows in splits.items():
            made = Dataset.from_list(rows)
            with ArrowWriter(path=str(path / f"{name}-{split}.arrow"), features=made.features) as writer:
                writer.write_table(made.data.table)
                writer.finalize()
            sizes.add(SplitInfo(split, num_examples=len(rows), num_bytes=1, dataset_name=name))
        info = DatasetInfo(
            features=made.features, builder_name="json", dataset_name=name, config_name=config,
            version=Version("0.0.0"), splits=sizes,
        )  # fmt: skip
        info.write_to_directory(str(path))
        return path


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    hub = Hub(tmp_path)
    for commit in (OLD, NEW):
        rows = [{"question": QUESTIONS[commit], "answer": "#### 2"}]
        path = hub.add_rows("openai/gsm8k", "main", commit, {"train": rows, "test": rows})
        os.utime(path, (1e9 + (commit == NEW), 1e9 + (commit == NEW)))
        reported = [{"dataset": "d", "instruction": "i", "output": REFERENCES[commit], "generator": "g"}]
        hub.add_file(benchmarks()["alpaca_eval_2"].hub, commit, "alpaca_eval_gpt4_baseline.json", json.dumps(reported))
        hub.point("openai/gsm8k", commit)
        hub.point("tatsu-lab/alpaca_eval", commit)
    return hub


def stage_of(demo_model, name, **fields):
    benchmark = load_profile("full" if name == "gsm8k" else "chat").benchmarks[name]
    return EvaluateStage(model=demo_model, benchmark=benchmark, template="alpaca", **fields)


def test_every_benchmarks_data_set_is_the_one_that_its_task_reads():
    for one in benchmarks().values():
        task = load_yaml(one.task_file())
        if one.hub is not None and "dataset_path" in task:
            assert task["dataset_path"] == one.hub


@pytest.mark.parametrize("name", ["mmlu", "bbh", "gsm8k", "tydiqa"])
def test_the_data_set_of_lm_evals_own_tasks_is_known_too(data, demo_model, name):
    benchmark = BenchmarkConfig(name=name, metric="acc", tasks=("arabic",) if name == "tydiqa" else None)
    tasks = load_questions(EvaluateStage(model=demo_model, benchmark=benchmark, data=str(data))).tasks
    assert {task.DATASET_PATH for task in tasks.values()} == {benchmarks()[name].hub}


def test_the_commit_of_the_data_is_identity_and_the_stage_reads_that_one(hub, demo_model):
    stage = stage_of(demo_model, "gsm8k")
    assert identity(stage, Hasher())["data"] == {"hub": "openai/gsm8k", "revision": NEW}
    assert "revision" not in identity(stage, Hasher())["benchmark"]
    hub.point("openai/gsm8k", OLD)
    assert identity(stage, Hasher())["data"] == {"hub": "openai/gsm8k", "revision": OLD}
    assert pinned(stage).benchmark.revision == OLD and pinned(stage).model == stage.model
    named = stage.benchmark.model_copy(update={"revision": NEW})
    assert identity(stage.model_copy(update={"benchmark": named}), Hasher())["data"]["revision"] == NEW
    assert pinned(stage.model_copy(update={"benchmark": named})).benchmark.revision == NEW


def test_of_a_folder_neither_the_identity_nor_the_pinned_stage_knows_a_revision(hub, demo_model, demo_data):
    stage = stage_of(demo_model, "gsm8k", data=str(demo_data))
    assert set(identity(stage, Hasher())["data"]) == {"sha256"} and pinned(stage) == stage
    named = stage.benchmark.model_copy(update={"revision": NEW})
    assert identity(stage.model_copy(update={"benchmark": named}), Hasher()) == identity(stage, Hasher())


def test_rows_are_those_of_the_commit_and_another_copy_in_the_cache_is_refused(hub, demo_model):
    (task,) = load_questions(pinned(stage_of(demo_model, "gsm8k"))).tasks.values()
    assert task.task_docs[0]["question"] == QUESTIONS[NEW]
    hub.point("openai/gsm8k", OLD)
    with pytest.raises(UserError, match=rf"newest copy in the cache of datasets is of commit {NEW}, not of {OLD}"):
        load_questions(pinned(stage_of(demo_model, "gsm8k")))


def test_files_are_those_of_the_commit(hub, demo_model):
    for commit in (OLD, NEW):
        hub.point("tatsu-lab/alpaca_eval", commit)
        (task,) = load_questions(pinned(stage_of(demo_model, "alpaca_eval_2"))).tasks.values()
        assert task.task_docs[0]["output"] == REFERENCES[commit]
    with pytest.raises(UserError, match=r"tatsu-lab/alpaca_eval, df_gamed\.csv could not be read from the hub"):
        file_at("tatsu-lab/alpaca_eval", "df_gamed.csv", NEW)


def test_length_control_takes_its_file_from_the_references_commit(hub, demo_model):
    hub.add_file("tatsu-lab/alpaca_eval", OLD, "df_gamed.csv", "a,b\n")
    stage = pinned(stage_of(demo_model, "alpaca_eval_2", judge="hf:org/judge").model_copy(update={"data": "hub"}))
    with pytest.raises(UserError, match=r"df_gamed\.csv could not be read from the hub"):
        length_control.find_gamed(stage)
    hub.point("tatsu-lab/alpaca_eval", OLD)
    stage = pinned(stage_of(demo_model, "alpaca_eval_2", judge="hf:org/judge"))
    with pytest.raises(UserError, match=rf"{OLD}/df_gamed\.csv has no column"):
        length_control.find_gamed(stage)


def test_a_data_set_that_neither_cache_nor_hub_knows_is_reported_before_anything_runs(hub, demo_model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub.folder / "empty"))
    with pytest.raises(UserError, match=r"dataset 'openai/gsm8k'(.|\n)*selectit data fetch\) and name their folder"):
        identity(stage_of(demo_model, "gsm8k"), Hasher())


def test_a_run_records_the_commit_and_a_newer_one_is_another_evaluation(hub, demo_model, tmp_path):
    hub.point("openai/gsm8k", NEW)
    (tmp_path / "pool.json").write_text(json.dumps([{"instruction": "a", "output": "b"}]))
    profile = {"benchmarks": {"gsm8k": {"max_gen_toks": 2, "metric": "exact_match,flexible-extract"}}}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(profile))
    raw = {
        "name": "pinned", "pool": {"path": str(tmp_path / "pool.json")}, "model": {"path": demo_model.path},
        "evaluate": {"profile": str(tmp_path / "one.yaml"), "num_processes": 1},
        "arms": {"base": {"finetune": {"method": "none"}}}, "baseline": "base", "wandb": {"enabled": False},
    }  # fmt: skip
    recipe, runs = tmp_path / "recipe.yaml", tmp_path / "runs"
    recipe.write_text(yaml.safe_dump(raw))
    done = CliRunner().invoke(app, ["run", str(recipe), "--runs-dir", str(runs)])
    assert done.exit_code == 0, done.output
    [outcome] = found(build(load(recipe)), Store(runs)).values()
    assert outcome.artifact is not None
    recorded = {"hub": "openai/gsm8k", "revision": NEW}
    assert outcome.artifact.manifest["identity"]["config"]["data"] == recorded
    assert json.loads((outcome.artifact.path / "result.json").read_text())["data"] == recorded
    hub.point("openai/gsm8k", OLD)
    reported = CliRunner().invoke(app, ["plan", str(recipe), "--runs-dir", str(runs)]).output
    assert "evaluate" in reported and "data.revision" in " ".join(reported.split())
