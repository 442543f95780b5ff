"""What is shipped: the links, the pins, the wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def project(root) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins(root) -> dict[str, Version]:
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"\S+==\S+", line) for line in lines)
    return {canonicalize_name(line.split("==")[0]): Version(line.split("==")[1]) for line in lines}


def requirements(project: dict) -> list[Requirement]:
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    return [Requirement(text) for text in [*project["dependencies"], *extras]]


def test_every_dependency_is_pinned_to_a_version_it_allows(project, pins):
    for requirement in requirements(project):
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_pins_are_what_these_tests_run_with(project, pins):
    from importlib.metadata import version

    for requirement in requirements(project):
        found = Version(Version(version(requirement.name)).public)
        assert found == pins[canonicalize_name(requirement.name)], requirement


def test_environment_yml_holds_the_same_dependencies_and_pins(root, project, pins):
    environment = yaml.safe_load((root / "environment.yml").read_text())
    [python] = [d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python=")]
    assert Version(python.removeprefix("python=")) in SpecifierSet(project["requires-python"])
    [pip] = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert "-c constraints.txt" in pip and "-e ." in pip
    listed = {canonicalize_name(Requirement(line).name): line for line in pip if not line.startswith("-")}
    assert set(listed) == {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    for name, line in listed.items():
        assert line.endswith(f"=={pins[name]}"), line


def test_the_rooms_are_reached_through_links_and_hide_nobodys_package(root):
    for room in ("finetune", "evaluate"):
        assert os.readlink(root / "selectit" / room) == f"../{room}"
        assert not (root / room / "__init__.py").exists() and not (root / "tests" / room / "__init__.py").exists()
    code = (
        "import evaluate, pathlib; print(pathlib.Path(evaluate.__file__).parent.parent.name, hasattr(evaluate, 'load'))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert answer.stdout.split() == ["site-packages", "True"]


def test_a_wheel_holds_every_data_file_and_works_from_another_folder(root, tmp_path):
    source = tmp_path / "source"  # setuptools leaves a build folder, whose old files would go into the next wheel
    shutil.copytree(root, source, symlinks=True, ignore=shutil.ignore_patterns(".*", "runs", "build", "*.egg-info"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    built = subprocess.run([*build, "--no-build-isolation"], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        inside = set(archive.namelist())
    data = [
        Path("selectit") / room / path.relative_to(root / room)
        for room in ("finetune", "evaluate")
        for path in (root / room).rglob("*")
        if path.is_file() and path.suffix in (".py", ".yaml", ".md", ".txt", ".json")
    ]
    data += [
        p.relative_to(root)
        for p in (root / "selectit").rglob("*")
        if p.suffix in (".jinja", ".txt", ".css", ".py", ".yaml")
    ]
    assert {str(path) for path in data} <= inside
    code = (
        "from selectit.evaluate.profile import load_profile; from selectit.scoring.prompts import read_rating_prompts;"
        "import selectit; print(selectit.__file__);"
        "print(len(read_rating_prompts('default', 'paper')), *load_profile('full').benchmarks)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert str(tmp_path) in answer.stdout and "9 mmlu bbh gsm8k tydiqa humaneval alpaca_eval" in answer.stdout
