"""A subset as other tools read it: TRL's own functions, and a reader that follows LLaMA-Factory's documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from families import tokenizer_of
from trl.data_utils import apply_chat_template, is_conversational
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import PoolConfig
from selectit.data.conversations import as_conversation
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.templates.form import load_form

SYSTEM, CALL = "You are a pirate.", {"name": "add", "arguments": {"a": 2, "b": [3, "ü"]}}
CALL_TEXT = '{"name": "add", "arguments": {"a": 2, "b": [3, "ü"]}}'
TURNS = {
    "plain": [("user", "What is 2?"), ("assistant", "It is 2.")],
    "system": [("system", SYSTEM), ("user", "Q"), ("assistant", "A")],
    "long": [("user", "Q0"), ("assistant", "A0"), ("user", "Q1"), ("assistant", "A1")],
    "tools": [("user", "2 and 3?"), ("call", CALL_TEXT), ("tool", "5"), ("assistant", "It is 5.")],
}
"""What the rows below say, written by hand."""
OPENAI = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation", "call": "function_call"}


def as_openai(turns: list[tuple[str, str]]) -> list[dict[str, Any]]:
    call = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": CALL}]}
    return [call if role == "call" else {"role": OPENAI[role], "content": text} for role, text in turns]


def as_sharegpt(turns: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"from": SHAREGPT[role], "value": text} for role, text in turns]


def written(tmp_path: Path, rows: list[dict[str, Any]], form: str, *options: str, name: str = "out.jsonl") -> Path:
    """The file that `selectit select --as` writes of all rows."""
    pool = tmp_path / "pool.json"
    pool.write_text(json.dumps(rows))
    words = ["select", pool, "--out", tmp_path / name, "--as", form, "--strategy", "full"]
    words += ["--runs-dir", tmp_path / "runs", *options]
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return tmp_path / name


def loaded(path: Path) -> list[dict[str, Any]]:
    return load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "cache")).to_list()


def training_tokens(path: Path, template: str = "chat") -> list[tuple[list[int], tuple]]:
    """Ids and trained spans, as a training of this project has them."""
    form = load_form(template, tokenizer_of("smollm2"))
    rows = read_pool(PoolConfig(path=str(path)))
    found = [form.encode(as_conversation(row.row_id, row.messages, template).messages) for row in rows]
    return [(one.input_ids.tolist(), one.spans) for one in found]


def llama_factory(row: dict[str, Any], form: str) -> list[tuple[str, str]]:
    """The turns that LLaMA-Factory trains on, after its data/README.md; columns system and history are mapped."""
    if form == "alpaca":
        query = "\n".join(filter(None, [row["instruction"], row["input"]]))
        pairs = [*row["history"], [query, row["output"]]]
        turns = [turn for q, a in pairs for turn in (("user", q), ("assistant", a))]
        return [*([("system", row["system"])] if row["system"] else []), *turns]
    roles = {name: role for role, name in SHAREGPT.items()}
    turns = [(roles[turn["from"]], turn["value"]) for turn in row["conversations"]]
    rest = turns[1:] if turns[0][0] == "system" else turns
    for at, (role, _) in enumerate(rest):
        assert role in (("user", "tool"), ("assistant", "call"))[at % 2]
    assert len(rest) % 2 == 0
    return turns


SOURCES = {
    "messages": [{"messages": as_openai(turns), "topic": name} for name, turns in TURNS.items()],
    "sharegpt": [{"conversations": as_sharegpt(turns), "topic": name} for name, turns in TURNS.items()],
    "alpaca": [
        {"instruction": "What is 2?", "input": "", "output": "It is 2."},
        {"instruction": "Q", "output": "A", "system": SYSTEM},
        {"instruction": "Q1", "output": "A1", "history": [["Q0", "A0"]]},
    ],
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("form", ["messages", "alpaca", "sharegpt"])
def test_other_tools_read_the_turns_of_each_row_and_ours_the_same_training_tokens(source, form, tmp_path):
    rows = SOURCES[source][:3] if form == "alpaca" else SOURCES[source]
    path = written(tmp_path, rows, form)
    found, wanted = loaded(path), list(TURNS.values())[: len(rows)]
    assert training_tokens(path) == training_tokens(tmp_path / "pool.json")
    assert [row.row_id for row in read_pool(PoolConfig(path=str(path)))] == [row["id"] for row in found]
    if form != "messages":
        assert [llama_factory(row, form) for row in found] == wanted
        return
    tokenizer = tokenizer_of("qwen2")  # its template prints calls of tools
    for row, turns in zip(found, wanted, strict=True):
        assert is_conversational(row)
        own = as_openai(turns)
        assert [(turn["role"], turn["content"]) for turn in row["messages"]] == [(t["role"], t["content"]) for t in own]
        text = apply_chat_template({"messages": row["messages"]}, tokenizer)["text"]
        assert text == apply_chat_template({"messages": own}, tokenizer)["text"]
        assert ("<tool_call>" in text) == any(role == "call" for role, _ in turns)


def test_an_input_stays_a_column_of_alpaca_and_stands_behind_a_line_end_elsewhere(tmp_path):
    rows = [{"instruction": "Sort.", "input": "b, a", "output": "a, b"}]
    path = written(tmp_path, rows, "alpaca", name="out.json")
    assert json.loads(path.read_text()) == [
        {"id": read_pool(PoolConfig(path=str(path)))[0].row_id, **rows[0], "system": "", "history": []}
    ]
    assert training_tokens(path, "alpaca") == training_tokens(tmp_path / "pool.json", "alpaca")
    path = written(tmp_path, rows, "messages")
    assert loaded(path)[0]["messages"][0] == {"role": "user", "content": "Sort.\nb, a"}
    assert training_tokens(path) == training_tokens(tmp_path / "pool.json")


def test_only_what_is_selected_is_written_by_its_id(tmp_path):
    rows = [{"id": f"r{n}", "instruction": f"Say {n}.", "output": "ab" * (n * 7 % 10 + 1)} for n in range(1, 11)]
    options = ["--strategy", "length", "--set", "unit=chars", "--ratio", "0.3"]
    path = written(tmp_path, rows, "sharegpt", *options)
    assert [row["id"] for row in loaded(path)] == ["r1", "r4", "r7"]
    own = written_own(tmp_path, options)
    assert [row["id"] for row in loaded(path)] == [row["id"] for row in own]
    assert [row["conversations"][1]["value"] for row in loaded(path)] == [row["output"] for row in own]


def written_own(tmp_path: Path, options: list[str]) -> list[dict[str, Any]]:
    words = ["select", tmp_path / "pool.json", "--out", tmp_path / "own.json", "--runs-dir", tmp_path / "runs"]
    CliRunner().invoke(app, [str(word) for word in [*words, *options]], catch_exceptions=False)
    return json.loads((tmp_path / "own.json").read_text())


USER, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
TWO_CALLS = {"role": "assistant", "content": None, "tool_calls": [{"function": CALL}, {"function": CALL}]}
REFUSED = {
    "untrained_turn": ([USER, {**ANSWER, "weight": 0}, USER, ANSWER], ("messages", "alpaca", "sharegpt")),
    "tool_turns": ([USER, {"role": "tool", "content": "5"}, ANSWER], ("alpaca",)),
    "empty_system_prompt": ([{"role": "system", "content": ""}, USER, ANSWER], ("alpaca",)),
    "other_order": ([USER, ANSWER, USER], ("alpaca", "sharegpt")),
    "other_order ": ([ANSWER, USER, ANSWER], ("alpaca", "sharegpt")),
    "other_order  ": ([USER, {"role": "system", "content": "S"}, ANSWER], ("alpaca", "sharegpt")),
    "call_and_words": ([USER, TWO_CALLS, {"role": "tool", "content": "5"}, ANSWER], ("sharegpt",)),
    "call_and_words ": ([USER, {**TWO_CALLS, "content": "So."}, USER, ANSWER], ("sharegpt",)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_format_cannot_hold_is_refused_with_count_and_cure_before_anything_is_done(kind, tmp_path):
    turns, forms = REFUSED[kind]
    rows = [{"messages": [USER, ANSWER]}, {"messages": turns}, {"messages": [USER, ANSWER]}]
    for form in forms:
        with pytest.raises(UserError, match=rf"--as {form} cannot hold 1 of the 3 usable rows .*1 {kind.strip()}"):
            written(tmp_path, rows, form)
        assert not (tmp_path / "runs").exists() and not (tmp_path / "out.jsonl").exists()
    for form in {"messages", "alpaca", "sharegpt"} - {*forms, *(["alpaca"] if "call" in kind else [])}:
        if "tool_turns" not in kind:
            path = written(tmp_path, rows, form)
            found, wanted = (read_pool(PoolConfig(path=str(p))) for p in (path, tmp_path / "pool.json"))
            assert [row.messages for row in found] == [row.messages for row in wanted]


def test_calls_of_which_the_words_would_change_are_refused(tmp_path):
    for text, kind in (("add(2)", "call_not_json"), ('{"name":"add","arguments":"{}"}', "call_in_other_words")):
        turns = [("human", "Q"), ("function_call", text), ("observation", "5"), ("gpt", "A")]
        rows = [{"conversations": [{"from": name, "value": words} for name, words in turns]}]
        with pytest.raises(UserError, match=f"1 {kind}"):
            written(tmp_path, rows, "messages")
    path = written(tmp_path, rows, "sharegpt")
    assert loaded(path)[0]["conversations"][1] == {"from": "function_call", "value": text}


def test_ids_and_names_of_tools_are_kept(tmp_path):
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
    turns = [USER, {"role": "assistant", "content": "So.", "tool_calls": [call]}]
    turns += [{"role": "tool", "content": "5", "tool_call_id": "c1", "name": "add"}, ANSWER]
    [row] = [json.loads(line) for line in written(tmp_path, [{"messages": turns}], "messages").read_text().splitlines()]
    function = {"name": "add", "arguments": {"a": 2}}
    assert row["messages"] == [
        USER, {"role": "assistant", "content": "So.", "tool_calls": [{**call, "function": function}]}, turns[2], ANSWER
    ]  # fmt: skip


def test_rows_of_a_prompt_and_its_completion_are_a_conversation(tmp_path):
    rows = [{"prompt": [USER], "completion": [ANSWER]}, {"prompt": [USER, ANSWER, USER], "completion": [ANSWER]}]
    path = written(tmp_path, rows[:1], "messages")
    assert loaded(path)[0]["messages"] == [USER, ANSWER]
    with pytest.raises(UserError, match="1 untrained_turn"):
        written(tmp_path, rows, "messages")


def test_rows_that_cannot_be_used_are_not_written_and_names_are_checked(tmp_path):
    rows = [{"instruction": "", "output": "x"}, {"instruction": "Q", "output": "A"}]
    assert len(loaded(written(tmp_path, rows, "messages", "--bad-rows", "exclude"))) == 1
    with pytest.raises(UserError, match=r"--as mesages: allowed are .*Did you mean 'messages'"):
        written(tmp_path, rows, "mesages")
    with pytest.raises(UserError, match=r"written to a file that ends in .jsonl or .json"):
        written(tmp_path, rows, "messages", name="out.parquet")
