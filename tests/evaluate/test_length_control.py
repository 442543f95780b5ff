"""AlpacaEval 2's length-controlled win rate: the number of AlpacaEval's own code, and where it stands."""

import csv
import json
import math
import random

import numpy as np
import pytest
import yaml
from judge_server import JudgeServer
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import JudgeConfig
from selectit.errors import UserError
from selectit.evaluate.benchmarks.files import data_files
from selectit.evaluate.grading import length_control
from selectit.evaluate.grading.length_control import COLUMNS, METRIC, NUM_ITEMS, length_controlled, read_gamed
from selectit.evaluate.profile import load_profile
from selectit.evaluate.results import Item


def write_gamed(path, num_items=NUM_ITEMS, **changes):
    """A df_gamed.csv of invented answers: one baseline mostly short, one mostly long, some without a preference.

    Args: changes: column -> value of its first row.
    """
    draw = random.Random(1)
    difficulty = [draw.gauss(0, 1.2) for _ in range(num_items)]
    with path.open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["model", *COLUMNS])
        for name, mean in (("short", 0.9), ("long", -0.8)):
            for index in range(num_items):
                length = draw.gauss(mean, 1)
                preferred = 1 / (1 + math.exp(1.3 * math.tanh(length) - 0.7 * difficulty[index] + draw.gauss(0, 1)))
                row = {
                    "index": index, "preference": "" if draw.random() < 0.01 else preferred, "std_delta_len": length,
                    "instruction_difficulty": difficulty[index], "not_gamed_baseline": False,
                }  # fmt: skip
                row |= changes if (name, index) == ("short", 0) else {}
                rows.writerow([name, *(row[column] for column in COLUMNS)])
    return path


def judged(num_items=NUM_ITEMS):
    """Characters of the references and of the answers, and the preference for each answer."""
    draw = random.Random(2)
    references = [draw.randint(1, 3000) for _ in range(num_items)]
    answers = [max(1, int(length * draw.uniform(0.3, 1.5))) for length in references]
    preferences = [
        draw.choice((0.0, 0.5, 1.0)) if draw.random() < 0.1 else draw.random() ** (reference / answer)
        for reference, answer in zip(references, answers, strict=True)
    ]
    return references, answers, preferences


def items_of(references, answers, preferences):
    rows = enumerate(zip(references, answers, preferences, strict=True))
    return [
        Item("t", i, {"instruction": f"i {i}", "output": "r" * reference}, "", ["a" * answer], None, None, preference)
        for i, (reference, answer, preference) in rows
    ]


@pytest.fixture
def own_instructions(monkeypatch):
    """Takes the invented instructions for AlpacaEval's."""
    monkeypatch.setattr(
        length_control,
        "INSTRUCTIONS_SHA256",
        length_control.instructions_sha256([f"i {i}" for i in range(NUM_ITEMS)]),
    )


@pytest.mark.usefixtures("own_instructions")
def test_it_is_the_number_of_alpaca_evals_own_code(tmp_path):
    # alpaca_eval 0.6.6 with scikit-learn 1.9.1, its hf_hub_download giving this file: get_length_controlled_winrate(df,
    # save_weights_dir=None), df of these 805 rows with preference + 1, output_1 the reference and output_2 the answer
    expected = 48.11074760877756
    found, why_not = length_controlled(items_of(*judged()), read_gamed(write_gamed(tmp_path / "df_gamed.csv")))
    assert not why_not and 100 * found[METRIC].value == pytest.approx(expected, abs=1e-10)
    assert found[METRIC].stderr is None and found[METRIC].num_items == 805
    assert abs(100 * np.mean(judged()[2]) - expected) > 1


@pytest.mark.usefixtures("own_instructions")
def test_difficulty_is_joined_by_the_instruction_whatever_the_order_of_items_and_rows(tmp_path):
    items, gamed = items_of(*judged()), read_gamed(write_gamed(tmp_path / "df_gamed.csv"))
    first, _ = length_controlled(items, gamed)
    random.Random(3).shuffle(items)
    assert length_controlled(items, gamed) == (first, "")
    lines = (tmp_path / "df_gamed.csv").read_text().splitlines()
    (tmp_path / "turned.csv").write_text("\n".join([lines[0], *lines[:0:-1]]))
    assert np.array_equal(read_gamed(tmp_path / "turned.csv").difficulty, gamed.difficulty)


def test_without_all_instructions_or_the_file_there_is_a_reason_in_place_of_a_number(tmp_path):
    items, gamed = items_of(*judged()), read_gamed(write_gamed(tmp_path / "df_gamed.csv"))
    for found, reason in (
        (length_controlled(items, None), "selectit data fetch --benchmarks alpaca_eval_2"),
        (length_controlled(items[:50], gamed), "all 805 items, and 50 were judged"),
        (length_controlled(items, gamed), "not AlpacaEval's 805 instructions in their order"),
    ):
        assert found[0] == {} and reason in found[1]


def test_alpaca_evals_instructions_are_known(data):
    for name in ("text_davinci_003", "gpt4"):
        rows = json.loads((data / "alpaca_eval" / f"{name}.json").read_text())
        found = length_control.instructions_sha256([row["instruction"] for row in rows])
        assert found == length_control.INSTRUCTIONS_SHA256


def test_a_malformed_file_is_refused_by_its_name_columns_row_and_value(tmp_path):
    path = tmp_path / "df_gamed.csv"
    path.write_text("model,index,preference\nshort,0,0.5\n")
    reported = (
        r"df_gamed\.csv has no column std_delta_len, .*: it has model, index, preference and needs index, preference, "
    )
    with pytest.raises(UserError, match=reported):
        read_gamed(path)
    for changes, reported in (
        ({"std_delta_len": "long"}, r"row 1: std_delta_len is 'long', expected a number"),
        ({"preference": 1.5}, r"row 1: preference is '1\.5', expected 0 to 1, or nothing"),
        ({"not_gamed_baseline": "perhaps"}, r"row 1: not_gamed_baseline is 'perhaps', expected True or False"),
        ({"instruction_difficulty": ""}, r"row 1: instruction_difficulty is '', expected a number"),
    ):
        with pytest.raises(UserError, match=reported):
            read_gamed(write_gamed(path, **changes))
    with pytest.raises(UserError, match=r"names 8 instructions, expected the 805"):
        read_gamed(write_gamed(path, num_items=8))


@pytest.fixture
def small(monkeypatch, demo_data, tmp_path):
    """The eight questions of the demonstration as AlpacaEval 2; a folder of them with df_gamed.csv."""
    rows = json.loads((demo_data / "alpaca_eval" / "text_davinci_003.json").read_text())
    monkeypatch.setattr(length_control, "NUM_ITEMS", len(rows))
    known = length_control.instructions_sha256([row["instruction"] for row in rows])
    monkeypatch.setattr(length_control, "INSTRUCTIONS_SHA256", known)
    folder = tmp_path / "data" / "alpaca_eval_2"
    folder.mkdir(parents=True)
    (folder / "gpt4_1106_preview.json").write_text(json.dumps(rows))
    write_gamed(folder / "df_gamed.csv", len(rows))
    return folder.parent


@pytest.fixture
def judge(tmp_path):
    server = JudgeServer()
    yield {"model": "judge-1", "base_url": server.url, "api_key_env": None, "cache": str(tmp_path / "paid")}
    server.close()


def test_the_result_has_it_next_to_the_win_rate_and_items_keep_the_judges_preferences(oracle, evaluate, small, judge):
    oracle.answer = lambda doc: doc["output"] + " And more." * len(doc["instruction"])
    settings = {"profile": "chat", "data": str(small), "judge": JudgeConfig(**judge)}
    metrics, out = evaluate("alpaca_eval_2", **settings)
    result = json.loads((out / "result.json").read_text())
    assert metrics["value"] == result["metrics"]["win_rate"]["value"] == pytest.approx(0.9)
    assert 0 < result["metrics"][METRIC]["value"] < 1 and result["not_computed"] == {}
    assert result["judge"]["df_gamed_sha256"] == read_gamed(small / "alpaca_eval_2" / "df_gamed.csv").sha256
    scores = [json.loads(line)["score"] for line in (out / "items.jsonl").read_text().splitlines()]
    assert scores == pytest.approx([0.9] * 8)
    (small / "alpaca_eval_2" / "df_gamed.csv").unlink()
    evaluate("alpaca_eval_2", **settings)
    result = json.loads((out / "result.json").read_text())
    assert METRIC not in result["metrics"] and "df_gamed_sha256" not in result["judge"]
    assert "df_gamed.csv is not there" in result["not_computed"][METRIC] and result["complete"]


def test_the_file_is_part_of_what_a_result_was_made_of(small):
    benchmark = load_profile("chat").benchmarks["alpaca_eval_2"]
    file = small / "alpaca_eval_2" / "df_gamed.csv"
    assert file in data_files(benchmark, small)
    file.unlink()
    assert [path.name for path in data_files(benchmark, small)] == ["gpt4_1106_preview.json"]


def test_a_malformed_file_is_found_before_anything_is_generated(oracle, evaluate, small, judge):
    (small / "alpaca_eval_2" / "df_gamed.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"df_gamed\.csv has no column"):
        evaluate("alpaca_eval_2", profile="chat", data=str(small), judge=JudgeConfig(**judge))
    assert not oracle.prompts


def selectit(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    return done.output


def test_the_table_has_a_column_for_it_that_counts_in_no_average_and_is_verified(demo_model, small, judge, tmp_path):
    profile = {
        "alpaca_eval_2": {"chat_template": True, "max_gen_toks": 4, "until": [], "metric": "win_rate"},
        "gsm8k": {"max_gen_toks": 4, "metric": "exact_match,flexible-extract"},
    }
    (small / "gsm8k").mkdir()
    (small / "gsm8k" / "test.jsonl").write_text(json.dumps({"question": "1 + 1?", "answer": "#### 2"}) + "\n")
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"benchmarks": profile}, sort_keys=False))
    (tmp_path / "pool.json").write_text(json.dumps([{"instruction": "a", "output": "b"}]))
    untuned, evaluation = (
        {"method": "none"},
        {"profile": str(tmp_path / "two.yaml"), "data": str(small), "judge": judge},
    )
    raw = {
        "name": "chats", "pool": {"path": str(tmp_path / "pool.json")}, "model": {"path": demo_model.path},
        "evaluate": {**evaluation, "num_processes": 1},
        "arms": {"base": {"finetune": untuned}, "few": {"finetune": untuned, "evaluate": {"limit": 3}}},
        "baseline": "base", "wandb": {"enabled": False},
    }  # fmt: skip
    recipe, runs = tmp_path / "recipe.yaml", tmp_path / "runs"
    recipe.write_text(yaml.safe_dump(raw))
    selectit("run", recipe, "--runs-dir", runs)
    with (runs / "chats" / "results.csv").open(newline="") as f:
        rows = {(row["row"], row["benchmark"]): row for row in csv.DictReader(f)}
    column = "alpaca_eval_2 (length-controlled)"
    assert [benchmark for row, benchmark in rows if row == "base"] == ["alpaca_eval_2", column, "gsm8k"]
    weighted, controlled = rows["base", "alpaca_eval_2"], rows["base", column]
    assert controlled["metric"] == METRIC and controlled["artifact"] == weighted["artifact"]
    assert controlled["value"] != weighted["value"]
    assert rows["few", column]["status"] == "not scored" and "3 were judged" in rows["few", column]["reason"]
    report = (runs / "chats" / "report.md").read_text()
    assert "average: mean over alpaca_eval_2 and gsm8k; alpaca_eval_2 (length-controlled): another metric" in report
    assert report.count("Judge of alpaca_eval_2") == 2 and "df_gamed.csv sha256" in report
    assert "no length_controlled_winrate: it takes all 8 items, and 3 were judged" in report
    selectit("verify", recipe, "--runs-dir", runs)
    changed = (runs / "chats" / "results.csv").read_text().replace(controlled["value"], "0.999")
    (runs / "chats" / "results.csv").write_text(changed)
    answer = CliRunner().invoke(app, ["verify", str(recipe), "--runs-dir", str(runs)])
    assert answer.exit_code != 0 and "0.999" in answer.output
    assert "alpaca_eval_2" in selectit("diff", recipe, runs / "chats", "--runs-dir", runs)
