"""MBPP, evalplus' releases and BigCodeBench in their authors' layouts, graded in the sandbox or exported."""

import gzip
import json

import pytest
from hostile_programs import HOSTILE

from selectit.errors import NotRun, UserError
from selectit.evaluate.benchmarks.mbpp.benchmark import entry_point_of
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.evaluate.grading import sandbox
from selectit.evaluate.grading.plus_driver import arguments_of
from selectit.evaluate.grading.sandbox import run_program, unavailable
from selectit.evaluate.profile import load_profile

REASON = unavailable("bwrap")
needs_bwrap = pytest.mark.skipif(REASON is not None, reason=str(REASON))

MBPP = [
    {
        "task_id": number, "text": f"Write a function to do {number}.", "test_setup_code": "",
        "code": f"def helper(n):\r\n    return n\r\ndef add_{number}(n):\r\n    return helper(n) + {number}",
        "test_list": [f"assert add_{number}({n}) == {n + number}" for n in (1, 2, 3)],
    }
    for number in (1, 2, 3, 4, 11, 12, 511)
]  # fmt: skip
HUMANEVAL_PLUS = [
    {
        "task_id": "HumanEval/0", "entry_point": "half", "prompt": 'def half(n):\n    """ Half of n. """\n',
        "canonical_solution": "    return n / 2\n", "contract": "\n    assert n > -100\n", "atol": 0,
        "base_input": [[2], [4]], "plus_input": [[-3], [1e308]],
    },
    {
        "task_id": "HumanEval/32", "entry_point": "find_zero", "atol": 1e-4, "contract": "",
        "prompt": "import math\n\ndef find_zero(xs):\n", "base_input": [[[1, 2]]], "plus_input": [[[-4, 2]]],
        "canonical_solution": "    return -xs[0] / xs[1]\n",
    },
]  # fmt: skip
MBPP_PLUS = [
    {
        "task_id": "Mbpp/2", "entry_point": "similar_elements", "atol": 0, "contract": "", "assertion": "",
        "prompt": '"""\nWrite a function.\nassert set(similar_elements((1, 2), (2, 3))) == {2}\n"""\n',
        "canonical_solution": "\ndef similar_elements(one, other):\n    return tuple(set(one) & set(other))\n",
        "base_input": [[[1, 2], [2, 3]]], "plus_input": [[[3, 4, 5], [5, 4]], [[], []]],
    },
    {
        "task_id": "Mbpp/16", "entry_point": "text_match_three", "atol": 0, "contract": "", "assertion": "",
        "prompt": '"""\nIs there abbb?\n"""\n', "base_input": [["abbb"]], "plus_input": [["ab"]],
        "canonical_solution": "\nimport re\ndef text_match_three(text):\n    return re.search('ab{3}', text)\n",
    },
]  # fmt: skip
BIGCODEBENCH = [
    {
        "task_id": "BigCodeBench/0", "complete_prompt": "import random\ndef task_func(n):\n", "libs": "['random']",
        "instruct_prompt": "Draw.", "canonical_solution": "    return random.random() * n\n", "code_prompt": "",
        "test": "import unittest\n", "entry_point": "task_func", "doc_struct": "{}",
    }
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    def write(path, rows, opener=open):
        path.parent.mkdir(parents=True)
        with opener(path, "wt") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)

    write(tmp_path / "data" / "mbpp" / "mbpp.jsonl", MBPP)
    write(tmp_path / "data" / "humaneval_plus" / "HumanEvalPlus.jsonl.gz", HUMANEVAL_PLUS, gzip.open)
    write(tmp_path / "data" / "mbpp_plus" / "MbppPlus.jsonl", MBPP_PLUS)
    write(tmp_path / "data" / "bigcodebench" / "BigCodeBench.jsonl", BIGCODEBENCH)
    return tmp_path / "data"


def items(out):
    return [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]


def notes(out):
    return json.loads((out / "result.json").read_text())["notes"]


@needs_bwrap
@pytest.mark.parametrize("benchmark", ["mbpp", "humaneval_plus", "mbpp_plus"])
def test_the_oracle_solves_every_task(oracle, evaluate, folder, benchmark):
    metrics, out = evaluate(benchmark, profile="code", data=str(folder))
    assert [item["reasons"] for item in items(out)] == [[""], [""]]
    assert metrics["value"] == 1.0 and metrics["num_items"] == 2 and notes(out) == []


@needs_bwrap
def test_what_passes_the_base_tests_only_fails_the_plus_tests(oracle, evaluate, folder):
    oracle.answer = lambda doc: {
        "half": "    return n // 2 if n > 0 else 0\n",  # right for 2 and 4
        "find_zero": "    return -xs[0] / xs[1] + 1e-7\n",  # near enough
    }[doc["entry_point"]]
    metrics, out = evaluate("humaneval_plus", profile="code", data=str(folder))
    assert [item["score"] for item in items(out)] == [0.0, 1.0] and metrics["value"] == 0.5
    assert items(out)[0]["reasons"] == ["a test failed"] and notes(out) == []


@needs_bwrap
def test_special_rules_of_mbpp_plus_are_kept(oracle, evaluate, folder):
    oracle.answer = lambda doc: {
        "similar_elements": "def similar_elements(a, b):\n    return sorted(set(a) & set(b), reverse=True)\n",
        "text_match_three": "def text_match_three(text):\n    return 'abbb' in text\n",
    }[doc["entry_point"]]
    metrics, _ = evaluate("mbpp_plus", profile="code", data=str(folder))
    assert metrics["value"] == 1.0
    oracle.answer = lambda doc: f"def {doc['entry_point']}(*given):\n    return ()\n"
    metrics, out = evaluate("mbpp_plus", profile="code", data=str(folder))
    assert metrics["value"] == 0.0 and len(notes(out)) == 0


@needs_bwrap
def test_an_object_that_equals_everything_passes_nothing():
    row = HUMANEVAL_PLUS[0]
    row = {**row, "plus": json.dumps({"base_input": row["base_input"], "plus_input": [[7]], "atol": 0})}
    cheat = "    class Any(float):\n        __eq__ = lambda self, other: True\n    return Any(0)\n"
    assert not run_program(benchmarks()["humaneval_plus"].grading.program(row, cheat), "bwrap").passed


@needs_bwrap
@pytest.mark.parametrize(("answer", "passes"), [("1e308", False), ("float('nan')", False), ("float('inf')", True)])
def test_no_number_is_near_infinity(answer, passes):
    given = {**HUMANEVAL_PLUS[0], "canonical_solution": "    return float('inf')\n"}
    row = {**given, "plus": json.dumps({"base_input": [[2]], "plus_input": [[4]], "atol": 1e-6})}
    assert (
        run_program(benchmarks()["humaneval_plus"].grading.program(row, f"    return {answer}\n"), "bwrap").passed
        is passes
    )


@needs_bwrap
def test_answers_that_need_a_missing_module_are_counted_in_a_note(oracle, evaluate, folder):
    oracle.answer = lambda doc: (
        "    import numpy as np\n    return np.float64(n / 2)\n"
        if doc["entry_point"] == "half"
        else "    import pandas.io\n"
    )
    metrics, out = evaluate("humaneval_plus", profile="code", data=str(folder))
    assert metrics["value"] == 0.5
    assert notes(out) == ["1 of 2 answers failed for a module that the sandbox does not have: pandas (1)"]


@needs_bwrap
def test_a_task_whose_published_solution_fails_here_is_reported(oracle, evaluate, folder):
    rows = [*MBPP[:4], {**MBPP[4], "test_list": ["assert add_11(1) == 0"] * 3}, MBPP[5]]
    (folder / "mbpp" / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics, out = evaluate("mbpp", profile="code", data=str(folder))
    assert metrics["value"] == 0.5
    assert notes(out) == ["1 of 2 tasks count as failed whose published solution fails here too: 11"]


def test_mbpp_is_asked_with_the_three_examples_of_its_authors(oracle, evaluate, folder, monkeypatch):
    monkeypatch.setattr(
        "selectit.evaluate.grading.programs.run_programs", lambda programs, *_: [_PASSED] * len(programs)
    )
    evaluate("mbpp", profile="code", data=str(folder), sandbox="none")
    prompt = oracle.prompts[0]
    assert prompt.count("[BEGIN]") == 4 and prompt.count("[DONE]") == 3 and prompt.endswith("[BEGIN]\n")
    assert prompt.index("do 2.") < prompt.index("do 3.") < prompt.index("do 4.") < prompt.index("do 11.")
    assert "do 1." not in prompt and len(oracle.prompts) == 2
    assert entry_point_of({**MBPP[4], "test_list": ["assert math.isclose(add_11(1), 12)"]}) == "add_11"


class _PASSED:
    passed, reason = True, ""


def test_inputs_get_the_types_that_json_does_not_have():
    assert arguments_of("Mbpp/2", [[1], [2]]) == [(1,), (2,)]
    assert arguments_of("Mbpp/63", [[[1, 2]]]) == [[(1, 2)]]
    assert arguments_of("Mbpp/75", [[[1, 2]], 3]) == [[(1, 2)], 3]
    assert arguments_of("Mbpp/307", [[1], 2, 3]) == [(1,), 2, 3]
    assert arguments_of("Mbpp/278", [[1, [2]]]) == [(1, (2,))]
    assert arguments_of("Mbpp/580", [[1, [2, [3]]]]) == [(1, (2, (3,)))]
    assert arguments_of("Mbpp/252", ["(1+2j)"]) == [1 + 2j]
    assert arguments_of("HumanEval/2", [[1]]) == [[1]]


def test_bigcodebench_is_exported_in_its_own_form_and_the_cell_states_how_to_grade_it(oracle, evaluate, folder):
    metrics, out = evaluate("bigcodebench", profile="code", data=str(folder))
    assert "value" not in metrics
    result = json.loads((out / "result.json").read_text())
    assert result["status"] == "not_scored" and result["reason"].startswith("exported, not graded: samples.jsonl")
    (line,) = (out / "samples.jsonl").read_text().splitlines()
    solution = BIGCODEBENCH[0]["complete_prompt"] + BIGCODEBENCH[0]["canonical_solution"]
    assert json.loads(line) == {"task_id": "BigCodeBench/0", "solution": solution}


@pytest.mark.parametrize("benchmark", ["mbpp", "humaneval_plus", "mbpp_plus"])
def test_without_bubblewrap_nothing_is_generated(oracle, evaluate, folder, monkeypatch, benchmark):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(NotRun):
        evaluate(benchmark, profile="code", data=str(folder))
    assert oracle.prompts == []


def test_the_plus_tests_are_not_looked_for_on_the_hub(oracle, evaluate):
    with pytest.raises(UserError, match=r"selectit data fetch --benchmarks mbpp_plus"):
        evaluate("mbpp_plus", profile="code", data="hub")


def test_mbpp_without_its_examples_is_refused(oracle, evaluate, folder):
    (folder / "mbpp" / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in MBPP[4:]))
    with pytest.raises(UserError, match="tasks 2, 3 and 4"):
        evaluate("mbpp", profile="code", data=str(folder), sandbox="none")
    assert load_profile("code").benchmarks["mbpp"].metric == "pass@1"


@needs_bwrap
def test_no_hostile_program_scores_in_an_evaluation(oracle, evaluate, tmp_path, monkeypatch):
    """Every fifth of them, each as the answer to a task of its own; one right answer shows that right ones score."""
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 4)
    monkeypatch.setitem(sandbox.LIMITS, "CPU", 1)
    monkeypatch.setattr(sandbox, "_num_processors", lambda: 6)
    answers = [*list(HOSTILE.values())[::5], "    return n + n\n"]
    row = {
        "prompt": 'def double(n: int) -> int:\n    """ Return n times two. """\n', "entry_point": "double",
        "canonical_solution": "    return 2 * n\n",
        "test": "def check(candidate):\n    for n in range(3, 50):\n        assert candidate(n) == 2 * n\n",
    }  # fmt: skip
    rows = [{"task_id": f"HumanEval/{number}", **row} for number in range(len(answers))]
    (tmp_path / "data" / "humaneval").mkdir(parents=True)
    path = tmp_path / "data" / "humaneval" / "HumanEval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    oracle.answer = lambda doc: answers[int(doc["task_id"].split("/")[1])]
    metrics, out = evaluate("humaneval", profile="code", data=str(tmp_path / "data"))
    assert [item["score"] for item in items(out)] == [0.0] * (len(answers) - 1) + [1.0]
    assert metrics["value"] == 1 / len(answers) and len(answers) >= 30
