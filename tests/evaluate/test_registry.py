"""A benchmark that ships is one folder with everything that is known of it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from selectit.config.evaluate import PROFILES
from selectit.evaluate.benchmarks.benchmark import Benchmark, Release, home
from selectit.evaluate.benchmarks.files import lm_eval_tasks, prompt_forms
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.grading.kinds import Choices, Texts
from selectit.evaluate.profile import load_profile

ROOT = Path(__file__).parents[2]
EVERY = pytest.mark.parametrize("one", benchmarks().values(), ids=benchmarks())


def test_every_folder_declares_a_benchmark():
    folders = {path.parent.name for path in home("").glob("*/*.*") if path.parent.name != "__pycache__"}
    assert folders == {one.folder for one in benchmarks().values()}


@EVERY
def test_its_readme_has_source_licence_files_and_how_it_is_graded(one):
    page = home(one.folder) / "README.md"
    assert page.is_file(), f"{page}: write its source, licence, files, and how it is asked and graded"
    text = page.read_text()
    found = dict(re.findall(r"^- ([^:]+): (.+(?:\n  .+)*)", text, re.M))
    missing = {"Source", "Licence", "Asked and graded"} - set(found)
    assert not missing, f"{page} needs a line `- {min(missing)}: ...`"
    assert f"`{one.name}`" in text, "the README names the benchmarks of its folder"
    assert found.get("On the hub") == (None if one.hub is None else f"`{one.hub}`.")
    assert f"Files, in the folder `{one.folder}/` of `evaluate.data`" in found, f"{page} names its files"
    if len([other for other in benchmarks().values() if other.folder == one.folder]) == 1:
        for name in (*one.files, *one.optional_files):
            assert name.replace("{task}", "<task>") in text


@EVERY
def test_its_task_files_its_graders_and_its_place_in_the_pages_are_there(one):
    for form in (None, *prompt_forms(one.name)):
        assert one.task_file(form).parent == home(one.folder)
        assert bool(lm_eval_tasks(one.name, form)) == (one.lm_eval is not None and one.lm_eval.prefix is not None)
    if isinstance(one.grading, Texts):
        assert all(callable(grader.load()) for grader in one.grading.graders.values())
    assert set(one.sizes) <= set(prompt_forms(one.name)) and set(one.cut_prompts) <= set(prompt_forms(one.name))
    page = (ROOT / "docs" / "evaluation.md").read_text()
    assert re.search(rf"\b{one.name.removesuffix('_comet')}\b", page), "docs/evaluation.md names it"
    assert any(one.name in load_profile(profile).benchmarks for profile in PROFILES), "a profile that ships asks it"


def test_no_two_are_shown_alike_and_no_grader_has_two_meanings():
    shown = [one.display_name for one in benchmarks().values()]
    assert len(set(shown)) == len(shown)
    graders = [name for one in benchmarks().values() if isinstance(one.grading, Texts) for name in one.grading.graders]
    assert len(set(graders)) == len(graders)


def test_what_a_declaration_forgets_is_named():
    whole = {name: getattr(benchmarks()["gsm8k"], name) for name in Benchmark.__dataclass_fields__}
    for name in ("display_name", "published_at", "files", "read", "source", "grading", "right_answer", "size"):
        with pytest.raises(TypeError, match=f"missing 1 required keyword-only argument: '{name}'"):
            Benchmark(**{key: value for key, value in whole.items() if key != name})
    for name in ("display_name", "published_at", "files"):
        with pytest.raises(ValueError, match=f"benchmark gsm8k: {name} must be given"):
            replace(benchmarks()["gsm8k"], **{name: ""})
    with pytest.raises(ValueError, match="'Grade_School' must have no underscore"):
        replace(benchmarks()["gsm8k"], display_name="Grade_School")


def test_all_are_found_without_a_heavy_import():
    code = (
        "import sys; from selectit.evaluate.benchmarks.registry import benchmarks; benchmarks()\n"
        "heavy = ('torch', 'transformers', 'lm_eval', 'datasets', 'numpy', 'pyarrow', 'sklearn', 'sacrebleu')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_new_folder_is_all_that_a_new_benchmark_needs(tmp_path, monkeypatch, demo_data):
    """A copy of gsm8k's folder under another name is found, read, asked and graded."""
    from selectit.config import BenchmarkConfig, ModelConfig
    from selectit.evaluate.benchmarks import registry
    from selectit.evaluate.benchmarks.questions import load_questions
    from selectit.evaluate.stage_config import EvaluateStage

    folder = tmp_path / "sums"
    folder.mkdir()
    for name in ("benchmark.py", "gsm8k.yaml"):
        text = (home("gsm8k") / name).read_text()
        text = text.replace('name="gsm8k"', 'name="sums"').replace('folder="gsm8k"', 'folder="sums"')
        (folder / name.replace("gsm8k", "sums")).write_text(text)
    (tmp_path / "data" / "sums").mkdir(parents=True)
    (tmp_path / "data" / "sums" / "test.jsonl").write_text((demo_data / "gsm8k" / "test.jsonl").read_text())
    monkeypatch.setattr(registry, "home", lambda name: tmp_path / name)
    monkeypatch.setattr("selectit.evaluate.benchmarks.benchmark.home", lambda name: tmp_path / name)
    import selectit.evaluate.benchmarks as package

    monkeypatch.setattr(package, "__path__", [str(tmp_path)])
    registry.benchmarks.cache_clear()
    try:
        assert list(registry.benchmarks()) == ["sums"]
        entry = BenchmarkConfig(name="sums", metric="exact_match,flexible-extract")
        stage = EvaluateStage(model=ModelConfig(path="none"), benchmark=entry, data=str(tmp_path / "data"))
        questions = load_questions(stage)
        assert list(questions.tasks) == ["gsm8k_cot"] and len(questions.rows) > 10
        assert registry.benchmarks()["sums"].grading.described(entry) == {"name": "gsm8k", "version": 3}
    finally:
        monkeypatch.undo()
        registry.benchmarks.cache_clear()


def test_what_is_not_on_the_hub_is_a_release_with_its_digest():
    released = [one.source for one in benchmarks().values() if isinstance(one.source, Release)]
    assert released and all(
        re.fullmatch("[0-9a-f]{64}", one.sha256) and one.url.startswith("https://") for one in released
    )


def test_choices_have_the_place_of_the_right_one():
    rows = {"mmlu": {"answer": 2}, "medqa": {"label": 2}, "medmcqa": {"cop": 2}}
    for name, row in rows.items():
        assert isinstance(benchmarks()[name].grading, Choices) and benchmarks()[name].right_answer(row) == 2
