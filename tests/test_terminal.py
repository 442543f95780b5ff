"""What the commands print for people and for programs: examples in help, JSON, quiet, and lines that do not break."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest
import typer
from finished_work import Work, call

from selectit.cli import app as cli
from selectit.cli.examples import EXAMPLES

COMMANDS = typer.main.get_command(cli.app)


@pytest.fixture(scope="module")
def work(tmp_path_factory, demo):
    work = Work(tmp_path_factory.mktemp("work"), demo)
    name = "an arm whose name is so long that no terminal of eighty columns shows it in one line of its table"
    work.raw["arms"][name] = {"select": {"strategy": "length", "unit": "chars"}}
    work.write(work.raw)
    return work.finish()


def _commands(group, *path: str):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(_commands(COMMANDS)), ids=" ".join)
def test_every_help_ends_with_an_example_that_the_command_takes(path):
    text = call(*path, "-h")
    assert text == call(*path, "--help")
    for example in EXAMPLES[path[-1]]:
        assert f"selectit {example}" in " ".join(text.split())
        words = shlex.split(example)
        assert tuple(words[: len(path)]) == path
        command, context = COMMANDS, COMMANDS.make_context("selectit", ["doctor"])
        for word in path:
            command = command.get_command(context, word)
        command.make_context(path[-1], words[len(path) :], parent=context)


def test_a_plan_in_a_pipe_has_every_stage_in_a_line(work):
    arguments = [sys.executable, "-m", "selectit", "plan", work.recipe, "--runs-dir", work.runs]
    lines = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.splitlines()
    [name] = [arm for arm in work.raw["arms"] if arm.startswith("an arm")]
    assert sum(name in line for line in lines) == 7  # a selection, two trainings, four evaluations


def test_plan_as_json_names_every_stage_and_its_price(work):
    reported = json.loads(call("plan", work.recipe, "--runs-dir", work.runs, "--json"))
    assert reported["num_stages"] == {"done": len(reported["stages"])} and reported["price"] is None
    assert {stage["artifact"] for stage in reported["stages"]} == {p.name for p in (work.runs / "artifacts").iterdir()}
    arguments = ("--runs-dir", work.runs / "none", "--price", "--tflops", 1, "--json")
    price = json.loads(call("plan", work.recipe, *arguments))["price"]
    assert len(price["stages"]) == len(reported["stages"]) and price["seconds"] > 0


def test_validate_as_json_has_the_errors_and_the_exit_code(work):
    reported = json.loads(call("validate", work.recipe, "--json"))
    assert reported["valid"] and reported["errors"] == [] and reported["num_rows"] == 4
    reported = json.loads(call("validate", work.recipe, "--json", "--set", "finetune.lr=1", rc=1))
    assert not reported["valid"] and any("finetune.lr: unknown key" in error for error in reported["errors"])
    assert call("validate", work.recipe, "-q") == ""


def test_report_as_json_has_the_numbers_of_the_table(work):
    reported = json.loads(call("report", work.recipe, "--runs-dir", work.runs, "--json"))
    by_row = {row["row"]: row for row in reported["rows"]}
    assert by_row["random"]["is_baseline"] and by_row["selectit"]["cells"]["mmlu"]["mean"] == 25.0
    assert set(by_row["base"]["cells"]) == {"mmlu", "gsm8k", "average"}
    text = call("report", work.recipe, "--runs-dir", work.runs, "-q")
    assert text.startswith("report: ") and text.count("\n") == 1


def test_a_quiet_run_prints_its_table_only_and_a_quiet_plan_its_counts(work):
    text = call("run", work.recipe, "--runs-dir", work.runs, "-q", "--set", "wandb.enabled=false")
    assert "0 of " in text and "25.0" in text
    text = call("plan", work.recipe, "--runs-dir", work.runs, "--quiet")
    assert text.count("\n") == 1 and "stages: " in text


def test_commands_on_files_are_quiet_or_verbose_as_run_is(work, demo, tmp_path, monkeypatch):
    pool = tmp_path / "pool.json"
    pool.write_text(json.dumps([{"instruction": f"a {i}", "output": "b"} for i in range(4)]))
    given = ("select", pool, "--strategy", "random", "--ratio", 0.5, "--runs-dir", tmp_path / "runs")
    assert call(*given, "--out", tmp_path / "a.json", "-q").strip() == f"2 of 4 rows: {tmp_path / 'a.json'}"
    assert "select" in call(*given, "--out", tmp_path / "b.json", "--seed", 1).splitlines()[0]

    def fails(*_):
        raise ValueError("no rows today")

    monkeypatch.setattr("selectit.selection.stage.run", fails)
    quiet = call(*given, "--out", tmp_path / "c.json", "--seed", 2, "-q", rc=1)
    assert quiet.count("no rows today") == 1 and "Traceback" not in quiet
    assert "Traceback" in call(*given, "--out", tmp_path / "d.json", "--seed", 3, "-v", rc=1)


@pytest.mark.parametrize("command", ["score", "select", "finetune", "losses", "evaluate", "grade", "run"])
def test_every_command_that_runs_a_stage_takes_q_and_v(command):
    reported = call(command, "--help")
    assert "--quiet" in reported and "--verbose" in reported
