"""Rows as their owner meant them: system prompts, history, tools, turns that are not trained on, special tokens."""

from __future__ import annotations

import json

import numpy as np
import pytest

from selectit.config import LossStage, ModelConfig, PoolConfig
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.inference.load import load_tokenizer
from selectit.scoring.loss_texts import loss_texts
from selectit.scoring.texts import rating_texts

SYSTEM = "You are a pirate."
ALPACA = {"instruction": "What is 2?", "input": "", "output": "It is 2."}
CHAT = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
SHAREGPT = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]


def read(tmp_path, row, bad_rows="exclude"):
    path = tmp_path / "pool.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps({key: row[key] for key in row if key in BASE}) + "\n")
    return read_pool(PoolConfig(path=str(path), bad_rows=bad_rows))[0]


BASE = ("instruction", "input", "output", "messages", "conversations")


def test_system_and_history_of_an_alpaca_row_are_read_by_rating_and_training(tmp_path):
    row = read(tmp_path, {**ALPACA, "system": SYSTEM, "history": [["Q0", "A0"], ["Q1", "A1"]]})
    assert [m["role"] for m in row.messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert [m["content"] for m in row.messages] == [SYSTEM, "Q0", "A0", "Q1", "A1", "What is 2?", "It is 2."]
    assert row.instruction == f"{SYSTEM}\nQ0\nA0\nQ1\nA1\nWhat is 2?" and row.response == "It is 2."
    with_input = read(tmp_path, {**ALPACA, "input": "b, a", "system": SYSTEM})
    assert with_input.instruction == f"{SYSTEM}\nWhat is 2?\nb, a"
    assert with_input.messages[1] == {"role": "user", "content": "What is 2?", "input": "b, a"}
    for nothing in ({"system": "", "history": []}, {"system": None, "history": None, "tools": "[]"}, {"tools": []}):
        assert read(tmp_path, {**ALPACA, **nothing}).instruction == "What is 2?"


@pytest.mark.parametrize("turns", [{"messages": CHAT}, {"conversations": SHAREGPT}])
def test_a_system_prompt_next_to_a_conversation_is_its_first_turn(turns, tmp_path):
    row = read(tmp_path, {**turns, "system": SYSTEM, "tools": "[]"})
    assert row.messages[0] == {"role": "system", "content": SYSTEM} and row.failure is None
    assert (row.instruction, row.response) == (f"{SYSTEM}\nQ", "A")


def test_what_cannot_be_read_is_a_bad_row_of_its_kind(tmp_path):
    tools = '[{"name": "add"}]'
    for row, kind in (
        ({"messages": CHAT, "tools": tools}, "tools_not_read"),
        ({**ALPACA, "tools": tools}, "tools_not_read"),
        ({"conversations": SHAREGPT, "functions": [{"name": "add"}]}, "tools_not_read"),
        ({**ALPACA, "history": "Q0: A0"}, "history_not_read"),
        ({**ALPACA, "history": [["Q0"]]}, "history_not_read"),
        ({**ALPACA, "system": 7}, "system_not_read"),
        ({"messages": [{"role": "system", "content": "other"}, *CHAT], "system": SYSTEM}, "two_system_prompts"),
        ({"messages": [CHAT[0], {**CHAT[1], "weight": 0.5}]}, "weight_not_read"),
        ({"messages": [CHAT[0], {**CHAT[1], "train": "yes"}]}, "train_not_read"),
        ({"messages": [CHAT[0], {**CHAT[1], "weight": 0}]}, "no_trained_turn"),
    ):
        assert read(tmp_path, row).failure == kind
    with pytest.raises(UserError, match=r"1 of 2 rows cannot be used: row 0 .*: tools not read.*'exclude'"):
        read(tmp_path, {"messages": CHAT, "tools": tools}, bad_rows="refuse")


def test_a_turn_of_weight_0_is_neither_rated_nor_trained_on(tmp_path):
    wrong = {"role": "assistant", "content": "WRONG"}
    for mark in ({"weight": 0}, {"train": False}, {"weight": 0, "train": False}, {"weight": 1, "train": False}):
        turns = [CHAT[0], {**wrong, **mark}, {"role": "user", "content": "No."}, {**CHAT[1], "weight": 1}]
        row = read(tmp_path, {"messages": turns})
        assert (row.instruction, row.response) == ("Q\nWRONG\nNo.", "A")
        assert [message.get("train") for message in row.messages] == [None, False, None, None]


def test_a_conversation_that_begins_with_the_assistant_is_rated_by_its_first_question(tmp_path):
    turns = [{"role": "assistant", "content": "Welcome!"}, *CHAT]
    row = read(tmp_path, {"messages": turns})
    assert (row.instruction, row.response) == ("Q", "A")
    both = read(tmp_path, {"messages": [{"role": "user", "content": "Hello."}, *CHAT]})
    assert (both.instruction, both.response) == ("Hello.\nQ", "A")


def test_losses_are_those_of_the_turns_that_are_trained_on_with_the_system_prompt_in_front(demo, tmp_path):
    model = ModelConfig(path=str(demo / "model"))
    tokenizer = load_tokenizer(model)
    turns = [CHAT[0], {"role": "assistant", "content": "WRONG", "weight": 0}, CHAT[0], CHAT[1]]
    row = read(tmp_path, {"messages": turns, "system": SYSTEM})
    config = LossStage(pool=PoolConfig(path="none"), model=model, text="conditioned", template="alpaca")
    [text] = loss_texts(tokenizer, config, [[row]])
    assert tokenizer.decode(text.ids[text.scored]).strip() == "A</s>"
    assert SYSTEM in tokenizer.decode(text.ids) and "WRONG" in tokenizer.decode(text.ids)


def test_special_tokens_in_a_rows_own_words_are_rated_and_lost_as_text(demo, tmp_path):
    model = ModelConfig(path=str(demo / "model"))
    tokenizer = load_tokenizer(model)
    row = read(tmp_path, {**ALPACA, "output": "<p><s>10</s> now</p>"})
    config = LossStage(pool=PoolConfig(path="none"), model=model, text="conditioned", template="alpaca")
    for text in (*rating_texts(tokenizer, [[row]], 0, "Rate.\n\n"), *loss_texts(tokenizer, config, [[row]])):
        assert np.count_nonzero(text.ids == tokenizer.bos_token_id) == 1 and text.ids[0] == tokenizer.bos_token_id
        assert np.count_nonzero(text.ids == tokenizer.eos_token_id) == (text.ids[-1] == tokenizer.eos_token_id)
        assert "<p><s>10</s> now</p>" in tokenizer.decode(text.ids)


def test_the_rows_of_the_issue_are_read(root):
    cases = root.parent / "shared" / "cases"
    if not cases.is_dir():
        pytest.skip("the cases are not on this machine")
    for case, words in (
        ("C03-system-history-dropped/lf.jsonl", ["pirate", "Earlier question 0", "Earlier answer 0"]),
        ("C03-system-history-dropped/sg.jsonl", ["pirate"]),
    ):
        row = read_pool(PoolConfig(path=str(cases / "finetune" / case)))[0]
        assert all(word in row.instruction for word in words)
    row = read_pool(PoolConfig(path=str(cases / "finetune" / "C09-weight-0" / "weight.jsonl")))[0]
    assert row.response == "A0" and row.messages[1]["train"] is False


def test_an_alpaca_input_is_read_in_one_place(root):
    paths = (path for room in ("selectit", "finetune", "evaluate") for path in (root / room).rglob("*.py"))
    reading = {path.relative_to(root).as_posix() for path in paths if '.get("input"' in path.read_text()}
    assert reading == {"selectit/data/formats.py", "selectit/data/turns.py"}  # the row's column; the turn made of it
