"""An entry of a profile that names a task of lm-eval: its form, its fingerprint, and what the commands make of it."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import finished_work
import pytest
from own_tasks import write_tasks

from selectit.errors import UserError
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.profile import load_profile
from selectit.store.fingerprint import Hasher, identity, pinned

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "demo" / "model")
ENTRY = "  sums: {task: sums, include_path: tasks, metric: 'acc,none'}\n"


@pytest.fixture
def profile(tmp_path):
    """profile(entries) -> the path of a profile next to a folder of tasks."""
    write_tasks(tmp_path / "tasks")

    def write(entries=ENTRY):
        (tmp_path / "mine.yaml").write_text(f"description: mine\nbenchmarks:\n{entries}")
        return str(tmp_path / "mine.yaml")

    return write


def call(*words, code=0):
    return " ".join(finished_work.call(*words, rc=code).split())


def test_any_task_can_be_named_and_keeps_what_the_entry_leaves_out(profile, tmp_path):
    """The entries that issues ask for; before, a name that was not one of ours was refused."""
    entries = (
        "  ifeval: {task: ifeval, chat_template: true, metric: 'prompt_level_strict_acc,none'}\n"
        "  arc: {task: arc_challenge, metric: 'acc_norm,none', num_fewshot: 25}\n"
        "  truthfulqa_mc2: {task: truthfulqa_mc2, metric: 'acc,none'}\n"
        "  gsm8k_4: {task: gsm8k, metric: 'exact_match,flexible-extract', num_fewshot: 4, include_path: tasks}\n"
        "  gsm8k: {metric: 'exact_match,flexible-extract'}\n"
    )
    found = load_profile(profile(entries)).benchmarks
    assert [type(one) is NamedTaskConfig for one in found.values()] == [True] * 4 + [False]
    arc, own = found["arc"], found["gsm8k_4"]
    assert isinstance(arc, NamedTaskConfig) and isinstance(own, NamedTaskConfig)
    assert (arc.task, arc.num_fewshot, arc.sample_seed, arc.include_path) == ("arc_challenge", 25, 1234, None)
    assert own.include_path == str(tmp_path / "tasks"), "read from the profile's folder"
    assert found["ifeval"].chat_template and found["ifeval"].max_gen_toks is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "arc_easy: {metric: 'acc_norm,none'}",
            "no such benchmark.*`arc_easy: {task: arc_easy, metric: 'acc,none'}`",
        ),
        (
            "gsm8k: {task: gsm8k_cot, metric: 'exact_match,none'}",
            "a benchmark of this project; .* such as gsm8k_lm_eval",
        ),
        (
            "arena_hard: {task: arena_hard, metric: 'acc,none'}",
            "a benchmark of this project; .*arena_hard_lm_eval",
        ),
        ("arc: {task: arc_challenge}", "arc.metric: Field required"),
        ("arc: {task: arc_challenge, metric: acc}", "arc.metric: write it as lm-eval reports it, .* such as acc,none"),
        ("arc: {task: 3, metric: 'acc,none'}", "arc.task: Input should be a valid string"),
        ("arc: {task: a, metric: 'acc,none', tasks: [b]}", "arc.tasks: not a setting of an entry with `task`"),
        ("arc: {task: a, metric: 'acc,none', commits: []}", "arc.commits: not a setting"),
        ("arc: {task: a, metric: 'acc,none', num_fewshot: -1}", "arc.num_fewshot: .*greater than or equal to 0"),
        ("arc: {task: a, metric: 'acc,none', num_fewshots: 1}", "arc.num_fewshots: .*Did you mean 'num_fewshot'"),
        ("arc: {task: a, metric: 'acc,none', scale: 0}", "arc.scale: .*greater than 0"),
        ("arc: {task: a, metric: 'acc,none', top_p: 0.5}", "arc.top_p: 0.5 is of sampling"),
        ("arc: {task: a, metric: 'acc,none', until: [x, x]}", "arc.until: 'x' twice"),
        ("'my arc': {task: a, metric: 'acc,none'}", "'my arc' names a column and a file"),
    ],
)
def test_the_form_of_an_entry_is_checked_when_it_is_read(profile, entry, message):
    with pytest.raises(UserError, match=message):
        load_profile(profile(f"  {entry}\n"))


def fingerprint(path, name="sums"):
    return identity(load_profile(path).benchmarks[name], Hasher())


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("sums_group.yaml", "weight_by_size: false", "weight_by_size: true"),
        ("sums_choice.yaml", "Question: ", "Q: "),
        ("sums.jsonl", "plus", "and"),
        ("scoring.py", "<= 2", "<= 3"),
    ],
)
def test_a_changed_file_is_another_evaluation(profile, tmp_path, file, old, new):
    path = profile(ENTRY + "  text: {task: sums_text, include_path: tasks, metric: 'near,number'}\n")
    before = fingerprint(path), fingerprint(path, "text")
    text = (tmp_path / "tasks" / file).read_text()
    (tmp_path / "tasks" / file).write_text(text.replace(old, new))
    after = fingerprint(path), fingerprint(path, "text")
    changed = [one != other for one, other in zip(before, after, strict=True)]
    of_text, of_both = (".py",), (".jsonl",)
    assert changed == [not file.endswith(of_text), file.endswith(of_text + of_both)]


def test_a_copy_another_yaml_and_a_note_are_the_same_evaluation(profile, tmp_path):
    path = profile()
    before = fingerprint(path)
    (tmp_path / "tasks" / "sums_points.yaml").write_text("task: another\n")
    (tmp_path / "tasks" / "__pycache__").mkdir()
    (tmp_path / "tasks" / "__pycache__" / "scoring.pyc").write_bytes(b"1")
    shutil.copytree(tmp_path / "tasks", tmp_path / "copy")
    moved = ENTRY.replace("tasks,", "copy,").replace("}", ", notes: [mine]}")
    assert before == fingerprint(path) == fingerprint(profile(moved))


def test_lm_evals_version_and_the_commit_of_a_data_set_are_in_the_fingerprint(profile, monkeypatch, tmp_path):
    from huggingface_hub import constants

    from selectit.evaluate.benchmarks import task_config

    path = profile("  arc: {task: arc_challenge, metric: 'acc_norm,none'}\n")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"(?s)allenai/ai2_arc.*selectit validate RECIPE --inputs.*`revision`"):
        fingerprint(path, "arc")
    refs = tmp_path / "datasets--allenai--ai2_arc" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("a" * 40)
    first = fingerprint(path, "arc")
    assert first["task"]["datasets"] == {"allenai/ai2_arc": "a" * 40}
    assert dict(pinned(load_profile(path).benchmarks["arc"]).commits) == {"allenai/ai2_arc": "a" * 40}
    (refs / "main").write_text("b" * 40)
    assert fingerprint(path, "arc")["task"]["datasets"] == {"allenai/ai2_arc": "b" * 40}
    assert "commits" not in first and "include_path" not in first
    named = fingerprint(
        profile(f"  arc: {{task: arc_challenge, metric: 'acc_norm,none', revision: {'a' * 40}}}\n"), "arc"
    )
    assert named == first, "as `main` was then"
    monkeypatch.setattr(task_config, "version", lambda name: "0.0")
    assert fingerprint(path, "arc")["task"]["lm_eval"] == "0.0"


def test_an_entry_of_our_own_benchmarks_has_no_trace_of_tasks():
    found = identity(load_profile("full").benchmarks["gsm8k"], Hasher())
    assert not {"task", "include_path", "scale", "commits"} & set(found)


def test_the_page_does_what_it_describes(tmp_path, monkeypatch):
    """The benchmark of docs/extending.md, done exactly: its files, its commands, its own task in the table."""
    section = (ROOT / "docs" / "extending.md").read_text().partition("\n## A benchmark\n")[2].split("\n## ")[0]
    task, profile, recipe = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    [rows] = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    [commands] = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    (tmp_path / "my_tasks").mkdir()
    (tmp_path / "mine.yaml").write_text(profile)
    (tmp_path / "my.yaml").write_text(recipe)
    (tmp_path / "my_tasks" / "sums.yaml").write_text(task)
    (tmp_path / "my_tasks" / "sums.jsonl").write_text(rows)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    show, validate, run = commands.splitlines()
    reported = call(*show.split()[1:])
    assert (
        "Question: What is 2 plus 3? Answer:" in reported
        and "right answer: '5'; read as '5'; exact_match,number 1" in reported
    )
    assert "sums: sums of lm-eval, 2 items" in call(*validate.split()[1:])
    call(*run.split()[1:])
    header, row = (tmp_path / "runs" / "mine" / "results.csv").read_text().splitlines()
    found = dict(zip(header.split(","), next(csv.reader([row])), strict=True))
    assert (found["benchmark"], found["metric"], found["value"]) == ("sums", "exact_match,number", "0.0")
    assert "sums" in (tmp_path / "runs" / "mine" / "report.md").read_text()


@pytest.fixture
def recipe(profile, tmp_path):
    """A recipe of one untrained arm on a named task; recipe(entries) -> its path."""

    def write(entries=ENTRY):
        profile(entries)
        text = f"name: small\npool: {{path: {ROOT / 'demo' / 'pool.json'}}}\nmodel: {{path: {MODEL}}}\n"
        text += "evaluate: {profile: mine.yaml}\narms: {base: {finetune: {method: none}}}\nbaselines: [base]\n"
        (tmp_path / "r.yaml").write_text(text)
        return tmp_path / "r.yaml"

    return write


def test_validate_with_inputs_finds_what_reading_cannot(recipe):
    reported = call("validate", recipe(), "--inputs")
    assert "sums: sums of lm-eval, 26 items" in reported and "valid; 1 rows" in reported
    wrong = recipe(ENTRY.replace("acc,none", "acc,number") + "  no: {task: nosuch_task, metric: 'acc,none'}\n")
    assert "valid; 1 rows" in call("validate", wrong), "the form is right"
    reported = call("validate", wrong, "--inputs", code=1)
    assert "benchmarks.sums.metric: 'acc,number' is not a number of the group sums" in reported
    assert "no task or group 'nosuch_task'" in reported


def test_a_run_stops_in_preflight_and_starts_nothing(recipe, tmp_path):
    wrong = recipe(ENTRY.replace("acc,none", "acc,number"))
    reported = call("run", wrong, "--runs-dir", tmp_path / "runs", code=1)
    assert "benchmarks.sums.metric: 'acc,number' is not a number" in reported
    assert not list((tmp_path / "runs" / "artifacts").glob("evaluate-*"))


def test_a_named_task_is_in_the_table_the_report_and_the_pack(recipe, tmp_path):
    path, runs = recipe(), tmp_path / "runs"
    call("run", path, "--runs-dir", runs)
    assert "0 of 1 stages executed" in call("run", path, "--runs-dir", runs)
    [row] = (runs / "small" / "results.csv").read_text().splitlines()[1:]
    assert ",sums," in row and "acc,none" in row
    assert "each the one in its artifact" in call("verify", runs / "small")
    assert "sums: sums_choice, item 0" in (runs / "small" / "report.md").read_text()
    assert "how many items sums of lm-eval has" in call("plan", path, "--runs-dir", tmp_path / "other", "--price")
    call("export", path, "--runs-dir", runs, "--out", tmp_path / "pack", "--weights")
    packed = {file.name for file in (tmp_path / "pack" / "profiles" / "tasks").iterdir()}
    assert packed == {
        "sums_group.yaml",
        "sums_choice.yaml",
        "sums_short.yaml",
        "sums.jsonl",
        "few.jsonl",
        "train.jsonl",
    }
    shutil.rmtree(tmp_path / "tasks")
    reported = call("plan", tmp_path / "pack" / "recipe.yaml", "--runs-dir", runs)
    assert "1 done" in reported, "the packed folder is the same task"
    reported = call("evaluate", "--regrade", runs, "--out", tmp_path / "again", code=1)
    assert "sums is a task of lm-eval" in reported
