"""Pools as people have them: formats, columns, roles, files, ids, and rows that cannot be used, by kind."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import typer.main
from finished_work import call
from pydantic import ValidationError
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import PoolConfig
from selectit.data.pool import read_pool, write_rows
from selectit.errors import UserError
from selectit.inference.load import load_tokenizer
from selectit.recipe.load import load
from selectit.store.fingerprint import Hasher, identity
from selectit.templates.form import BadRow, load_form

GOOD = {"instruction": "Say 1.", "output": "One."}
USER, ANSWER = {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}
CALL = {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


@pytest.fixture(scope="module")
def cases(root) -> Path:
    folder = root.parent / "shared" / "cases" / "data"
    if not folder.is_dir():
        pytest.skip("the cases are not on this machine")
    return folder


def read(tmp_path, *rows, **settings):
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_pool(PoolConfig(path=str(path), **settings))


def pair(tmp_path, row, **settings):
    [found] = read(tmp_path, row, **settings)
    return found.instruction, found.response


READ = {
    "D01/pool.json": ("Be brief.\nHi 0", "Hello "),
    "D02/pool.json": ('Weather 0?\n{"name":"w","arguments":{}}\n21 C', "It is 21 degrees. "),
    "D03/pool.json": ("What is 0+1?", "1. "),
    "D05/pool.json": ("Hi\nand tell me 0", "Sure "),
    "D06/pool.json": ("Hi 0", "Hello "),
    "D07/pool.json": ('Weather 0?\n{"name": "w", "arguments": {}}\n21', "21 degrees "),
    "D08/pool.json": ("Be brief.\nHi 0", "Hello "),
    "D10/pool.json": ("You double numbers.\nWhat is twice 4?\n8\nAnd of 5?\n10\nAnd of 0?", "0 "),
    "D16/pool.json": ("Say number 0.", "well 0"),
    "D16/pool.jsonl": ("Say number 0.", "well 0"),
    "D27/dict.parquet": ("Say number 0.", "well 0"),
    "D27/types.parquet": ("Say number 0.", "well 0"),
    "D27/messages.parquet": ("Hi 0", "Hello "),
    "D28/dataset": ("Say 0", "x "),
    "D29/pool.csv": ("Say number 0.", "well 0"),
    "D29/pool.tsv": ("Say number 0.", "well 0"),
    "D31/mixed/*.jsonl": ("Say number 0.", "well 0"),
    "D33/dolly.json": ("Name 0.", "x "),
    "D33/qa.json": ("Name 0.", "x "),
    "D33/trl.json": ("Name 0.", "x "),
    "D33/trl_chat.json": ("Name 0.", "x "),
    "D39/pool.json": ("Say number 0.", "well 0"),
}


@pytest.mark.parametrize("case", READ)
def test_the_cases_that_are_right_are_read(cases, case):
    rows = read_pool(PoolConfig(path=str(cases / case)))
    assert (rows[0].instruction, rows[0].response) == READ[case]
    assert [row.failure for row in rows] == [None] * len(rows)


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        ("D04/pool.json", {"unknown_role": 1}),
        ("D13/pool.json", {"empty_response": 1, "empty_instruction": 1}),
        ("D14/pool.json", {"not_text": 1}),
        ("D20/pool.json", {"lone_surrogate": 1}),
        ("D20/with_id.json", {"lone_surrogate": 1}),
        ("D43/pool.json", {"empty_response": 2, "not_turns": 1}),
        ("D46/pool.json", {"not_text": 3}),
    ],
)
def test_the_bad_rows_of_the_cases_are_counted_by_kind(cases, case, kinds):
    pool = PoolConfig(path=str(cases / case), bad_rows="exclude")
    assert Counter(row.failure for row in read_pool(pool) if row.failure) == kinds
    with pytest.raises(UserError) as error:
        read_pool(pool.model_copy(update={"bad_rows": "refuse"}))
    assert all(f"{count} {kind}" in str(error.value) for kind, count in kinds.items())


@pytest.mark.parametrize(
    ("case", "settings"),
    [
        ("D04/pool.json", {"roles": {"assistant": ["bing"]}}),
        ("D11/pool.json", {"columns": {"response": "instances.0.output", "input": "instances.0.input"}}),
        *((f"D36/{name}.json", {"ids": "position"}) for name in ("dup", "some", "mixed", "list", "none")),
    ],
)
def test_the_cures_that_errors_name_exist(cases, case, settings):
    rows = read_pool(PoolConfig(path=str(cases / case), **settings))
    assert all(row.failure is None for row in rows) and len({row.row_id for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("D18/pool.json", "is in UTF-16"), ("D18/pool.jsonl", "is in UTF-16"), ("D18/latin.json", "0xDF is not UTF-8"),
        ("D36/dup.json", "--ids position"), ("D36/some.json", "--ids position"), ("D36/mixed.json", "--ids position"),
        ("D31/mixed", "because column names don't match"), ("D11/pool.json", "--columns"),
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_in_one_sentence_with_the_cure(cases, case, words):
    with pytest.raises(UserError) as error:
        read_pool(PoolConfig(path=str(cases / case)))
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"question": "Why?", "context": "It rains.", "answer": "So."}, ("Why?\nIt rains.", "So.")),
        ({"instruction": "Sum.", "context": "Long.", "response": "Short."}, ("Sum.\nLong.", "Short.")),
        ({"instruction": "Sum.", "response": "Short."}, ("Sum.", "Short.")),
        ({"prompt": [USER, ANSWER, USER], "completion": [{**ANSWER, "content": "B"}]}, ("Q\nA\nQ", "B")),
        ({"conversations": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}, ("Q", "A")),
        ({"messages": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, ("Q", "A")),
        ({"prompt": "Q", "completion": "A", "history": [["Q0", "A0"]]}, ("Q0\nA0\nQ", "A")),
        ({"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]}]},
         ("Q", '{"name": "add", "arguments": {"a": 1}}\n{"name": "add", "arguments": {"a": 1}}')),
        ({"messages": [USER, {"role": "assistant", "content": "Wait.", "function_call": CALL["function"]}]},
         ("Q", 'Wait.\n{"name": "add", "arguments": {"a": 1}}')),
        ({"messages": [{"role": "user", "content": ["a", {"type": "text", "text": "b"}]}, ANSWER]}, ("ab", "A")),
    ],
)  # fmt: skip
def test_every_format_gives_what_is_rated(tmp_path, row, found):
    assert pair(tmp_path, row) == found


def test_the_turns_of_a_prompt_are_not_trained_on(tmp_path):
    [row] = read(tmp_path, {"prompt": [USER, ANSWER, USER], "completion": [ANSWER]})
    assert [message.get("train") for message in row.messages] == [None, False, None, None]


def test_columns_have_the_names_that_the_pool_gives_them(tmp_path):
    row = {"q": "Why?", "a": {"text": ["So."]}, "sys": "Be brief.", "extra": "E"}
    columns = {"instruction": "q", "response": "a.text.0", "system": "sys", "input": "extra"}
    assert pair(tmp_path, row, columns=columns) == ("Be brief.\nWhy?\nE", "So.")
    assert pair(tmp_path, {"dialog": [USER, ANSWER]}, columns={"conversation": "dialog"}) == ("Q", "A")
    with pytest.raises(UserError, match=r"'conversation', which rows of the format 'alpaca' have not"):
        pair(tmp_path, GOOD, format="alpaca", columns={"conversation": "dialog"})
    with pytest.raises(ValidationError, match="a name is of one role"):
        PoolConfig(path="x", roles={"user": ["bing"], "assistant": ["bing"]})


BAD = {
    "not_an_object": ["text", 7, [1], None],
    "missing_column": [{"instruction": "x"}, {}],
    "not_text": [{**GOOD, "output": 3}, {**GOOD, "input": 0}, {**GOOD, "instruction": ["x"]}],
    "empty_response": [{**GOOD, "output": None}],
    "input_not_read": [{**GOOD, "context": "It rains."}],
    "system_not_read": [{**GOOD, "system_prompt": "Be brief."}],
    "images_not_read": [{**GOOD, "images": ["a.png"]}],
}
BAD_TURNS = {
    "not_turns": ["text", None, {"role": "user"}],
    "turn_without_role": [["text"], [{"content": "x"}], [{"role": None, "content": "x"}]],
    "turn_without_text": [[USER, {"role": "assistant"}], [USER, {"role": "assistant", "content": None}]],
    "unknown_role": [[USER, {"role": "bing", "content": "x"}], [USER, {"role": ["x"], "content": "x"}]],
    "part_not_text": [[{"role": "user", "content": [{"type": "image", "text": None}]}, ANSWER]],
    "not_text": [[{"role": "user", "content": 7}, ANSWER]],
    "calls_not_read": [[USER, {**ANSWER, "tool_calls": [{"function": {}}]}], [USER, {**ANSWER, "tool_calls": 7}]],
    "reasoning_content_not_read": [[USER, {**ANSWER, "reasoning_content": "Hm."}]],
}  # fmt: skip


@pytest.mark.parametrize("named", [True, False])
def test_no_malformed_row_costs_the_others(tmp_path, named):
    rows = [(row, kind) for kind, rows in BAD.items() for row in rows]
    rows += [({"instruction": "x"}, "missing_column")]
    rows = [({**row, "id": n} if named and isinstance(row, dict) else row, kind) for n, (row, kind) in enumerate(rows)]
    good = {**GOOD, **({"id": "good"} if named else {})}
    for order in ([*rows, (good, None)], [(good, None), *rows]):  # the format is that of the first row that has one
        found = read(tmp_path, *(row for row, _ in order), bad_rows="exclude")
        assert [row.failure for row in found] == [kind for _, kind in order]
    turns = [(turns, kind) for kind, all_turns in BAD_TURNS.items() for turns in all_turns]
    found = read(
        tmp_path, *({"messages": turns} for turns, _ in turns), {"messages": [USER, ANSWER]}, bad_rows="exclude"
    )
    assert [row.failure for row in found] == [*(kind for _, kind in turns), None]


def test_a_part_that_is_left_out_on_purpose_is_not_refused(tmp_path):
    tools = {"tools": [{"name": "add"}], "functions": [{"name": "add"}]}
    assert pair(tmp_path, {**GOOD, **tools}, columns={"tools": ""}) == ("Say 1.", "One.")
    assert pair(tmp_path, {**GOOD, "input": "x", "context": "y"}, columns={"input": ""}) == ("Say 1.", "One.")
    assert pair(tmp_path, {**GOOD, "system": "x"}, columns={"system": ""}) == ("Say 1.", "One.")
    with pytest.raises(UserError, match=r"--columns tools="):
        pair(tmp_path, {**GOOD, **tools})


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".tsv"])
@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
def test_a_text_file_may_be_compressed_and_its_subset_is_plain(tmp_path, suffix, compression):
    rows = [{"instruction": f'Say "{n}",\n{n}.', "output": f"\tWell {n}ü."} for n in range(3)]
    written = write_rows(PoolConfig(path=str(tmp_path / "none")), (), tmp_path)
    assert written.suffix == ".jsonl"
    plain = tmp_path / f"plain{suffix}"
    if suffix in (".csv", ".tsv"):
        with plain.open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, rows[0], delimiter="," if suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    else:
        plain.write_text(json.dumps(rows) if suffix == ".json" else "".join(json.dumps(r) + "\n" for r in rows))
    content = codecs.BOM_UTF8 + plain.read_bytes()
    path = tmp_path / f"pool{suffix}{compression}"
    if compression == ".zst":
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes(gzip.compress(content) if compression else content)
    found = read_pool(PoolConfig(path=str(path)))
    assert [row.raw for row in found] == rows
    subset = write_rows(PoolConfig(path=str(path)), found[1:], tmp_path)
    assert subset.name == f"subset{suffix}" and [r.raw for r in read_pool(PoolConfig(path=str(subset)))] == rows[1:]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
@pytest.mark.parametrize("compression", [".gz", ".zst"])
def test_half_of_a_compressed_file_is_refused(tmp_path, suffix, compression):
    path = tmp_path / f"pool{suffix}{compression}"
    with pa.output_stream(str(path), compression={".gz": "gzip", ".zst": "zstd"}[compression]) as stream:
        stream.write(json.dumps([{"instruction": str(n), "output": str(n**99)} for n in range(999)]).encode())
    path.write_bytes(path.read_bytes()[:-999])
    with pytest.raises(UserError, match=rf"pool{suffix}{compression}: not a whole {compression} file \("):
        read_pool(PoolConfig(path=str(path)))


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("text", ["1" * 5000, "[" * 100_000])
def test_json_that_python_cannot_read_is_refused(tmp_path, suffix, text):
    path = tmp_path / f"pool{suffix}"
    path.write_text(f'[{{"instruction": {text}' if suffix == ".json" else f'{{"instruction": {text}')
    with pytest.raises(UserError, match=rf"pool{suffix}.*JSON that cannot be read"):
        read_pool(PoolConfig(path=str(path)))


def test_a_csv_line_of_more_or_fewer_cells_is_a_bad_row(tmp_path):
    path = tmp_path / "pool.csv"
    path.write_text("instruction,output\na,b\nc\nd,e,f\n\ng,h\n")
    found = read_pool(PoolConfig(path=str(path), bad_rows="exclude"))
    assert [row.failure for row in found] == [None, "not_an_object", "not_an_object", None]
    path.write_text('instruction,output\n"a,b\n')
    with pytest.raises(UserError, match=r"line 2: not CSV"):
        read_pool(PoolConfig(path=str(path)))


def test_text_in_utf16_and_utf32_is_refused_by_name_with_and_without_a_mark(tmp_path):
    for encoding, name in (
        ("utf-16", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("utf-16-le", "UTF-16LE"),
        ("utf-16-be", "UTF-16BE"),
    ):
        for suffix in (".json", ".jsonl", ".csv"):
            path = tmp_path / f"pool{suffix}"
            path.write_bytes(json.dumps(GOOD).encode(encoding))
            with pytest.raises(UserError, match=rf"is in {name}\. Save it as UTF-8"):
                read_pool(PoolConfig(path=str(path)))


def test_a_pattern_is_its_files_one_behind_the_other_and_their_content_is_its_identity(demo, tmp_path):
    for name, word in (("b", "two"), ("a", "one")):
        (tmp_path / "shards").mkdir(exist_ok=True)
        (tmp_path / "shards" / f"{name}.jsonl").write_text(json.dumps({**GOOD, "output": word, name: 1}) + "\n")
    pool = PoolConfig(path=str(tmp_path / "shards" / "*.jsonl"))
    assert [row.response for row in read_pool(pool)] == ["one", "two"]
    before = identity(pool, Hasher())
    (tmp_path / "shards" / "c.jsonl").write_text(json.dumps(GOOD) + "\n")
    assert identity(pool, Hasher()) != before
    subset = write_rows(pool, read_pool(pool)[1:], tmp_path)
    assert subset.name == "subset.jsonl" and len(read_pool(PoolConfig(path=str(subset)))) == 2
    nothing = PoolConfig(path=str(tmp_path / "*.none"))
    for look in (read_pool, lambda pool: identity(pool, Hasher())):
        with pytest.raises(UserError, match="names no file"):
            look(nothing)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: n\nbaselines: [all]\npool: {{path: shards/*.jsonl}}\nmodel: {{path: {demo / 'model'}}}\n"
        "arms: {all: {select: {strategy: full}}}\n"
    )
    [row] = load(recipe).rows
    assert row.config.pool.path == pool.path


def test_a_pattern_is_selected_from_checked_first_and_published(tmp_path):
    (tmp_path / "shards").mkdir()
    for name in "ab":
        rows = [{**GOOD, "output": f"{name}{n}"} for n in range(5)]
        (tmp_path / "shards" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pattern, runs, subset = str(tmp_path / "shards" / "*.jsonl"), tmp_path / "runs", tmp_path / "subset.jsonl"
    chosen = ("select", pattern, "--strategy", "random", "--ratio", 0.4, "--out", subset, "--runs-dir", runs)
    assert "4 of 10 rows" in call(*chosen)
    call("publish", subset, "--runs-dir", runs, "--out", tmp_path / "card")
    card = (tmp_path / "card" / "README.md").read_text()
    assert "4 of 10 rows" in card and "*.jsonl, sha256 " in card
    (tmp_path / "shards" / "c.jsonl").write_text(json.dumps({**GOOD, "output": ""}) + "\n")
    assert "1 of 11 rows cannot be used" in call(*chosen, rc=1)
    assert "names no file" in call("select", tmp_path / "*.none", *chosen[2:], rc=1)
    assert "POOL reads" in call("select", pattern, *chosen[2:6], "--out", tmp_path / "shards" / "a.jsonl", rc=1)


def test_a_saved_dataset_is_read_by_its_split(tmp_path):
    from datasets import Dataset, DatasetDict

    Dataset.from_list([GOOD]).save_to_disk(tmp_path / "one")
    DatasetDict({"train": Dataset.from_list([GOOD]), "test": Dataset.from_list([GOOD] * 2)}).save_to_disk(
        tmp_path / "two"
    )
    assert len(read_pool(PoolConfig(path=str(tmp_path / "one")))) == 1
    assert len(read_pool(PoolConfig(path=str(tmp_path / "two"), split="test"))) == 2
    with pytest.raises(UserError, match="no split 'dev'; it has train, test"):
        read_pool(PoolConfig(path=str(tmp_path / "two"), split="dev"))


def test_a_folder_is_read_by_a_slice_of_its_split(tmp_path):
    (tmp_path / "pool").mkdir()
    parquet.write_table(
        pa.Table.from_pylist([{**GOOD, "output": str(n)} for n in range(10)]), tmp_path / "pool" / "train.parquet"
    )
    rows = read_pool(PoolConfig(path=str(tmp_path / "pool"), split="train[:20%]"))
    assert [row.response for row in rows] == ["0", "1"]


def test_a_turn_that_a_template_leaves_out_is_a_bad_row_of_the_training(demo):
    from selectit.config import ModelConfig

    tokenizer = load_tokenizer(ModelConfig(path=str(demo / "model")))
    tool = {"role": "tool", "content": "It is 21."}
    for template in ("alpaca", "llmzoo"):
        form = load_form(template, tokenizer)
        with pytest.raises(BadRow):
            form.encode([USER, ANSWER, tool, ANSWER])
    with pytest.raises(BadRow, match="leaves out the words of a tool turn"):
        load_form("llmzoo", tokenizer).encode([USER, ANSWER, tool, ANSWER])


def invoke(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("command", ["score", "losses", "select", "finetune"])
def test_every_field_of_a_pool_is_an_option_of_every_command_on_a_file(command):
    options = {name for param in typer.main.get_command(app).commands[command].params for name in param.opts}  # type: ignore[attr-defined]
    renamed = {"revision": "pool-revision"}
    for field in PoolConfig.model_fields.keys() - {"path", "sample"}:
        assert f"--{renamed.get(field, field).replace('_', '-')}" in options


def test_the_options_of_a_pool_reach_it(tmp_path):
    turns = [{"from": "me", "value": "Q"}, {"from": "bing", "value": "A"}]
    rows = [{"id": 1, "dialog": turns, "n": n} for n in range(4)] + [{"id": 1, "dialog": None}]
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ["select", path, "--strategy", "full", "--out", tmp_path / "s.jsonl", "--runs-dir", tmp_path / "runs"]
    options = ["--columns", "conversation=dialog", "--roles", "user=me", "--roles", "assistant=bing"]
    options += ["--ids", "position", "--format", "messages"]
    result = invoke(*common, *options)
    assert result.exit_code == 1 and "--bad-rows exclude" in str(result.exception) + result.output
    result = invoke(*common, *options, "--bad-rows", "exclude", "--limit", 3)
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()] == rows[:3]
    for wrong, words in (
        (["--columns", "answer=a"], "PART is one of instruction"),
        (["--columns", "response"], "PART=NAME"),
        (["--columns", "response=a", "--columns", "response=b"], "given twice"),
        (["--format", "csv"], "question_answer"),
    ):
        result = invoke(*common, *wrong)
        assert result.exit_code == 1 and words in str(result.exception)
