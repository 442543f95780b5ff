"""Which strategies there are, and strategies from outside: one file, no edit of this project."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pickle
import re
import shutil
import sys
from pathlib import Path

import cloudpickle
import pytest
import yaml
from finished_work import Work, call
from rich.console import Console
from test_rooms import module_files

from selectit.config import PoolConfig, SelectStage, WandbConfig
from selectit.errors import UserError
from selectit.plan.build import build
from selectit.plan.graph import Stage, alone
from selectit.plan.status import inspect
from selectit.recipe.load import load
from selectit.run.engine import run_plan
from selectit.run.executors import make_executor
from selectit.run.stage_runner import Session
from selectit.selection import registry
from selectit.selection.plugins import classes_in, of_file, source_text
from selectit.selection.registry import known, shipped
from selectit.store.fingerprint import Hasher, identity
from selectit.store.runs_folder import Store

PLUGIN = '''
from typing import Literal

from selectit.config import ArmConfig
from selectit.selection.strategy import Candidates, RatioStrategy, Scored


class MineSelect(RatioStrategy):
    """By the number of a letter in the response."""

    strategy: Literal["mine"]
    letter: str = "b"
    """What is counted."""

    def scores(self, pool: Candidates) -> Scored:
        return Scored([row.response.count(self.letter) for row in pool.rows()])

    def score_name(self) -> str:
        return f"number of {self.letter}"

    def sentence(self, arm: ArmConfig) -> str:
        return f"most {self.letter}"
'''


@pytest.fixture
def plugin(tmp_path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


def test_each_strategy_that_ships_is_described_and_stands_in_a_module_of_its_own(root):
    modules = {path.stem for path in (root / "selectit" / "selection" / "strategies").glob("*.py")} - {"__init__"}
    assert set(shipped()) == modules
    for name, schema in shipped().items():
        assert schema.__module__.rsplit(".", 1)[1] == name and source_text(schema) == "selectit"


ALLOWED = {
    "selectit.recipe.load": {"full"},  # stands in an arm that trains nothing
    "selectit.api.subsets": {"selectit"},  # score gives its scores, and it is the default of select
    "selectit.cli.stage_commands": {"full", "selectit"},  # finetune takes all rows; score asks for ratings
    "selectit.cli.inspect_command": {"full"},  # reads a pool and chooses nothing
    "selectit.cli.losses_command": {"perplexity", "ifd"},  # which ask for the losses that the command takes
    "selectit.report.render.display_names": {"ifd"},  # how a row of that name is written in LaTeX
    "selectit.plan.lone_stages": {
        "full",
        "selectit",
    },  # an arm that trains nothing; what another arm is without a recipe
}
"""Module -> the strategies that it names."""


def test_nothing_but_its_module_knows_a_strategy_by_name(root):
    named: dict[str, set[str]] = {}
    for module, path in module_files(root).items():
        if module.startswith("selectit.selection.strategies"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not str(node.module).startswith("selectit.selection.strategies."), module
            for name in strategies_named_by(node):
                named.setdefault(module, set()).add(name)
    assert named == ALLOWED


def strategies_named_by(node: ast.AST) -> set[str]:
    """Those in `{"strategy": "name"}`, in what `.strategy` is compared with, and words that are nothing else."""
    found: set[object] = set()
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        constants = [
            (k.value, v.value) for k, v in pairs if isinstance(k, ast.Constant) and isinstance(v, ast.Constant)
        ]
        found |= {value for key, value in constants if key == "strategy"}
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Attribute) and side.attr == "strategy" for side in sides):
            found |= {inner.value for side in sides for inner in ast.walk(side) if isinstance(inner, ast.Constant)}
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.targets[0], ast.Name):
        found |= {node.value.value} if node.targets[0].id in ("OTHER", "STRATEGY") else set()
    if isinstance(node, ast.Constant) and node.value in ("random_rest", "random_matched", "perplexity", "ifd"):
        found.add(node.value)
    return {name for name in map(str, found) if name in shipped()}


def test_the_walk_sees_a_name():
    code = 'if select.strategy == "length": x = {"strategy": "full"}\ny = ("random_rest",)'
    assert set().union(*map(strategies_named_by, ast.walk(ast.parse(code)))) == {"length", "full", "random_rest"}


def page_blocks(root: Path, language: str) -> list[str]:
    page = (root / "docs" / "extending.md").read_text().partition("\n## A strategy\n")[2].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(root, tmp_path, monkeypatch) -> Path:
    """A folder like the repository's root, with the files of docs/extending.md."""
    for name in ("demo", "recipes"):
        (tmp_path / name).symlink_to(root / name)
    [code], [recipe] = page_blocks(root, "python"), page_blocks(root, "yaml")
    (tmp_path / "shouting.py").write_text(code)
    (tmp_path / "loud.yaml").write_text(recipe)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(root: Path) -> list[list[str]]:
    lines = "".join(page_blocks(root, "bash")).replace("\\\n", " ").splitlines()
    return [line.split()[1:] for line in lines]


def test_the_page_on_extending_does_what_it_describes(root, page):
    listed, chosen, planned, run = commands(root)
    reported = call(*listed)
    assert "shouting" in reported and "The rows with the largest share of capitals in the response." in reported
    assert "30 of 308 rows" in call(*chosen)
    lines = [json.loads(line) for line in (page / "scores.jsonl").read_text().splitlines()]
    pool = json.loads((page / "demo" / "pool.json").read_text())
    for line, row in zip(lines, pool, strict=True):
        letters = [c for c in row["output"] if c.isalpha()]
        if len(letters) < 5:
            assert line["failure"] == "too_few_letters" and line["score"] is None
        else:
            assert line["score"] == pytest.approx(sum(c.isupper() for c in letters) / len(letters))
    assert "select loud" in call(*planned) and run == ["run", "loud.yaml"]


def test_a_recipe_with_a_plugin_runs_from_end_to_end(root, demo, page):
    """The page's recipe with two arms, two training steps and a few items."""
    raw = {
        **yaml.safe_load((page / "loud.yaml").read_text()),
        "finetune": {"max_steps": 2, "global_batch_size": 4, "micro_batch_size": 4},
        "evaluate": {"benchmarks": ["gsm8k"], "limit": 2},
        "baselines": ["loud"], "primary": None,
    }  # fmt: skip
    raw["arms"] = {**dict.fromkeys(("full", "random_rest", "length", "selectit")), "loud": raw["arms"]["loud"]}
    raw["arms"]["loud"]["select"]["least_letters"] = 60
    (page / "loud.yaml").write_text(yaml.safe_dump(raw))
    assert "report:" in call("run", "loud.yaml")
    report = (page / "runs" / "loud" / "report.md").read_text()
    assert "shouting: the largest share of capitals, 60 letters at least" in report
    assert "too few letters" in report
    assert "share of capitals" in (page / "runs" / "loud" / "report.html").read_text()
    assert "0 of " in call("run", "loud.yaml")


@pytest.fixture
def work(demo, tmp_path, plugin) -> Work:
    made = Work(tmp_path, demo)
    arms = {"base": {"finetune": {"method": "none"}}, "mine": {"select": {"strategy": "mine"}}}
    made.write({**made.raw, "plugins": ["mine.py"], "arms": {**made.raw["arms"], **arms}})
    return made


def fingerprints(work: Work) -> dict[str, str | None]:
    plan = build(load(work.recipe))
    return {plan.title(stage): state.fingerprint for stage, state in inspect(plan, Store(work.runs)).items()}


def test_the_content_of_a_plugin_is_part_of_the_fingerprints_of_its_selections_only(work, plugin, tmp_path):
    before = fingerprints(work)
    (tmp_path / "other").mkdir()
    plugin.rename(tmp_path / "other" / "elsewhere.py")
    work.write({**work.raw, "plugins": ["other/elsewhere.py"]})
    assert fingerprints(work) == before
    with (tmp_path / "other" / "elsewhere.py").open("a") as f:
        f.write("\n# a comment\n")
    after = fingerprints(work)
    assert {title for title in before if before[title] != after[title]} == {"select mine"}


def test_a_child_inherits_plugins_from_where_its_parent_names_them(work, tmp_path):
    (tmp_path / "child").mkdir()
    child = tmp_path / "child" / "c.yaml"
    child.write_text("name: child\nextends: ../small.yaml\narms: {more: {select: {strategy: mine, letter: a}}}\n")
    assert "select more" in set(map(build(load(child)).title, build(load(child)).stages))
    assert "plugin nowhere.py" in refusal(child, "plugins=[nowhere.py]").replace(f"{os.getcwd()}/", "")


def refusal(recipe: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        load(recipe, overrides)
    return str(error.value)


def test_faults_in_a_plugin_s_section_are_reported_as_of_any_strategy(work):
    arm = "arms.mine.select"
    assert "Allowed here: strategy, ratio, stratify, diversify, letter" in refusal(work.recipe, f"{arm}.lettre=b")
    assert "Did you mean 'letter'?" in refusal(work.recipe, f"{arm}.lettre=b")
    assert "Did you mean 'mine'?" in refusal(work.recipe, f"{arm}.strategy=mien")
    assert f"{arm}.letter: found 3; input should be a valid string" in refusal(work.recipe, f"{arm}.letter=3")
    assert "this key belongs to strategy mine, and the arm's is random" in refusal(
        work.recipe, "arms.random.select.letter=b"
    )
    assert len(build(load(work.recipe, ["grid={select.letter: [a, b]}"])).rows) == 5
    assert "plugins: found 3; input should be a valid array" in refusal(work.recipe, "plugins=3")


def test_the_report_and_the_pack_of_a_recipe_have_its_plugin(work, tmp_path):
    work.finish()
    report = (work.runs / "small" / "report.md").read_text()
    assert "mine: most b" in report
    call("export", work.recipe, "--runs-dir", work.runs, "--out", tmp_path / "pack", "--weights")
    assert (tmp_path / "pack" / "plugins" / "mine.py").read_text() == PLUGIN
    (tmp_path / "mine.py").unlink()
    with contextlib.chdir(tmp_path / "pack"):
        assert "each the one in its artifact" in call("verify", "recipe.yaml", "--runs-dir", ".")


WRONG = {
    "a syntax error": ("def f(:\n", "line 1: "),
    "an exception": ("x = 1\nx.y\n", "line 2: AttributeError: 'int' object has no attribute 'y'"),
    "an import": ("\nimport no_such_library\n", "line 2: ModuleNotFoundError: No module named 'no_such_library'"),
    "no strategy": ("x = 1\n", "has no strategy"),
    "no sentence": (PLUGIN.replace("def sentence", "def sentense"), "the method sentence is missing (What the"),
    "no axis": (PLUGIN.replace("def score_name", "def name"), "the method score_name is missing"),
    "no docstring": (re.sub(r' {4}"""By the number.*\n', "", PLUGIN), "a docstring is missing"),
    "no doc of a field": (PLUGIN.replace('    """What is counted."""\n', ""), "field letter: a docstring under it is"),
    "another's name": (PLUGIN.replace('"mine"', '"random"'), "has a strategy 'random', and selectit has one"),
    "a method's name": (PLUGIN.replace("letter", "count"), "field count has the name of a method of every strategy"),
    "an exit": ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
    "a name with blanks": (PLUGIN.replace('"mine"', '"my own"'), "strategy must be one name in lower case"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_plugin_is_one_sentence(work, plugin, name):
    code, wanted = WRONG[name]
    plugin.write_text(code)
    reported = refusal(work.recipe)
    assert wanted in reported and str(plugin) in reported and "Traceback" not in reported
    assert len(reported.splitlines()) == 2  # the recipe, and the fault with its line
    assert wanted in call("strategies", "--plugin", plugin, rc=1)


def test_two_plugins_of_one_name_are_refused(work, plugin, tmp_path):
    shutil.copy(plugin, tmp_path / "twin.py")
    reported = refusal(work.recipe, f"plugins=[{plugin}, {tmp_path}/twin.py]")
    assert "twin.py has a strategy 'mine'" in reported and "mine.py has one of that name" in reported


def test_a_file_that_a_plugin_reads_is_in_the_fingerprint_by_its_content(work, plugin, tmp_path):
    code = PLUGIN.replace("import ArmConfig", "import ArmConfig, FileLocation").replace(
        'letter: str = "b"', "letter: FileLocation"
    )
    plugin.write_text(code.replace("self.letter)", "open(self.letter).read())", 1))
    (tmp_path / "data").mkdir()
    named = {}
    for name, content in (("data/a.txt", "b"), ("c.txt", "b"), ("d.txt", "e")):
        (tmp_path / name).write_text(content)
        work.write({**work.raw, "plugins": ["mine.py"], "arms": {**work.raw["arms"], "mine": {
            "select": {"strategy": "mine", "letter": name}
        }}})  # fmt: skip
        [stage] = [
            stage for stage in build(load(work.recipe)).stages
            if isinstance(stage.config, SelectStage) and stage.config.select.strategy == "mine"
        ]  # fmt: skip
        named[name] = identity(stage.config, Hasher())
    assert named["data/a.txt"] == named["c.txt"] != named["d.txt"]


def test_a_plugin_that_is_named_twice_is_read_once(work, plugin, small_pool, tmp_path):
    twice = ("--plugin", plugin, "--plugin", f"{plugin.parent}/../{plugin.parent.name}/mine.py")
    assert call("strategies", *twice) == call("strategies", "--plugin", plugin)
    load(work.recipe, [f"plugins=[{plugin}, {plugin}]"])


def test_an_unknown_strategy_is_answered_with_how_one_s_own_is_named(plugin, small_pool, tmp_path):
    wanted = "A strategy of your own is read from the files that `plugins` (--plugin) names"
    assert wanted in call("select", small_pool, "--strategy", "mine", "--out", tmp_path / "o.json", rc=1)
    assert wanted in call("strategies", "mine", rc=1)
    with pytest.raises(ValueError, match=re.escape(wanted)):
        shipped().read({"strategy": "mine"})


def stage_of(plugin: Path, pool: Path) -> Stage:
    select = known([plugin]).read({"strategy": "mine", "letter": "e", "ratio": 0.25})
    return Stage("select", SelectStage(pool=PoolConfig(path=str(pool)), select=select))


def test_a_strategy_that_is_sent_to_another_process_is_refused_where_its_file_has_changed(plugin, small_pool):
    stage = stage_of(plugin, small_pool)
    for pickler in (pickle, cloudpickle):
        sent = pickler.dumps(stage)
        assert pickler.loads(sent) == stage
        plugin.write_text(PLUGIN + "\nX = 1\n")
        with pytest.raises(UserError, match="has changed since the run began"):
            pickler.loads(sent)
        plugin.write_text(PLUGIN)


def test_a_file_that_changes_during_a_run_changes_neither_code_nor_fingerprint(plugin, small_pool, tmp_path):
    stage = stage_of(plugin, small_pool)
    named = identity(stage.config, Hasher())
    plugin.write_text(PLUGIN.replace("row.response.count(self.letter)", "1"))
    assert identity(stage.config, Hasher()) == named != identity(stage_of(plugin, small_pool).config, Hasher())
    session = Session(Store(tmp_path / "runs"), Console(quiet=True), WandbConfig(enabled=False), "test")
    [outcome] = run_plan(alone(stage), session).values()
    lines = [json.loads(line) for line in (outcome.artifact.path / "scores.jsonl").read_text().splitlines()]
    assert [line["score"] for line in lines] == [row["output"].count("e") for row in json.loads(small_pool.read_text())]


@pytest.mark.parametrize(("name", "slurm"), [("ray", []), ("slurm", ["cluster=local"])])
def test_workers_elsewhere_import_the_plugin(plugin, small_pool, tmp_path, name, slurm):
    contents = {}
    for where in ("local", name):
        session = Session(Store(tmp_path / where), Console(quiet=True), WandbConfig(enabled=False), "test")
        executor = make_executor(where, session, slurm=slurm if where == name else [])
        [outcome] = run_plan(alone(stage_of(plugin, small_pool)), session, executor).values()
        assert outcome.artifact is not None, outcome.reason
        contents[where] = outcome.artifact.path.name, outcome.artifact.content
    assert contents["local"] == contents[name]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Two distributions with entry points, as pip installs them: one works, one cannot be imported."""
    site = tmp_path / "site"
    for name, code in (("mine-dist", PLUGIN), ("broken-dist", "import no_such_library")):
        module = name.replace("-", "_")
        folder = site / f"{module}-1.2.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        point = "mine = mine_dist:MineSelect" if name == "mine-dist" else "lost = broken_dist:Lost"
        (folder / "entry_points.txt").write_text(f"[selectit.strategies]\n{point}\n")
        (site / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(site)
    registry.shipped.cache_clear()
    yield site
    registry.shipped.cache_clear()
    for module in ("mine_dist", "broken_dist"):
        sys.modules.pop(module, None)


def test_strategies_of_installed_distributions_are_there_and_a_broken_one_is_named(installed, small_pool, tmp_path):
    found = shipped()
    assert source_text(found["mine"]) == "the distribution mine-dist 1.2"
    stage = SelectStage(pool=PoolConfig(path=str(small_pool)), select=found.read({"strategy": "mine"}))
    assert identity(stage, Hasher())["select"]["plugin"] == "mine-dist 1.2"
    reported = call("strategies")
    assert "By the number of a letter" in reported
    assert "strategy 'lost' of the distribution broken-dist 1.2 cannot be imported (ModuleNotFoundError" in reported
    out = ("--out", tmp_path / "s.json", "--runs-dir", tmp_path / "runs")
    assert "8 of 40 rows" in call("select", small_pool, "--strategy", "mine", *out)
    assert "cannot be imported" in call("select", small_pool, "--strategy", "lost", *out, rc=1)


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("Lost = 3", "is not a subclass of"),
        ("import sys\nsys.exit(3)", "cannot be imported (SystemExit: 3)"),
        (
            PLUGIN.replace("letter: str", "letter: list[str]").replace('"b"', '["b"]'),
            "which a fingerprint does not take",
        ),
    ],
)
def test_a_distribution_that_cannot_be_used_stops_no_other(installed, code, wanted):
    (installed / "broken_dist.py").write_text(code.replace("MineSelect", "Lost"))
    reported = call("strategies")
    assert wanted in reported and "By the number of a letter" in reported


def test_a_distribution_s_module_has_strategies_and_what_they_raise_is_named(installed, small_pool, tmp_path):
    points = installed / "broken_dist-1.2.dist-info" / "entry_points.txt"
    points.write_text("[selectit.strategies]\nlost = broken_dist\n")
    (installed / "broken_dist.py").write_text("x = 1\n")
    assert "broken_dist has no strategy: a class of Strategy" in call("strategies")
    code = PLUGIN.replace('"mine"', '"lost"').replace("return Scored(", "return Scored(1 / 0 or ")
    (installed / "broken_dist.py").write_text(code)
    sys.modules.pop("broken_dist", None)
    registry.shipped.cache_clear()
    told = call("select", small_pool, "--strategy", "lost", "--out", tmp_path / "o.json", rc=1)
    assert "the distribution broken-dist 1.2, line 16: strategy lost: scores raised ZeroDivisionError" in told


def test_a_distribution_with_the_name_of_another_strategy_is_refused(installed):
    (installed / "mine_dist.py").write_text(PLUGIN.replace('"mine"', '"length"'))
    with pytest.raises(UserError, match=r"distribution mine-dist 1\.2 has a strategy 'length', and selectit has one"):
        shipped()


def test_a_field_that_a_strategy_does_not_have_is_refused_with_those_it_has(small_pool, tmp_path, plugin):
    def refused(*more: str) -> str:
        return call("select", small_pool, "--out", tmp_path / "s.json", "--runs-dir", tmp_path / "runs", *more, rc=1)

    assert (
        "--set alpha: strategy length has no field alpha. It has ratio, stratify, diversify, unit, field"
        in " ".join(refused("--strategy", "length", "--set", "alpha=9").split())
    )
    assert "--ratio: strategy full has no field ratio. It has none" in refused("--strategy", "full", "--ratio", "0.3")
    assert "--ratio gives it too" in refused("--strategy", "random", "--ratio", "0.3", "--set", "ratio=0.2")
    assert "Did you mean 'mine'?" in refused("--plugin", str(plugin), "--strategy", "mien")
    assert "named by --strategy" in refused("--set", "strategy=random")
    assert not (tmp_path / "runs").exists()


def test_another_arm_on_the_command_line_chooses_by_itself(small_pool, tmp_path):
    asked = ("select", small_pool, "--strategy", "random_rest", "--out", tmp_path / "o.json", "--set")
    for other in ("{strategy: random_rest, rest_of: length}", "full"):
        told = call(*asked, f"rest_of={other}", rc=1)
        assert "--set rest_of: strategy" in told and "takes all rows or reads another arm; allowed are" in told
        assert not {"full", "random_rest"} & set(told.partition("allowed are ")[2].replace(",", " ").split())


def test_a_file_of_the_other_arm_is_not_written_over(small_pool, tmp_path):
    scores = tmp_path / "s.jsonl"
    scores.write_text("".join(json.dumps({"row": n, "score": n}) + "\n" for n in range(40)))
    before = scores.read_bytes()
    other = f"rest_of={{strategy: scores, path: {scores}}}"
    asked = ("select", small_pool, "--strategy", "random_rest", "--set", other, "--out", tmp_path / "o.json")
    assert "this would write over" in call(*asked, "--scores", scores, rc=1)
    assert scores.read_bytes() == before
    call(*asked, "--scores", tmp_path / "t.jsonl", "--runs-dir", tmp_path / "runs")


def test_a_field_without_a_value_is_answered_as_it_was_written(small_pool, tmp_path):
    asked = ("select", small_pool, "--strategy", "length", "--out", tmp_path / "o.json")
    assert "--set unit: write field=value, such as --set ratio=0.1" in call(*asked, "--set", "unit", rc=1)
    told = call(*asked, "--set", "unit=words", "--set", "unit=chars", rc=1)
    assert "--set unit=chars: --set unit gives it too; give each key once" in told


def test_the_list_of_strategies_has_what_each_reads_and_its_fields(plugin):
    reported = json.loads(call("strategies", "--json", "--plugin", plugin))["strategies"]
    assert list(reported) == [*sorted(shipped()), "mine"]
    assert reported["ifd"]["reads"] == ["losses of a model"] and reported["selectit"]["reads"] == ["ratings by a model"]
    assert reported["random_rest"]["reads"] == ["what another arm selected"] and reported["full"]["reads"] == []
    assert reported["random_rest"]["fields"]["rest_of"]["required"]
    assert reported["mine"]["fields"]["letter"] == {"default": "b", "required": False, "doc": "What is counted."}
    assert reported["mine"]["from"] == f"plugin {plugin}"
    assert "num_rating_prompts=5: The first K rating prompts" in call("strategies", "selectit")
    assert "Did you mean 'selectit'?" in call("strategies", "selectti", rc=1)


def test_a_plugin_s_classes_are_the_same_however_often_it_is_read(plugin):
    assert of_file(plugin) == of_file(plugin)
    assert known([plugin]).read({"strategy": "mine"}) == known([plugin]).read({"strategy": "mine"})
    [schema] = of_file(plugin)
    assert classes_in(sys.modules[schema.__module__]) == [schema]
