"""The medical benchmarks in their authors' layouts, asked by lm-eval's own tasks."""

import csv
import json

import pytest

from selectit.errors import UserError

SUBJECTS = (
    "anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics", "professional_medicine",
)  # fmt: skip
MEDQA = [
    {
        "question": f"Which drug, {letter}?", "answer": "This", "answer_idx": letter, "meta_info": "step1",
        "options": {"A": "One", "B": "Two", "C": "Three", "D": "Four"}, "metamap_phrases": [],
    }
    for letter in "BD"
]  # fmt: skip
MEDMCQA = [
    {
        "question": "Which organ?", "exp": None, "cop": cop,
        "opa": "Heart", "opb": "Lung", "opc": "Liver", "opd": "Eye",
        "subject_name": "Anatomy", "topic_name": None, "id": f"id-{cop}", "choice_type": "single",
    }
    for cop in (1, 4)
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    for name, file, rows in (
        ("medqa", "phrases_no_exclude_test.jsonl", MEDQA),
        ("medmcqa", "dev.json", MEDMCQA),
    ):
        (data / name).mkdir(parents=True)
        (data / name / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, number in (("dev", 5), ("test", 2)):
        (data / "mmlu" / split).mkdir(parents=True)
        for subject in SUBJECTS:
            with (data / "mmlu" / split / f"{subject}_{split}.csv").open("w", newline="") as f:
                csv.writer(f).writerows([f"{subject} {i}?", "w", "x", "y", "z", "ABCD"[i % 4]] for i in range(number))
    return data


@pytest.mark.parametrize(("benchmark", "num_items"), [("medqa", 2), ("medmcqa", 2), ("mmlu_medical", 12)])
def test_the_oracle_is_right_and_a_wrong_model_is_wrong(oracle, evaluate, folder, benchmark, num_items):
    metrics, out = evaluate(benchmark, profile="medical", data=str(folder))
    assert metrics["value"] == 1.0 and metrics["num_items"] == num_items
    right = oracle.choose
    oracle.choose = lambda doc: (right(doc) + 1) % 4
    metrics, out = evaluate(benchmark, profile="medical", data=str(folder))
    assert metrics["value"] == 0.0 and json.loads((out / "result.json").read_text())["complete"]


def test_options_are_asked_in_the_authors_order(oracle, evaluate, folder):
    _, out = evaluate("medmcqa", profile="medical", data=str(folder))
    lines = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert [line["target"] for line in lines] == ["A", "D"]  # the authors count from 1
    assert lines[0]["prompt"].startswith("Question: Which organ?\nChoices:\nA. Heart\nB. Lung")
    _, out = evaluate("medqa", profile="medical", data=str(folder))
    lines = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert [line["target"] for line in lines] == ["B", "D"] and "A. One\nB. Two" in lines[0]["prompt"]


def test_medical_mmlu_counts_every_question_alike(oracle, evaluate, folder):
    with (folder / "mmlu" / "test" / "anatomy_test.csv").open("w", newline="") as f:
        csv.writer(f).writerows([f"{i}?", "w", "x", "y", "z", "A"] for i in range(10))
    oracle.choose = lambda doc: doc["answer"] if doc["subject"] == "anatomy" else (doc["answer"] + 1) % 4
    metrics, out = evaluate("mmlu_medical", profile="medical", data=str(folder))
    assert metrics["value"] == pytest.approx(10 / 20)  # not 1/6, the mean over subjects
    assert len(json.loads((out / "result.json").read_text())["tasks"]) == 6


def test_a_damaged_row_is_named(oracle, evaluate, folder):
    (folder / "medmcqa" / "dev.json").write_text(json.dumps({**MEDMCQA[0], "cop": 0}) + "\n")
    with pytest.raises(UserError, match=r"dev.json, item 1: cop is 0"):
        evaluate("medmcqa", profile="medical", data=str(folder))
    (folder / "medqa" / "phrases_no_exclude_test.jsonl").write_text(json.dumps({**MEDQA[0], "answer_idx": "E"}) + "\n")
    with pytest.raises(UserError, match=r"test.jsonl, item 1: expected options A to D"):
        evaluate("medqa", profile="medical", data=str(folder))
