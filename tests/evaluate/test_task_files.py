"""What a named task is made of is found as lm-eval's own index finds it, and without it."""

import subprocess
import sys

import pytest
from own_tasks import write_tasks

from selectit.errors import UserError
from selectit.evaluate.benchmarks.task_files import find_task
from selectit.evaluate.benchmarks.task_yamls import lm_eval_tasks_folder


@pytest.fixture
def own(tmp_path):
    return write_tasks(tmp_path / "tasks")


def names(paths):
    return sorted(path.name for path in paths)


def test_a_task_is_its_yaml_what_it_includes_its_python_and_its_data(own):
    found = find_task("sums_points", str(own))
    assert found.tasks == ("sums_points",)
    assert names(found.defining) == ["sums_points.yaml"]
    assert names(found.others) == ["scoring.py", "sums_text.yaml"]
    assert names(found.data) == ["sums.jsonl", "train.jsonl"]
    assert found.datasets == () and found.untracked == ()


def test_a_group_is_all_its_members(own):
    found = find_task("sums", str(own))
    assert found.tasks == ("sums_choice", "sums_short")
    assert names(found.defining) == ["sums_choice.yaml", "sums_group.yaml", "sums_short.yaml"]
    assert names(found.data) == ["few.jsonl", "sums.jsonl", "train.jsonl"]


def test_a_group_without_a_task_is_refused(own):
    (own / "none.yaml").write_text("group: none_yet\ntask: []\n")
    with pytest.raises(UserError, match=r"none\.yaml: the group none_yet has no task"):
        find_task("none_yet", str(own))


def test_a_name_of_the_users_folder_comes_before_lm_evals(own):
    (own / "arc.yaml").write_text((own / "sums_choice.yaml").read_text().replace("sums_choice", "arc_challenge"))
    assert names(find_task("arc_challenge", str(own)).defining) == ["arc.yaml"]
    assert names(find_task("arc_challenge", None).defining) == ["arc_challenge.yaml"]


def test_lm_evals_own_tasks_are_found_with_their_data_sets():
    arc = find_task("arc_challenge", None)
    assert arc.datasets == (("allenai/ai2_arc", None),)
    assert names(arc.others) == ["arc_easy.yaml"], "which arc_challenge includes"
    assert find_task("ifeval", None).datasets == (("google/IFEval", None),)
    mmlu = find_task("mmlu", None)
    assert len(mmlu.tasks) == 57, "its members are groups, and theirs are tags"


def test_names_and_tags_are_those_of_lm_evals_index():
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._index import Kind

    folder, ours = lm_eval_tasks_folder(), ("arc", "mmlu/default", "gpqa", "truthfulqa", "ifeval", "afrobench/afrimmlu")
    index = TaskManager(include_defaults=False, include_path=[folder.root / name for name in ours]).task_index
    assert len(index) > 80
    for name, entry in index.items():
        if entry.kind is Kind.TAG:
            assert entry.tags <= folder.tagged(name)
        else:
            assert folder.names[name].resolve() == entry.yaml_path.resolve()


def test_lm_eval_is_not_imported():
    code = (
        "import sys; from selectit.evaluate.benchmarks.task_files import find_task; find_task('mmlu', None); "
        "sys.exit(any(name in sys.modules for name in ('lm_eval', 'torch', 'datasets', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_is_only_known_when_it_is_read_is_named(own):
    (own / "far.yaml").write_text(
        "task: far\ndataset_path: json\ndataset_kwargs: {data_files: 'https://example.org/rows.json'}\n"
    )
    assert find_task("far", str(own)).untracked == ("https://example.org/rows.json",)
    assert find_task("squadv2", None).untracked == ("a data set that its Python code loads",)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("sums_chioce", {}, "no task or group 'sums_chioce'. Did you mean 'sums_choice'?"),
        ("ai2_arc", {}, "'ai2_arc' is a tag of lm-eval.* name one of its tasks .arc_challenge, arc_easy."),
        ("sums_choice", {"sums.jsonl": None}, "sums_choice.yaml: there is no data file .*sums.jsonl; a relative path"),
        ("sums_short", {"sums_choice.yaml": None}, "sums_short.yaml: .*sums_choice.yaml cannot be read"),
        ("sums_choice", {"sums_choice.yaml": "task: sums_choice\nmetric_list: ["}, "is not a YAML that can be read"),
        ("sums", {"sums_group.yaml": "group: sums\ntask: [3]\n"}, "a member of a group is a name"),
        ("sums", {"sums_group.yaml": "group: sums\ntask: [sums]\n"}, "the group sums is a member of itself"),
        ("sums", {"sums_group.yaml": "group: sums\ntask: [nosuch_at_all]\n"}, "no task or group 'nosuch_at_all'"),
    ],
)
def test_what_is_wrong_is_named(own, name, change, message):
    for file, text in change.items():
        (own / file).unlink() if text is None else (own / file).write_text(text)
    with pytest.raises(UserError, match=message):
        find_task(name, str(own))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="include_path: there is no folder"):
        find_task("sums", str(tmp_path / "nowhere"))
