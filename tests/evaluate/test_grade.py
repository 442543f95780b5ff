"""Grading without generating: given answers get what evaluation gives them, and kept ones can be graded again."""

import json
import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.errors import UserError
from selectit.evaluate import stage
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.given_answers import cut, read_answers
from selectit.evaluate.profile import load_profile


def command(*arguments, rc=0):
    answer = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert answer.exit_code == rc, f"{answer.output}\n{answer.exception!r}"
    return answer.output if rc == 0 else str(answer.exception)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def artifact(out, benchmark):
    (found,) = [p.parent for p in (out / "artifacts").glob("*/result.json")
                if json.loads(p.read_text())["benchmark"] == benchmark]  # fmt: skip
    return found


def given_lines(out, benchmark):
    return [
        {"benchmark": benchmark, "task": item["task"], "doc_id": item["item_id"], "answer": text}
        for item in lines(artifact(out, benchmark) / "items.jsonl")
        for text in (item["outputs"] if isinstance(item["outputs"][0], str) else [item["answer"]])
    ]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, demo_model, demo_data):
    """--out of an evaluation of the demonstration model; tests do not change it."""
    out = tmp_path_factory.mktemp("evaluated")
    command("evaluate", "--model", demo_model.path, "--dtype", "float32", "--profile", "miniature", "--data", demo_data,
            "--benchmarks", "mmlu,bbh,gsm8k,tydiqa,humaneval,alpaca_eval", "--out", out)  # fmt: skip
    return out


def test_given_answers_are_graded_as_evaluation_grades_them(evaluated, demo_data, tmp_path):
    names = ("mmlu", "bbh", "gsm8k", "tydiqa", "humaneval", "alpaca_eval")
    answers = write(tmp_path / "answers.jsonl", [line for name in names for line in given_lines(evaluated, name)])
    command("grade", "--benchmarks", ",".join(names), "--profile", "miniature", "--data", demo_data,
            "--answers", answers, "--out", tmp_path / "out")  # fmt: skip
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == json.loads(
        (evaluated / "results.json").read_text()
    )
    for name in names:
        old, new = artifact(evaluated, name), artifact(tmp_path / "out", name)
        left_out = {"endings", "truncated", *(("outputs", "outcomes") if name == "mmlu" else ())}
        left_out |= {"prompt"} if name == "alpaca_eval" else set()  # in chat format, for which there is no tokenizer
        for one, other in zip(lines(old / "items.jsonl"), lines(new / "items.jsonl"), strict=True):
            assert {k: v for k, v in one.items() if k not in left_out} == {
                k: v for k, v in other.items() if k not in left_out
            }
        one, other = (json.loads((folder / "result.json").read_text()) for folder in (old, new))
        for key in (
            "value",
            "stderr",
            "num_items",
            "metrics",
            "tasks",
            "grader",
            "notes",
            "complete",
            "status",
            "reason",
        ):
            assert one[key] == other[key], (name, key)
        assert (one["answers_sha256"] == other["answers_sha256"]) == (name != "mmlu")


def test_kept_answers_are_graded_again_and_nothing_is_generated(evaluated, tmp_path, monkeypatch):
    before = {path: path.read_bytes() for path in evaluated.rglob("*") if path.is_file()}
    monkeypatch.setattr(stage, "load_lm", None)
    command("evaluate", "--regrade", evaluated, "--out", tmp_path / "again")
    results = json.loads((evaluated / "results.json").read_text())
    assert json.loads((tmp_path / "again" / "results.json").read_text()) == results
    for name in results:
        old, new = artifact(evaluated, name), artifact(tmp_path / "again", name)
        assert (old / "items.jsonl").read_bytes() == (new / "items.jsonl").read_bytes(), name
        assert (old / "result.json").read_text() == (new / "result.json").read_text(), name
    assert {path: path.read_bytes() for path in evaluated.rglob("*") if path.is_file()} == before


def test_a_mended_grader_writes_a_new_artifact_of_the_same_answers(evaluated, tmp_path, monkeypatch):
    out = tmp_path / "again"
    folder = artifact(evaluated, "gsm8k")
    command("evaluate", "--regrade", folder, "--out", out)
    command("evaluate", "--regrade", folder, "--out", out)
    assert len(list((out / "artifacts").glob("grade-*"))) == 1
    known = benchmarks()["gsm8k"].grading.graders
    version = known["gsm8k"].version
    monkeypatch.setitem(known, "gsm8k", replace(known["gsm8k"], version=99))
    command("evaluate", "--regrade", folder, "--out", out)
    found = [json.loads(path.read_text()) for path in (out / "artifacts").glob("grade-*/result.json")]
    assert sorted(one["grader"]["version"] for one in found) == [version, 99]
    assert len({one["answers_sha256"] for one in found}) == 1


def test_a_limit_of_new_tokens_that_was_lowered_and_cut_prompts_are_reported_again(evaluated, tmp_path):
    """They are of the generation, which grading does not repeat; the first leaves the result incomplete."""
    copy = shutil.copytree(artifact(evaluated, "gsm8k"), tmp_path / "copy")
    result = json.loads((copy / "result.json").read_text())
    lowered = "max_gen_toks lowered from 48 to 24: the model's context has 48 tokens"
    items = lines(copy / "items.jsonl")
    items[0]["truncated"] = True
    write(copy / "items.jsonl", items)
    result |= {"notes": [lowered], "complete": False}
    (copy / "result.json").write_text(json.dumps(result))
    command("evaluate", "--regrade", copy, "--out", tmp_path / "again")
    again = json.loads((artifact(tmp_path / "again", "gsm8k") / "result.json").read_text())
    cut = f"1 of {len(items)} prompts were longer than the context and lost their beginning"
    assert again["notes"] == [lowered, cut] and not again["complete"]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("items.jsonl", lambda text: text[: text.index("\n") + 1], "does not hold the answers that were graded there"),
        ("items.jsonl", lambda text: text.replace('"outputs": ["', '"outputs": ["5 ', 1), "answers that were graded"),
        ("items.jsonl", lambda text: text[:-30], "is not JSON"),
        ("items.jsonl", lambda text: text.replace('"endings": [', '"endings": [3, ', 1), "endings is [3"),
        ("items.jsonl", None, "has no items.jsonl; the folder is damaged"),
        ("result.json", None, "has no result.json; the folder is damaged"),
        ("result.json", lambda text: text[:-30], "is not the result of an evaluation"),
        ("manifest.json", lambda text: text[:-30], "manifest.json cannot be read"),
        ("manifest.json", lambda text: text.replace('"kind"', '"kinds"'), "manifest.json cannot be read"),
    ],
)
def test_a_damaged_evaluation_is_not_graded_again(evaluated, tmp_path, name, change, words):
    copy = shutil.copytree(artifact(evaluated, "gsm8k"), tmp_path / "copy")
    path = copy / name
    if change is None:
        path.unlink()
    else:
        before = path.read_text()
        path.write_text(change(before))
        assert path.read_text() != before
    assert words in command("evaluate", "--regrade", copy, "--out", tmp_path / "out", rc=1)
    assert not (tmp_path / "out" / "results.json").exists()


def test_options_that_grading_again_does_not_take_are_refused_by_name(evaluated, tmp_path):
    for option, value in (("--limit", 3), ("--benchmarks", "gsm8k"), ("--profile", "paper-2023"), ("--model", "x")):
        assert option in command("evaluate", "--regrade", evaluated, "--out", tmp_path / "o", option, value, rc=1)
    assert "no --out" in command("evaluate", "--regrade", evaluated, rc=1)


def test_items_without_an_answer_are_counted_and_left_out(evaluated, demo_data, tmp_path):
    some = given_lines(evaluated, "gsm8k")[:3]
    command("grade", "--benchmarks", "gsm8k", "--profile", "miniature", "--data", demo_data, "--out", tmp_path / "out",
            "--answers", write(tmp_path / "answers.jsonl", some))  # fmt: skip
    result = json.loads((artifact(tmp_path / "out", "gsm8k") / "result.json").read_text())
    total = len(given_lines(evaluated, "gsm8k"))
    assert result["num_items"] == 3 and not result["complete"]
    assert result["notes"] == [f"{total - 3} of {total} items have no answer and are left out"]


GOOD = {"benchmark": "gsm8k", "task": "gsm8k_cot", "doc_id": 0, "answer": "8"}
KEPT = {"task": "gsm8k_cot", "item_id": 0, "prompt": "Q: 4 + 4\nA:", "outputs": ["8"]}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{**GOOD, "benchmark": "gsm9k"}], "line 1: no benchmark 'gsm9k'. Did you mean"),
        ([GOOD, {**GOOD, "answer": 8}], "line 2: answer is 8, expected text"),
        ([{**GOOD, "doc_id": "0"}], 'line 1: doc_id is "0", expected a whole number'),
        ([{**GOOD, "doc_id": True}], "line 1: doc_id is true, expected a whole number"),
        ([{"benchmark": "gsm8k", "answer": ""}], "line 1 has no task, doc_id"),
        ([GOOD, GOOD], "line 2: answer 2 to gsm8k_cot, doc_id 0, and the profile asks for 1"),
        ([["gsm8k"]], "line 1: expected benchmark, task, doc_id, answer"),
        ([{**GOOD, "benchmark": "bbh"}], "has no answer to gsm8k"),
        ([{**GOOD, "answer": "8 \ud800"}], "line 1 holds half of a character"),
        ([{**KEPT, "outputs": 3}], "line 1: outputs is 3, expected a list"),
        ([{**KEPT, "outputs": []}], "line 1: outputs is [], expected the answers"),
        ([{**KEPT, "outputs": [5]}], "line 1: outputs is [5], expected the answers"),
        ([{**KEPT, "outputs": ["8", 0.5]}], "expected the answers that an evaluation of gsm8k kept: 1 text"),
        ([{**KEPT, "outputs": ["8", "9"]}], "expected the answers that an evaluation of gsm8k kept: 1 text"),
        ([{**KEPT, "outputs": [-1.0, -2.0, -3.0, -4.0]}], "expected the answers that an evaluation of gsm8k kept"),
        ([{**KEPT, "outputs": [["a", -1.0]]}], "expected the answers that an evaluation of gsm8k kept"),
        ([{**KEPT, "endings": 3}], "line 1: endings is 3"),
        ([{**KEPT, "endings": ["x"]}], "line 1: endings is"),
        ([{**KEPT, "truncated": "no"}], "line 1: truncated is"),
        ([{**KEPT, "task": ["gsm8k_cot"]}], 'line 1: task is ["gsm8k_cot"], expected text'),
        ([{"outputs": ["8"]}], "line 1 has no task, item_id, prompt"),
    ],
)
def test_faults_of_given_answers_name_their_line(tmp_path, rows, words):
    with pytest.raises(UserError) as error:
        read_answers(write(tmp_path / "a.jsonl", rows), load_profile("miniature").benchmarks["gsm8k"])
    assert words in str(error.value)


@pytest.mark.parametrize(
    "outputs", [[-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0, float("nan")], [["A", -1.0, 2]], ["A", "B"], [["A", None]]]
)
def test_kept_choices_are_a_letter_or_log_probabilities_of_all_choices(tmp_path, outputs):
    path = write(tmp_path / "a.jsonl", [{**KEPT, "task": "mmlu_astronomy", "outputs": outputs}])
    with pytest.raises(UserError, match=r"line 1: outputs is .* a letter, or log-probabilities of its choices"):
        read_answers(path, load_profile("miniature").benchmarks["mmlu"])


def test_a_letter_that_cannot_be_read_is_unparsed_and_no_draw(demo_data, tmp_path):
    row = {"benchmark": "mmlu", "task": "astronomy"}
    answers = [{**row, "doc_id": n, "answer": text} for n, text in enumerate(["A", " (b).", "I do not know", ""])]
    command("grade", "--benchmarks", "mmlu", "--profile", "miniature", "--data", demo_data, "--out", tmp_path / "out",
            "--answers", write(tmp_path / "answers.jsonl", answers))  # fmt: skip
    folder = artifact(tmp_path / "out", "mmlu")
    assert [item["outcomes"] for item in lines(folder / "items.jsonl")] == [["read"]] * 2 + [["unparsed"]] * 2
    assert [item["score"] for item in lines(folder / "items.jsonl")][2:] == [0, 0]
    (note,) = json.loads((folder / "result.json").read_text())["notes"]
    assert "have no answer and are left out" in note


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps(GOOD).encode("utf-16"), "UTF-16 text"),
        (json.dumps(GOOD | {"answer": "caf\u00e9"}, ensure_ascii=False).encode("latin-1"), "byte 0xe9 is not UTF-8"),
        (b'{"benchmark": "gsm8k", "task": "gsm8k_cot", "doc_id": 0, "answer": "8", "answer": "9"}', "answer twice"),
    ],
)
def test_files_of_answers_in_other_encodings_or_with_a_key_twice_are_refused(tmp_path, content, words):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_answers(tmp_path / "a.jsonl", load_profile("miniature").benchmarks["gsm8k"])


def test_a_byte_order_mark_is_not_part_of_the_answers(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    (given,) = read_answers(tmp_path / "a.jsonl", load_profile("miniature").benchmarks["gsm8k"]).values()
    assert given.outputs == ["8"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"doc_id": 99999}, "line 1: gsm8k_cot has no item 99999"), ({"task": "gsm8k_cod"}, "has no task 'gsm8k_cod'")],
)
def test_answers_to_what_is_not_asked_are_refused(demo_data, tmp_path, change, words):
    answers = write(tmp_path / "answers.jsonl", [{**GOOD, **change}])
    answer = CliRunner().invoke(
        app, ["grade", "--benchmarks", "gsm8k", "--profile", "miniature", "--data", str(demo_data), "--answers",
              str(answers), "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert answer.exit_code == 1 and words in " ".join((answer.output + str(answer.exception)).split())


def test_given_texts_end_where_a_models_answer_would():
    assert cut("8 apples\nQ: next", ["Q:", "\n\n"]) == "8 apples\n" and cut("8", ["\n"]) == "8" and cut("8", []) == "8"


def test_regrading_what_is_not_an_evaluation_names_what_is(tmp_path, evaluated):
    assert "no finished evaluation there" in command("evaluate", "--regrade", tmp_path, "--out", tmp_path / "o", rc=1)
    copy = shutil.copytree(evaluated, tmp_path / "copy")
    for out in (copy, copy / "artifacts", copy / "artifacts" / "x"):
        assert "which --regrade reads" in command("evaluate", "--regrade", copy, "--out", out, rc=1)
    one = artifact(copy, "gsm8k")
    assert "which --regrade reads" in command("evaluate", "--regrade", one, "--out", copy, rc=1)


def test_every_item_that_is_asked_can_be_written_for_another_engine(demo_data, tmp_path, evaluated):
    path = tmp_path / "prompts.jsonl"
    command("evaluate", "--show", "gsm8k,bbh,mmlu,tydiqa", "--items", "all", "--out", path, "--profile", "miniature",
            "--data", demo_data)  # fmt: skip
    written = lines(path)
    assert {key for line in written for key in line} == {"benchmark", "task", "doc_id", "prompt", "until", "target"}
    for name in ("gsm8k", "bbh", "mmlu", "tydiqa"):
        asked = [
            (line["task"], line["doc_id"], line["prompt"], line["target"])
            for line in written
            if line["benchmark"] == name
        ]
        items = lines(artifact(evaluated, name) / "items.jsonl")
        assert sorted(asked) == sorted((i["task"], i["item_id"], i["prompt"], i["target"]) for i in items)
    assert next(line["until"] for line in written if line["benchmark"] == "gsm8k") == ["</s>", "\n"]


def test_doc_ids_are_places_in_the_authors_files(demo_data, tmp_path):
    path = tmp_path / "prompts.jsonl"
    command(
        "evaluate", "--show", "tydiqa", "--items", "all", "--out", path, "--profile", "miniature", "--data", demo_data
    )
    file = json.loads((demo_data / "tydiqa" / "tydiqa-goldp-v1.1-dev.json").read_text())
    questions = [q for article in file["data"] for paragraph in article["paragraphs"] for q in paragraph["qas"]]
    for line in lines(path):
        assert questions[line["doc_id"]]["question"] in line["prompt"]


def test_another_judge_reads_the_kept_answers(evaluated, tmp_path, monkeypatch, demo_model):
    monkeypatch.setattr(stage, "load_lm", None)
    old = artifact(evaluated, "alpaca_eval")
    out = tmp_path / "judged"
    command("evaluate", "--regrade", old, "--out", out, "--judge", f"hf:{demo_model.path}")
    one, other = (json.loads((folder / "result.json").read_text()) for folder in (old, artifact(out, "alpaca_eval")))
    assert (one["status"], other["status"]) == ("not_scored", "scored")
    assert 0 <= other["value"] <= 1 and other["judge"] is not None and one["judge"] is None
    assert one["answers_sha256"] == other["answers_sha256"]
    outputs = [
        json.loads((folder / "model_outputs.json").read_text()) for folder in (old, artifact(out, "alpaca_eval"))
    ]
    assert outputs[0] == outputs[1]
