"""Benchmark files in the forms that are in circulation."""

import csv
import json

import pytest

from selectit.errors import UserError
from selectit.evaluate.benchmarks.files import in_data_folder
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.benchmarks.tydiqa.benchmark import languages_of


def find_in(data, name):
    return in_data_folder(benchmarks()[name], data)


def read_mmlu(data, subject):
    return benchmarks()["mmlu"].read(find_in(data, "mmlu"), subject)


QUESTION = ["Which is it?\nOne of these", "None", "a, b", "NA", "nan"]


def write_mmlu(folder, rows):
    for split in ("dev", "test"):
        (folder / "mmlu" / split).mkdir(parents=True, exist_ok=True)
        with (folder / "mmlu" / split / f"anatomy_{split}.csv").open("w", newline="") as f:
            csv.writer(f).writerows(rows)


@pytest.mark.parametrize("header", [[], [["question", "choice0", "choice1", "choice2", "choice3", "answer"]]])
@pytest.mark.parametrize("answer", ["C", "2", " C "])
def test_mmlu_is_read_with_and_without_header_and_with_letters_or_numbers(tmp_path, header, answer):
    write_mmlu(tmp_path, [*header, [*QUESTION, answer]])
    rows = read_mmlu(tmp_path, "anatomy")
    expected = {"question": QUESTION[0], "subject": "anatomy", "choices": ["None", "a, b", "NA", "nan"], "answer": 2}
    assert rows == {"dev": [expected], "test": [expected]}


def test_a_damaged_mmlu_row_is_named(tmp_path):
    write_mmlu(tmp_path, [[*QUESTION, "A"], [*QUESTION, "E"]])
    with pytest.raises(UserError, match=r"anatomy_dev.csv, question 2"):
        read_mmlu(tmp_path, "anatomy")


def test_tydiqa_rows_without_title_are_read_and_languages_counted(tmp_path):
    def squad(*ids):
        questions = [{"id": i, "question": "q", "answers": [{"text": "a", "answer_start": 0}]} for i in ids]
        return json.dumps({"data": [{"paragraphs": [{"context": "a b", "qas": questions}]}]})

    folder = tmp_path / "tydiqa"
    folder.mkdir()
    (folder / "tydiqa-goldp-v1.1-train.json").write_text(squad("finnish-1", "korean-1"))
    (folder / "tydiqa-goldp-v1.1-dev.json").write_text(squad("finnish-2", "telugu-1"))
    find = find_in(tmp_path, "tydiqa")
    row = benchmarks()["tydiqa"].read(find, "")["train"][0]
    assert row["title"] == "" and row["answers"] == {"text": ["a"], "answer_start": [0]}
    assert languages_of(find, num_fewshot=1) == {"finnish"}
    assert languages_of(find, num_fewshot=0) == {"finnish", "telugu"}


def test_broken_json_names_file_and_line(tmp_path, evaluate):
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl").write_text('{"question": "1+1?", "answer": "#### 2"}\n{"question":\n')
    with pytest.raises(UserError, match=r"test.jsonl, line 2"):
        evaluate("gsm8k", data=str(tmp_path))
