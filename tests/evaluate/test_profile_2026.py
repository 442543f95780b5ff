"""Profile 2026: each entry is what the comment above it says; its four own benchmarks are read, asked and graded.

The rows are made up, in their authors' layouts (benchmarks_2026.py).
"""

import io
import json
import math
import os
import random
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path

import nltk
import pytest
from benchmarks_2026 import (
    BROKEN,
    FOLLOWED,
    GPQA,
    IFEVAL,
    TRUTHFUL,
    write_all,
    write_gpqa,
    write_ifeval,
    write_mmlu_pro,
    write_parquet,
    write_rest,
    write_truthfulqa,
)
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.errors import UserError
from selectit.evaluate.benchmarks import fetch_data
from selectit.evaluate.benchmarks.fetch_data import fetch_benchmark
from selectit.evaluate.benchmarks.files import data_files
from selectit.evaluate.benchmarks.questions import load_questions
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.benchmarks.task_check import check_task
from selectit.evaluate.grading import followed_instructions
from selectit.evaluate.grading.followed_instructions import grade_ifeval
from selectit.evaluate.grading.true_choices import mc1, mc2
from selectit.evaluate.profile import load_profile
from selectit.evaluate.results import Item
from selectit.evaluate.show import asked
from selectit.evaluate.stage import check_benchmark
from selectit.evaluate.stage_config import EvaluateStage

ROOT = Path(__file__).parents[2]
PROFILE = load_profile("2026").benchmarks
IN_CHAT = ("ifeval", "mmlu_pro", "gpqa_diamond", "math500", "gsm8k", "bbh", "alpaca_eval_2", "arena_hard")
SOME_TASKS = {"mmlu": ("astronomy",), "bbh": ("object_counting",), "mmlu_pro": ("biology",)}


def has_checks():
    return all(find_spec(name) for name in ("langdetect", "immutabledict"))


needs_checks = pytest.mark.skipif(not has_checks(), reason="the extra ifeval is not installed")


@pytest.fixture
def folder(tmp_path, demo_data):
    """Every benchmark of the profile in one data folder."""
    data = write_rest(write_all(tmp_path / "data"))
    for name in ("mmlu", "bbh", "gsm8k"):
        (data / name).symlink_to(demo_data / name)
    return data


@pytest.fixture
def punkt(monkeypatch, tmp_path):
    """A stand-in of nltk's model, that knows two abbreviations, where nltk looks for it."""
    home = tmp_path / "nltk" / "tokenizers" / "punkt_tab" / "english"
    home.mkdir(parents=True)
    files = {"abbrev_types.txt": "dr\nst\n", "collocations.tab": "", "ortho_context.tab": "", "sent_starters.txt": ""}
    for name, text in files.items():
        (home / name).write_text(text)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk")])
    return tmp_path / "nltk"


def entry(name):
    tasks = SOME_TASKS.get(name)
    return PROFILE[name] if tasks is None else PROFILE[name].model_copy(update={"tasks": tasks})


def stage_of(name, data, demo_model, **changes):
    benchmark = entry(name).model_copy(update=changes)
    return EvaluateStage(model=demo_model, benchmark=benchmark, profile="2026", template="alpaca", data=str(data))


def result(out):
    return json.loads((out / "result.json").read_text())


def items(out):
    return [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]


def comments():
    """Entry -> the comment above it, as one line."""
    text = (ROOT / "evaluate" / "profiles" / "2026.yaml").read_text()
    found = re.findall(r"((?:^  # .+\n)+)^  (\w+):$", text, re.M)
    return {name: " ".join(line.strip(" #") for line in lines.splitlines()) for lines, name in found}


def test_it_has_the_twelve_benchmarks_of_its_description_in_their_order():
    listed = load_profile("2026").description.partition(": ")[2].partition(". ")[0]
    named = [name.partition(" (")[0] for name in re.split(", | and ", listed)]
    assert named == [benchmarks()[name].display_name for name in PROFILE] and len(named) == 12


@pytest.mark.parametrize("name", PROFILE)
def test_an_entry_is_what_its_comment_says(folder, demo_model, name):
    """Shots of the tasks that lm-eval makes of it, chat format, metric, and a paper as its source."""
    comment, settings = comments()[name], PROFILE[name]
    shots = int(re.match(r"(\d+)-shot", comment)[1])
    form, metric = re.search(r"; (chat format|base-model prompt); ([\w@]+(?:,[\w-]+)?)", comment).groups()
    assert settings.chat_template == (form == "chat format") == (name in IN_CHAT)
    assert settings.metric == metric
    assert re.search(r"\(arXiv \d{4}\.\d{5}\)", comment)
    assert (settings.temperature, settings.num_samples, settings.items_per_task) == (0, 1, None)
    tasks = load_questions(stage_of(name, folder, demo_model)).tasks.values()
    assert {task.get_config("num_fewshot") for task in tasks} == {shots}
    if (hub := benchmarks()[name].hub) is not None:
        assert {task.DATASET_PATH for task in tasks} == {hub}


@pytest.mark.parametrize("name", ["ifeval", "mmlu_pro", "gpqa_diamond", "truthfulqa"])
def test_what_is_asked_is_shown_and_its_right_answer_is_right(folder, demo_model, name):
    for one in asked(stage_of(name, folder, demo_model), 2):
        assert one.item.score == (None if name == "ifeval" else 1)
        assert ("### Response:" in one.item.prompt) == (name != "truthfulqa")


@pytest.mark.parametrize(("name", "value"), [("mmlu_pro", 1.0), ("gpqa_diamond", 1.0), ("truthfulqa", 1.0)])
def test_the_oracle_is_right_and_a_wrong_model_is_wrong(oracle, evaluate, folder, monkeypatch, name, value):
    changes = {"tasks": ("biology", "computer_science")} if name == "mmlu_pro" else {}
    options = {"profile": "2026", "data": str(folder), "changes": changes}
    monkeypatch.setattr(oracle, "loglikelihood", lambda asked: [(_truth(one, 0.0, -1e4), True) for one in asked])
    metrics, out = evaluate(name, **options)
    assert metrics["value"] == value and {item["score"] for item in items(out)} == {1.0}
    assert result(out)["grader"]["version"] == 1 and result(out)["complete"]
    monkeypatch.setattr(oracle, "loglikelihood", lambda asked: [(_truth(one, -1e4, 0.0), True) for one in asked])
    monkeypatch.setattr(oracle, "answer", lambda doc: f"The answer is ({'B' if doc['answer'] == 'A' else 'A'}).")
    metrics, out = evaluate(name, **options)
    assert metrics["value"] == 0
    if name == "truthfulqa":
        assert result(out)["metrics"]["mc1"]["value"] == 0
        return
    for nothing in ("", "Xq wvf lorem.", "I do not know."):
        monkeypatch.setattr(oracle, "answer", lambda doc, nothing=nothing: nothing)
        metrics, out = evaluate(name, **options)
        assert metrics["value"] == 0 and result(out)["outcomes"]["read"] == 0


def _truth(request, true, false):
    doc = request.doc
    return true if request.idx in (doc["best"], *doc["true"]) else false


@needs_checks
def test_ifeval_scores_what_follows_all_instructions(oracle, evaluate, folder, punkt, monkeypatch):
    for texts, value in ((FOLLOWED, 1.0), (BROKEN, 0.0), ([""] * 3, 0.0)):
        by_prompt = {row["prompt"]: text for row, text in zip(IFEVAL, texts, strict=True)}
        monkeypatch.setattr(oracle, "answer", lambda doc, by_prompt=by_prompt: by_prompt[doc["prompt"]])
        metrics, out = evaluate("ifeval", profile="2026", data=str(folder))
        assert metrics["value"] == value
        assert result(out)["metrics"]["prompt_level_loose_acc"]["value"] == value
    assert result(out)["outcomes"] == {"read": 0, "unparsed": 3}
    assert oracle.prompts[0] == "<alpaca>" + IFEVAL[0]["prompt"]


def graded(text, number=0, **changes):
    row = {**IFEVAL[number], **changes}
    return grade_ifeval(text, {**row, "kwargs": json.dumps(row["kwargs"])})


@needs_checks
def test_instructions_are_checked_strictly_and_loosely(punkt):
    assert graded(FOLLOWED[0]).answer == "2 of 2 instructions followed"
    half = graded("The lake is deep. It is blue, too. It is here.")
    assert (half.answer, half.score, half.others) == (
        "1 of 2 instructions followed", 0, {"prompt_level_loose_acc": 0.0},
    )  # fmt: skip
    greeted = graded(f"Sure, here it is:\n{FOLLOWED[0]}")
    assert (greeted.score, greeted.others) == (0, {"prompt_level_loose_acc": 1.0})
    starred = graded(f"**{FOLLOWED[1]}**", 1)
    assert (starred.score, starred.others) == (0, {"prompt_level_loose_acc": 1.0})
    # St. and Dr. end no sentence, so nltk's model is asked and not the full stops
    assert graded("It lies near St. Moritz. Dr. Brown swims there.").score == 0


@needs_checks
@pytest.mark.parametrize("text", ["", " \n", "12345", "!!! ??? ..."])
def test_a_text_without_words_follows_no_instruction_on_its_language(punkt, text):
    alone = {"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "fr"}]}
    found = graded(text, 1, **alone)
    assert (found.score, found.others["prompt_level_loose_acc"]) == (0, 0)


@needs_checks
def test_instructions_of_all_prompts_count_alike(oracle, evaluate, folder, punkt, monkeypatch):
    """Two of five instructions are followed, those of one prompt of two."""
    rows = [IFEVAL[0], {**IFEVAL[0], "prompt": "Other.", "instruction_id_list": ["punctuation:no_comma"] * 3,
                        "kwargs": [{}] * 3}]  # fmt: skip
    write_ifeval(folder / "ifeval", rows)
    monkeypatch.setattr(oracle, "answer", lambda doc: "Hm, no." if doc["prompt"] == "Other." else FOLLOWED[0])
    metrics, out = evaluate("ifeval", profile="2026", data=str(folder))
    found = {name: metric["value"] for name, metric in result(out)["metrics"].items()}
    assert metrics["value"] == found["prompt_level_loose_acc"] == 0.5
    assert found["inst_level_strict_acc"] == found["inst_level_loose_acc"] == 2 / 5
    assert items(out)[1]["inst_level_strict_acc"] == [False] * 3


@needs_checks
def test_every_instruction_is_checked_as_lm_evals_task_checks_it(punkt):
    """Each of the 25 with settings that its own code draws, on texts of several forms."""
    import langdetect
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT
    from lm_eval.tasks.ifeval.utils import process_results

    texts = [
        *FOLLOWED, *BROKEN, "", "**Sure!**\n\n* one\n* two\n\n<<A title>>\n\nSection 1\nIt is [name].\n***\nP.S. Bye!",
        "******".join(["My answer is yes."] * 2), '{"a": 1}', "all is small here\n\nand so is this", "ALL IS LARGE",
    ]  # fmt: skip
    seen = set()
    for number, (name, made) in enumerate(INSTRUCTION_DICT.items()):
        random.seed(number)
        check = made(name)
        check.build_description(**({"prompt_to_repeat": "ALL IS"} if name == "combination:repeat_prompt" else {}))
        settings = check.get_instruction_args() or {}
        doc = {"key": 1, "prompt": "x", "instruction_id_list": [name], "kwargs": [settings]}
        for text in texts:
            langdetect.DetectorFactory.seed = 0
            theirs = process_results(doc, [text])
            ours = grade_ifeval(text, {**doc, "kwargs": json.dumps([settings])})
            seen.add(ours.score)
            assert ours.score == theirs["prompt_level_strict_acc"], (name, settings, text)
            assert ours.others["prompt_level_loose_acc"] == theirs["prompt_level_loose_acc"], (name, settings, text)
            assert ours.parts == {one: theirs[one] for one in ("inst_level_strict_acc", "inst_level_loose_acc")}
    assert len(INSTRUCTION_DICT) == 25 and seen == {0, 1}


@needs_checks
def test_the_language_of_a_text_is_the_same_in_every_run(punkt):
    alone = {"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "de"}]}
    assert len({graded("Das war gut in Rom", 1, **alone).score for _ in range(20)}) == 1


@needs_checks
def test_an_instruction_that_is_not_known_is_named(punkt):
    with pytest.raises(UserError, match=r"no instruction 'punctuation:no_dots'; known are .*punctuation:no_comma"):
        graded("x", instruction_id_list=["punctuation:no_dots"], kwargs=[{}])
    with pytest.raises(UserError, match=r"number_sentences cannot be set up with .*sentences"):
        graded("x", instruction_id_list=["length_constraints:number_sentences"], kwargs=[{"sentences": 3}])


def test_without_a_package_or_nltks_model_it_is_refused_before_anything_runs(folder, demo_model, monkeypatch):
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(followed_instructions, "find_spec", lambda name: None if name == "langdetect" else True)
    with pytest.raises(UserError, match=r"need langdetect: pip install 'selectit\[ifeval\]'"):
        check_benchmark(stage_of("ifeval", folder, demo_model))
    monkeypatch.setattr(followed_instructions, "find_spec", lambda name: True)
    with pytest.raises(UserError, match=r"punkt_tab(.|\n)*python -m nltk.downloader punkt_tab(.|\n)*data fetch"):
        check_benchmark(stage_of("ifeval", folder, demo_model))
    home = folder / "ifeval" / "tokenizers" / "punkt_tab" / "english"
    home.mkdir(parents=True)
    (home / "abbrev_types.txt").write_text("dr\n")
    check_benchmark(stage_of("ifeval", folder, demo_model))


def test_lm_evals_own_task_is_refused_without_nltks_model_too(monkeypatch, tmp_path):
    """It would be fetched when the task is loaded, or be missing when the first answer is scored."""
    (tmp_path / "own.yaml").write_text(
        "benchmarks:\n  ifeval: {task: ifeval, metric: 'prompt_level_strict_acc,none'}\n"
    )
    named = load_profile(str(tmp_path / "own.yaml")).benchmarks["ifeval"]
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(followed_instructions, "find_spec", lambda name: True)
    with pytest.raises(UserError, match="counts sentences with nltk's punkt_tab, which is not here"):
        check_task(named)


def test_options_are_asked_in_an_order_of_their_own_that_is_always_the_same(folder, demo_model):
    def rows():
        return [dict(row) for row in load_questions(stage_of("gpqa_diamond", folder, demo_model)).rows]

    first = rows()
    assert first == rows()
    places = [row["answer"] for row in first]
    assert len(set(places)) > 2, "the right option is not always at the same place"
    for row, published in zip(first, GPQA, strict=True):
        assert row["options"]["ABCD".index(row["answer"])] == published["Correct Answer"]
        assert sorted(row["options"]) == sorted(text.strip() for key, text in published.items() if "Answer" in key)
    write_gpqa(folder / "gpqa_diamond", [GPQA[5], *GPQA[:5]])  # the order of the file does not matter
    assert rows()[0] == first[5]


def test_items_of_a_subject_are_named_by_their_place_in_the_file(oracle, evaluate, folder):
    _, out = evaluate("mmlu_pro", profile="2026", data=str(folder), changes={"tasks": ("computer_science",)})
    assert [item["item_id"] for item in items(out)] == [2, 3, 6, 7]
    assert {item["task"] for item in items(out)} == {"mmlu_pro_computer_science"}


def test_true_answers_share_the_probability():
    doc = {"choices": list("abcd"), "mc1": [0, 2], "best": 0, "mc2": [0, 1, 2, 3], "true": [0, 1]}

    def item(*probabilities):
        return Item("t", 0, doc, "", [math.log(p) - 2000 for p in probabilities], None, "a", None)

    assert mc2(item(0.1, 0.2, 0.3, 0.4)) == pytest.approx(0.3) and mc1(item(0.1, 0.2, 0.3, 0.4)) == 0
    assert mc2(item(0.4, 0.2, 0.1, 0.1)) == pytest.approx(0.75) and mc1(item(0.4, 0.2, 0.1, 0.1)) == 1
    assert mc2(item(1, 1, 1, 1)) == 0.5 and mc1(item(1, 1, 1, 1)) == 0.5, "no preference is worth chance"


def test_mc2_is_lm_evals(folder, demo_model):
    from lm_eval.tasks.truthfulqa.utils import process_results_mc2

    rows = load_questions(stage_of("truthfulqa", folder, demo_model)).rows
    for row in rows:
        outputs = [-0.5 - 0.7 * n for n in range(len(row["choices"]))]
        labels = [int(place in row["true"]) for place in row["mc2"]]
        theirs = process_results_mc2(
            {"mc2_targets": {"labels": labels}}, [(outputs[place], False) for place in row["mc2"]]
        )
        assert mc2(Item("t", 0, row, "", outputs, None, "", None)) == pytest.approx(theirs["acc"])


@pytest.mark.parametrize("name", ["ifeval", "mmlu_pro", "gpqa_diamond", "truthfulqa"])
def test_a_real_model_is_asked_and_graded(evaluate, folder, punkt, name):
    if name == "ifeval" and not has_checks():
        pytest.skip("the extra ifeval is not installed")
    changes = {"max_gen_toks": 8} if PROFILE[name].max_gen_toks else {}
    if name == "mmlu_pro":
        changes |= {"tasks": ("biology",), "num_fewshot": 1}
    metrics, out = evaluate(name, profile="2026", data=str(folder), changes=changes, limit=2)
    assert 0 <= metrics["value"] <= 1 and metrics["num_items"] == 2
    assert result(out)["metric"] == PROFILE[name].metric and len(result(out)["protocol_notes"]) > 0
    if name == "truthfulqa":
        assert set(result(out)["metrics"]) == {"mc2", "mc1"} and items(out)[1]["target"] == "1984"


def test_log_probabilities_are_judged_again_and_texts_are_refused(oracle, evaluate, folder, monkeypatch, tmp_path):
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"benchmark": "truthfulqa", "task": "truthfulqa", "doc_id": 0, "answer": "A"}) + "\n")
    options = ["--benchmarks", "truthfulqa", "--profile", "2026", "--data", str(folder), "--out", str(tmp_path / "g")]
    done = CliRunner().invoke(app, ["grade", *options, "--answers", str(answers)])
    assert done.exit_code == 1 and "scored by the log-probability of each of its choices" in str(done.exception)
    monkeypatch.setattr(oracle, "loglikelihood", lambda asked: [(-1.0 - one.idx, False) for one in asked])
    _, out = evaluate("truthfulqa", profile="2026", data=str(folder))
    done = CliRunner().invoke(app, ["grade", *options, "--answers", str(out / "items.jsonl")])
    assert done.exit_code == 0, done.output
    [again] = (tmp_path / "g").glob("artifacts/*/result.json")
    assert json.loads(again.read_text())["metrics"] == result(out)["metrics"]


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("ifeval", lambda d: write_ifeval(d, [{**IFEVAL[0], "kwargs": [{}]}]), r"\.jsonl, item 1: .*as long as"),
        ("ifeval", lambda d: write_ifeval(d, [{"key": 1, "prompt": "x"}]), "item 1 has no instruction_id_list, kwargs"),
        ("mmlu_pro", lambda d: write_parquet(d / "data" / "test-00000-of-00001.parquet", [{"question": "x"}]),
         "item 1 has no question_id, options, answer"),
        ("mmlu_pro", lambda d: (d / "data" / "test-00000-of-00001.parquet").write_text("<html>"), "is not Parquet"),
        ("gpqa_diamond", lambda d: write_gpqa(d, [{**GPQA[0], "Incorrect Answer 2": " "}]),
         r"gpqa_diamond\.csv, item 1 has no Incorrect Answer 2"),
        ("truthfulqa", lambda d: write_truthfulqa(d, [{**TRUTHFUL[0], "mc1_targets": {"a": 1, "b": 1, "c": 0}}]),
         r"mc_task\.json, item 1: expected mc1_targets with one true answer"),
        ("truthfulqa", lambda d: (d / "mc_task.json").write_text("{"), r"mc_task\.json is not JSON"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_with_its_row_before_anything_runs(folder, demo_model, name, damage, says):
    damage(folder / name)
    for read in (check_benchmark, load_questions):
        with pytest.raises(UserError, match=says):
            read(stage_of(name, folder, demo_model))


def test_too_few_worked_examples_are_known_before_anything_runs(folder, demo_model):
    write_mmlu_pro(folder / "mmlu_pro", num_shots=3)
    with pytest.raises(
        UserError, match=r"validation-00000-of-00001\.parquet has 3 demonstrations of biology, and num_few"
    ):
        check_benchmark(stage_of("mmlu_pro", folder, demo_model))
    with pytest.raises(UserError, match="mmlu_pro has no question of law"):
        check_benchmark(stage_of("mmlu_pro", folder, demo_model, tasks=("law",), num_fewshot=0))


def test_files_of_the_hub_are_read_at_their_commit(folder, demo_model, tmp_path, monkeypatch):
    """From a cache of the hub's layout, as offline."""
    commit, cache = "a" * 40, tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("ifeval", "mmlu_pro", "gpqa_diamond"):
        source = benchmarks()[name].source
        for ours, theirs in source.names.items():
            path = cache / f"datasets--{source.dataset.replace('/', '--')}" / "snapshots" / commit / theirs
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(folder / name / ours, path)
        of_hub = load_questions(stage_of(name, "hub", demo_model, revision=commit)).rows
        assert of_hub == load_questions(stage_of(name, folder, demo_model)).rows
    with pytest.raises(UserError, match=r"Idavidrein/gpqa, gpqa_diamond\.csv could not be read from the hub"):
        load_questions(stage_of("gpqa_diamond", "hub", demo_model, revision="b" * 40))


def test_a_gated_data_set_says_where_its_terms_are(monkeypatch, folder, demo_model):
    def refuse(*names, **options):
        raise OSError("Cannot access gated repo for url https://...")

    monkeypatch.setattr("selectit.evaluate.benchmarks.hub.hf_hub_download", refuse)
    with pytest.raises(UserError, match=r"gated: accept its terms at https://huggingface.co/datasets/Idavidrein/gpqa"):
        load_questions(stage_of("gpqa_diamond", "hub", demo_model))
    (folder / "gpqa_diamond" / "gpqa_diamond.csv").unlink()
    with pytest.raises(UserError, match=r"dataset\.zip(.|\n)*README has the password(.|\n)*accepted its terms"):
        check_benchmark(stage_of("gpqa_diamond", folder, demo_model))


HUB_ROW = {
    "question": "What happens if you count sheep?",
    "mc1_targets": {"choices": ["You count sheep", "You fall asleep"], "labels": [1, 0]},
    "mc2_targets": {"choices": ["You count sheep", "Nothing happens", "You fall asleep"], "labels": [1, 1, 0]},
}


def test_the_hubs_form_of_truthfulqa_is_the_authors_when_it_is_fetched(tmp_path):
    declared = benchmarks()["truthfulqa"]
    for name, content in declared.source.to_files(lambda config, split: [HUB_ROW], ()).items():
        (tmp_path / name).write_bytes(content)
    read = declared.read(lambda name: tmp_path / name, "")
    assert read == declared.source.to_splits({"validation": [HUB_ROW]}, "multiple_choice")
    assert read["validation"] == [
        {"question": HUB_ROW["question"], "choices": HUB_ROW["mc2_targets"]["choices"], "best": 0,
         "mc1": [0, 2], "mc2": [0, 1, 2], "true": [0, 1]}
    ]  # fmt: skip


def archive_of(texts):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name, text in texts.items():
            made.writestr(name, text)
    return content.getvalue()


def test_what_is_fetched_is_a_folder_that_is_read(folder, tmp_path, demo_model, monkeypatch):
    """From folders as `hf download` leaves them; nltk's model comes with IFEval, from an archive of known sha256."""
    hub = tmp_path / "hub"
    for name in ("ifeval", "mmlu_pro", "gpqa_diamond"):
        source = benchmarks()[name].source
        for ours, theirs in source.names.items():
            (hub / source.dataset / theirs).parent.mkdir(parents=True, exist_ok=True)
            os.link(folder / name / ours, hub / source.dataset / theirs)
    archive = benchmarks()["ifeval"].archive
    fetched = []
    monkeypatch.setattr(fetch_data, "location", lambda dataset: str(hub / dataset))

    def download(source, name):
        fetched.append(source)
        return archive_of({name: name for name in archive.names.values()})

    monkeypatch.setattr(fetch_data, "download", download)
    out = tmp_path / "fetched"
    for name in ("ifeval", "mmlu_pro", "gpqa_diamond"):
        assert f"{name}: " in fetch_benchmark(name, out)
        rows = [load_questions(stage_of(name, where, demo_model)).rows for where in (out, folder)]
        assert rows[0] == rows[1]
    assert [(one.url, one.sha256) for one in fetched] == [(archive.url, archive.sha256)]
    assert json.loads((out / "fetched.json").read_text())["ifeval"]["archive"] == archive.url
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.setattr(followed_instructions, "find_spec", lambda name: True)
    check_benchmark(stage_of("ifeval", out, demo_model))
    assert data_files(entry("ifeval"), out)[1:], "nltk's model is part of the data, and of the fingerprint"


@pytest.fixture
def recipe(tmp_path, demo_model):
    """Names the profile as a person does, without quotes."""
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"name: p2026\npool: {{path: {ROOT / 'demo' / 'pool.json'}}}\nmodel: {{path: {demo_model.path}}}\n"
        f"finetune: {{template: alpaca}}\nevaluate: {{profile: 2026, data: {tmp_path / 'data'}}}\n"
        "arms: {base: {finetune: {method: none}}}\nbaseline: base\nwandb: {enabled: false}\n"
    )
    return path


def test_a_plan_has_a_price_and_validate_names_what_each_benchmark_lacks(recipe, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(nltk.data, "path", [])
    options = ["--runs-dir", str(tmp_path / "runs"), "--price", "--tflops", "1"]
    done = CliRunner().invoke(app, ["plan", str(recipe), *options], terminal_width=200)
    assert done.exit_code == 0, done.output
    for name in PROFILE:
        assert f"evaluate {name} of base" in done.output
    assert len(re.findall(r"evaluate \w+ of base +unknown", done.output)) == 2, "MBPP+ and Arena-Hard"
    (folder / "gpqa_diamond" / "gpqa_diamond.csv").unlink()
    (folder / "truthfulqa" / "mc_task.json").unlink()
    done = CliRunner().invoke(app, ["validate", str(recipe), "--inputs"])
    assert done.exit_code == 1
    for lacks in (
        "ifeval (is|counts)",
        r"mmlu_pro/.*demonstrations of business",
        r"gpqa_diamond\.csv",
        r"mc_task\.json",
    ):
        assert re.search(lacks, str(done.exception)), lacks
