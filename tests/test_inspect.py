"""`selectit inspect`: what it counts of a pool is what stands there, and the texts it shows are those that are read."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import FinetuneConfig, ModelConfig, PoolConfig
from selectit.data.conversations import as_conversation
from selectit.data.inspection import Extent, inspect_pool
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.inference.load import load_tokenizer
from selectit.scoring.texts import rating_texts
from selectit.templates.form import load_form

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
ROWS = [
    {"messages": [{"role": "system", "content": "Brief."}, *TURNS], "source": "a", "empty": ""},
    {"messages": TURNS, "source": None},
    {"messages": [TURNS[0], {**TURNS[1], "weight": 0}, *TURNS], "source": "b"},
    {"messages": TURNS, "source": "c"},
    {"messages": [{"role": "robot", "content": "x"}], "source": "d"},
    {"messages": [TURNS[0]]},
    {"messages": [TURNS[0], {"role": "assistant", "content": " "}]},
    "no object",
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def inspect(*arguments):
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_rows_turns_and_columns_are_counted_as_they_stand_there(path):
    found = inspect_pool(PoolConfig(path=str(path)))
    assert (found.format, found.columns) == ("messages", {"conversation": "messages"})
    assert (found.num_rows, found.num_usable, found.num_repeated) == (8, 4, 1)
    assert found.failures == {"empty_response": 2, "unknown_role": 1, "not_an_object": 1}
    assert found.first_failures["unknown_role"].startswith("row 4: messages[0].role is 'robot'")
    assert found.roles == {"user": 5, "assistant": 5, "system": 1} and found.num_untrained_turns == 1
    assert found.unread_columns == {"source": 4}
    assert found.turns == Extent(2, 2.5, 4)
    assert found.instruction_chars == Extent(2, 5.5, len("Hi\nHello.\nHi"))
    assert found.response_chars == Extent(6, 6.0, 6)
    assert found.first is not None and found.first.index == 0 and found.ids is None


def test_ids_that_cannot_be_used_are_stated_and_cost_no_other_count(tmp_path):
    row = {"instruction": "Add 2 and 3.", "output": "5"}
    for ids, fault in ((["a", "a"], "stands in row 0 already"), (["a", None], "no 'id'"), (["a", "b"], None)):
        (tmp_path / "pool.json").write_text(json.dumps([{**row, "id": one} for one in ids]))
        found = inspect_pool(PoolConfig(path=str(tmp_path / "pool.json")))
        assert (found.ids is None) if fault is None else (fault in str(found.ids))
        assert (found.num_usable, found.num_repeated, found.unread_columns) == (2, 1, {})
        if fault is not None:
            with pytest.raises(UserError, match=fault):
                read_pool(PoolConfig(path=str(tmp_path / "pool.json")))


def test_a_pool_without_a_usable_row_or_a_known_format(tmp_path):
    path = tmp_path / "pool.json"
    path.write_text(json.dumps([{"instruction": "x", "output": 3}]))
    found = inspect_pool(PoolConfig(path=str(path)))
    assert (found.num_rows, found.num_usable, found.turns, found.first) == (1, 0, None, None)
    assert "not_text" in inspect(path)
    assert json.loads(inspect(path, "--json"))["rating_text"] is None
    path.write_text(json.dumps([{"x": 1}]))
    with pytest.raises(UserError, match="columns found: x"):
        inspect_pool(PoolConfig(path=str(path)))


@pytest.mark.parametrize("template", ["alpaca", "llmzoo"])
def test_the_texts_shown_are_those_that_are_rated_and_trained_on(path, demo, template):
    shown = json.loads(inspect(path, "--model", demo / "model", "--template", template, "--json"))
    row = read_pool(PoolConfig(path=str(path), bad_rows="exclude"))[shown["first_row"]]
    tokenizer = load_tokenizer(ModelConfig(path=str(demo / "model")))
    prompt = shown["rating_text"].split("Instruction:")[0]
    [text] = rating_texts(tokenizer, [[row]], 0, prompt)
    assert tokenizer(shown["rating_text"], split_special_tokens=True)["input_ids"] == text.ids.tolist()
    conversation = as_conversation(row.row_id, row.messages, FinetuneConfig(template=template).template)
    encoded = load_form(template, tokenizer).encode(conversation.messages)
    assert shown["training_row"].replace("»", "").replace("«", "") == encoded.text
    assert shown["training_row"].count("»") == len(encoded.spans) == 1


def test_the_screen_states_what_json_states(path, demo):
    shown, text = json.loads(inspect(path, "--json")), inspect(path, "--model", demo / "model")
    for part in (
        "8, of which 4 can be used",
        "unknown_role",
        "1 usable rows",
        "user (5)",
        "source (4)",
        "»Hello.</s>«",
    ):
        assert part in text
    assert shown["rating_text"] in text and shown["training_row"] is None


def test_a_row_that_a_template_cannot_hold_is_called_so(tmp_path, demo):
    called = {"role": "assistant", "content": None, "tool_calls": [{"name": "sky", "arguments": {}}]}
    row = {"messages": [TURNS[0], called, {"role": "tool", "content": "21"}, TURNS[1]]}
    (tmp_path / "pool.json").write_text(json.dumps([row]))
    shown = json.loads(inspect(tmp_path / "pool.json", "--model", demo / "model", "--json"))
    assert shown["training_row"].startswith("cannot be trained on (")
    assert shown["roles"] == {"assistant": 2, "user": 1, "tool": 1}


def test_a_pool_is_read_as_the_options_say(tmp_path):
    path = tmp_path / "pool.csv"
    path.write_text("q,a\none,1\ntwo,2\nthree,3\n")
    options = ["--columns", "instruction=q", "--columns", "response=a", "--limit", 2, "--json"]
    shown = json.loads(inspect(path, *options))
    assert shown["columns"] == {"instruction": "q", "response": "a"} and shown["num_usable"] == 2
