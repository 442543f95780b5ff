"""The documentation names what exists: fields, commands, options, files, links, targets; its recipes load.

Reads README.md and docs/; imports nothing heavy.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
import yaml
from pydantic.fields import FieldInfo

from selectit import config
from selectit.cli.app import app
from selectit.evaluate.benchmarks.task_config import NamedTaskConfig
from selectit.evaluate.profile import load_profile
from selectit.evaluate.results import BenchmarkResult
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.build import build
from selectit.recipe.load import load
from selectit.report.render.csv_files import COMPARISON_COLUMNS, OVERLAP_COLUMNS, RESULT_COLUMNS
from selectit.selection.registry import shipped
from selectit.store.kinds import KINDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("README.md"), *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS: dict[str, type[config.Config]] = {
    "The recipe": config.RecipeConfig,
    "`pool`": config.PoolConfig,
    "`pool.sample`": config.SampleConfig,
    "`model`": config.ModelConfig,
    "`score`": config.ScoreConfig,
    "`finetune`": config.FinetuneConfig,
    "`finetune.lora`": config.LoraSettings,
    "`finetune.validation`": config.ValidationSplit,
    "`finetune.early_stopping`": config.EarlyStopping,
    "`evaluate`": config.EvaluateConfig,
    "`evaluate.judge`": config.JudgeConfig,
    "`seeds`": config.SeedsConfig,
    "`wandb`": config.WandbConfig,
}
"""Heading in docs/recipes.md -> the model whose fields its table lists."""
STRATEGIES = shipped()
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOP = "pool|model|score|select|finetune|evaluate|seeds|wandb"
ROOMS = r"(?:selectit|finetune|evaluate|recipes|tests|docs|demo)"


def blocks(page: Path, language: str | None = None) -> list[str]:
    """The fenced blocks of a page."""
    return [text for name, text in FENCE.findall(page.read_text()) if language in (None, name)]


def spans(page: Path) -> list[str]:
    """What stands in backticks outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text()))


def code(page: Path) -> list[str]:
    """Lines of code, continued lines joined, and spans; blocks without a language hold what a command printed."""
    found = [text for name, text in FENCE.findall(page.read_text()) if name]
    return [line for text in found for line in text.replace("\\\n", " ").splitlines()] + spans(page)


def reference_table(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its header."""
    _, _, after = page.read_text().partition(f"\n### {heading}\n")
    assert after, f"{page.name} has no section {heading}"
    lines = [line for line in after.split("\n#")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def is_execution(info: FieldInfo) -> bool:
    return isinstance(info.json_schema_extra, dict) and bool(info.json_schema_extra.get("execution"))


def same_default(cell: str, info: FieldInfo) -> bool:
    text = cell.strip("`")
    if info.is_required():
        return text == "required"
    if isinstance(info.default, config.Config):
        return text == "see below"
    reported = yaml.safe_load(text)
    return (tuple(reported) if isinstance(reported, list) else reported) == info.default


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_reference_lists_every_field_with_its_default_and_whether_it_is_part_of_the_fingerprint(heading):
    schema, found = SECTIONS[heading], reference_table(ROOT / "docs" / "recipes.md", heading)
    assert sorted(row[0] for row in found) == sorted(f"`{name}`" for name in schema.model_fields)
    for row in found:
        name = row[0].strip("`")
        info = schema.model_fields[name]
        assert same_default(row[2], info), row
        if schema in (config.RecipeConfig, config.WandbConfig, config.SeedsConfig):
            continue  # no part of any stage, or handed to stages one seed at a time
        staged = EvaluateStage.model_fields if schema is config.EvaluateConfig and name != "profile" else {}
        assert row[4] == ("no" if is_execution(staged.get(name, info)) else "yes"), row


def test_the_reference_lists_every_field_of_every_strategy():
    reported = reference_table(ROOT / "docs" / "recipes.md", "`select`")
    named = [(name, row[0].strip("`")) for row in reported for name in row[1].split(", ")]
    of_pool = set(config.PoolConfig.model_fields)  # of a file of rows, for which the table of `pool` is named
    assert sorted(named) == sorted(
        (name, field)
        for name, schema in STRATEGIES.items()
        for field in schema.model_fields
        if field not in (of_pool if issubclass(schema, config.PoolConfig) else ())
    )
    for row in reported:
        infos = [STRATEGIES[name].model_fields[row[0].strip("`")] for name in row[1].split(", ")]
        for info in infos:
            assert same_default(row[3], info) and row[5] == ("no" if is_execution(info) else "yes"), row


def test_the_reference_lists_every_field_of_every_method_of_diversify():
    reported = reference_table(ROOT / "docs" / "recipes.md", "`select.diversify`")
    methods = {
        get_args(f.model_fields["method"].annotation)[0]: f for f in schemas_of("diversify", [*STRATEGIES.values()])
    }
    named = [(name, row[0].strip("`")) for row in reported for name in row[1].split(", ")]
    assert sorted(named) == sorted((name, field) for name, form in methods.items() for field in form.model_fields)
    for row in reported:
        for info in (methods[name].model_fields[row[0].strip("`")] for name in row[1].split(", ")):
            assert same_default(row[3], info) and row[5] == ("no" if is_execution(info) else "yes"), row


def schemas_of(name: str, schemas: list[Any]) -> list[Any]:
    """The models that a field of some models holds."""
    return [
        one for schema in schemas if name in schema.model_fields for one in STRATEGIES.forms(schema.model_fields[name])
    ]


@EVERY_PAGE
def test_every_dotted_field_exists(page):
    arm = [config.ArmConfig, config.RecipeConfig]
    for text in spans(page):
        match = re.fullmatch(rf"((?:{TOP})(?:\.[a-z_]+)+)(?:[:= ].*)?", text)
        if match is None or match[1].endswith((".json", ".jsonl", ".yaml", ".py", ".parquet", ".safetensors")):
            continue
        schemas: list[Any] = arm
        for part in match[1].split("."):
            assert any(part in schema.model_fields for schema in schemas), f"{page.name}: `{text}`: there is no {part}"
            schemas = schemas_of(part, schemas)


def test_evaluation_names_every_field_of_profiles_and_results():
    named = set(spans(ROOT / "docs" / "evaluation.md"))
    entries = set(config.BenchmarkConfig.model_fields) | set(NamedTaskConfig.model_fields)
    assert entries | {field.name for field in fields(BenchmarkResult)} <= named


def test_results_names_every_column_and_every_output():
    page = ROOT / "docs" / "results.md"
    outputs = {name if "." in name else f"{name}/" for kind in KINDS.values() for name in kind.outputs}
    assert {*RESULT_COLUMNS, *OVERLAP_COLUMNS, *COMPARISON_COLUMNS, *outputs} <= set(spans(page))
    assert all(kind in page.read_text() for kind in KINDS)


def anchor(heading: str) -> str:
    """As GitHub makes it: letters, digits, `-` and `_`, lower case."""
    kept = [c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LN"]
    return "".join(kept).strip().replace(" ", "-")


@EVERY_PAGE
def test_every_relative_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, fragment = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.name}: {target}"
        headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.MULTILINE) if fragment else []
        assert not fragment or fragment in map(anchor, headings), f"{page.name}: {target}"


def commands() -> dict[str, set[str]]:
    """Command, with its parent where it has one -> its options."""
    found: dict[str, set[str]] = {}

    def walk(command: Any, name: str) -> None:
        for child_name, child in getattr(command, "commands", {}).items():
            walk(child, f"{name} {child_name}".strip())
        options = [option for p in command.params for option in (*p.opts, *p.secondary_opts)]
        found[name] = {"--help", *(option for option in options if option.startswith("--"))}

    walk(typer.main.get_command(app), "")
    return found


def used(line: str) -> Iterator[list[str]]:
    """The words after `selectit` of each call in a line of code."""
    for call in re.findall(r"(?:^|[\s/'\"({;&|])selectit ((?:[a-z]|--)[^;&|'\"`)#]*)", line):
        yield shlex.split(call)


@EVERY_PAGE
def test_every_command_and_option_exists(page):
    known = commands()
    of_benchmarks = {
        o for p in (ROOT / "benchmarks").glob("*.py") for o in re.findall(r'"(--[a-z0-9-]+)"', p.read_text())
    }
    options = set().union(*known.values(), of_benchmarks)
    for line in code(page):
        for words in used(line):
            name = next((n for n in (" ".join(words[:2]), words[0]) if n in known), "" if words[0] in options else None)
            assert name is not None, f"{page.name}: selectit {words[0]} in: {line}"
            unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known[name]]
            assert not unknown, f"{page.name}: {unknown} in: {line}"
    for span in spans(page):
        if re.match(r"--[a-z]", span):
            assert span.partition("=")[0].split()[0] in options, f"{page.name}: `{span}`"


@EVERY_PAGE
def test_every_path_that_is_named_exists(page):
    text = page.read_text()
    for path in re.findall(r"(?<![\w/.-])recipes/[\w./-]+\.yaml", text):
        assert (ROOT / path).is_file(), f"{page.name}: {path}"
    for span in spans(page):
        if re.fullmatch(rf"{ROOMS}/[\w./-]*", span):
            assert (ROOT / span).exists(), f"{page.name}: `{span}`"
    for line in code(page):
        for path in re.findall(rf"(?:python|pytest -q) ({ROOMS}/[\w/]+\.py)", line):
            assert (ROOT / path).is_file(), f"{page.name}: {path}"


@EVERY_PAGE
def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code(page):
        for target in re.findall(r"(?:^|[\s&;])make ([a-z-]+)", line.split("#")[0]):
            assert target in targets, f"{page.name}: make {target}"


@EVERY_PAGE
def test_every_whole_recipe_and_profile_loads(page, tmp_path):
    for number, text in enumerate(blocks(page, "yaml")):
        path = tmp_path / f"block{number}.yaml"
        files = re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for name, code in files:
            (tmp_path / name).write_text(code)
        if text.startswith("name:"):
            path.write_text(re.sub(r"(extends: |profile: )(?=\w+/)", rf"\g<1>{ROOT}/", text))
            assert build(load(path)).rows
        elif text.startswith("description:"):
            path.write_text(text)
            assert load_profile(str(path)).benchmarks
        else:
            assert isinstance(yaml.safe_load(text), dict)
