"""What scoring and selecting make of texts that cannot be read, rated or distinguished."""

from __future__ import annotations

import datetime
import decimal
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from rich.console import Console
from typer.testing import CliRunner

from selectit.cli.app import app
from selectit.config import ModelConfig, PoolConfig, ScoreStage
from selectit.config.inputs import SampleConfig
from selectit.data.arrow_rows import rows_of
from selectit.data.pool import read_pool, write_rows
from selectit.errors import UserError
from selectit.inference.batch import NO_RESPONSE_TOKEN
from selectit.inference.load import load_tokenizer
from selectit.report.sections.raters import _text_form
from selectit.scoring import stage
from selectit.scoring.prompts import SUFFIX, rating_text, read_rating_prompts
from selectit.scoring.texts import rating_texts
from selectit.tracking import Tracker

HALF = "broken emoji \ud83d end"
ROWS = [{"instruction": f"Say {n}.", "input": "", "output": f"well {n}"} for n in range(6)]


def spoilt(column: str, named: bool) -> list[dict]:
    rows = [{**row, **({"id": f"row {n}"} if named else {})} for n, row in enumerate(ROWS)]
    rows[3] = {**rows[3], column: {"deep": [HALF]} if column == "extra" else HALF}
    if column == "key":
        rows[3] = {**rows[3], HALF: 1}
    return rows


def invoke(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize(
    ("column", "named"),
    [
        *((column, named) for column in ("output", "instruction", "extra", "key") for named in (True, False)),
        ("id", True),
    ],
)
def test_half_a_character_in_any_column_is_a_bad_row_before_anything_is_rated(column, named, suffix, tmp_path):
    rows = spoilt(column, named)
    path = tmp_path / f"pool{suffix}"
    path.write_text(json.dumps(rows) if suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"1 of 6 rows cannot be used: row 3 \(.*\): lone surrogate.*'exclude'"):
        read_pool(PoolConfig(path=str(path)))
    found = read_pool(PoolConfig(path=str(path), bad_rows="exclude"))
    assert [row.failure for row in found] == [None] * 3 + ["lone_surrogate"] + [None] * 2
    for row in found:
        row.row_id.encode()
    out, runs = tmp_path / f"s{suffix}", tmp_path / "runs"
    result = invoke("select", path, "--strategy", "length", "--set", "unit=chars", "--out", out, "--runs-dir", runs)
    assert result.exit_code == 1 and "lone surrogate" in (result.output + str(result.exception))
    assert not list(runs.glob("artifacts/*/scores.jsonl"))
    common = ["select", path, "--strategy", "random", "--bad-rows", "exclude", "--runs-dir", runs]
    result = invoke(*common, "--ratio", 0.9, "--out", out)
    assert result.exit_code == 0, result.output
    assert [row.raw["instruction"] for row in read_pool(PoolConfig(path=str(out)))] == [
        row["instruction"] for n, row in enumerate(ROWS) if n != 3
    ]


def test_half_a_character_costs_no_rating(demo, tmp_path):
    path = tmp_path / "pool.json"
    path.write_text(json.dumps(spoilt("output", named=True)))
    common = ["select", path, "--model", demo / "model", "--out", tmp_path / "s.json", "--runs-dir", tmp_path / "runs"]
    result = invoke(*common, "--set", "num_rating_prompts=1", "--ratio", 0.5)
    assert result.exit_code == 1 and not list((tmp_path / "runs").glob("artifacts/*/ledger*"))
    result = invoke(*common, "--set", "num_rating_prompts=1", "--ratio", 0.5, "--bad-rows", "exclude")
    assert result.exit_code == 0, result.output
    selection = json.loads(next((tmp_path / "runs").glob("artifacts/select-*/selection.json")).read_text())
    assert selection["failures"] == {"lone_surrogate": 1} and selection["num_selected"] == 3


def test_bytes_that_are_not_utf8_in_parquet_are_a_bad_row(tmp_path):
    texts = pa.array([b"fine", b"half \xed\xa0\xbd", b"fine"]).view(pa.binary())
    bad = pa.Array.from_buffers(pa.string(), 3, texts.buffers())
    nested = pa.ListArray.from_arrays([0, 1, 2, 3], pa.StructArray.from_arrays([bad], ["text"]))
    good = pa.array(["a", "b", "c"])
    for column, values in (("extra", bad), ("nested", nested)):
        table = pa.table({"instruction": good, "output": good, column: values})
        parquet.write_table(table, tmp_path / f"{column}.parquet")
        rows = read_pool(PoolConfig(path=str(tmp_path / f"{column}.parquet"), bad_rows="exclude"))
        assert [row.failure for row in rows] == [None, "lone_surrogate", None]
        assert [row.response for row in rows] == ["a", "", "c"]


TYPES = {
    "when": [datetime.datetime(2024, 1, 2, 3, 4, 5), None],
    "day": [datetime.date(2024, 1, 2), None],
    "price": [decimal.Decimal("1.50"), None],
    "blob": [b"\x00\xff", None],
    "took": [datetime.timedelta(seconds=90), None],
    "nested": [{"at": [datetime.time(3, 4)]}, None],
}


def test_text_that_is_not_utf8_is_found_in_every_nested_type_and_bytes_next_to_it_stay_bytes():
    texts = pa.array([b"fine", b"half \xff", b"fine"])
    bad = pa.Array.from_buffers(pa.string(), 3, texts.buffers())
    raw = pa.array([b"\xfe", None, b"\xfd"])
    ones = pa.array(range(4), pa.int32())
    half = b"half \xff".decode("utf-8", "surrogateescape")
    columns = {
        "map": (pa.MapArray.from_arrays(ones, bad, raw), lambda text, blob: [(text, blob)]),
        "list": (pa.ListArray.from_arrays(ones, bad), lambda text, blob: [text]),
        "large": (pa.LargeListArray.from_arrays(ones.cast(pa.int64()), bad), lambda text, blob: [text]),
        "fixed": (pa.FixedSizeListArray.from_arrays(bad, 1), lambda text, blob: [text]),
        "struct": (pa.StructArray.from_arrays([bad, raw], ["t", "b"]), lambda text, blob: {"t": text, "b": blob}),
        "view": (bad.cast(pa.binary()).cast(pa.binary_view()).cast(pa.string_view(), safe=False), lambda text, _: text),
    }
    for name, (column, expected) in columns.items():
        batch = pa.RecordBatch.from_arrays([column, raw], ["text", "blob"])
        found = rows_of(batch)
        assert [row["text"] for row in found] == [
            expected(text, blob) for text, blob in zip(("fine", half, "fine"), raw.to_pylist(), strict=True)
        ], name
        assert [row["blob"] for row in found] == [b"\xfe", None, b"\xfd"], name


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_bytes_that_are_not_utf8_in_json_are_a_bad_row(suffix, tmp_path):
    lines = [json.dumps(row).encode() for row in ROWS]
    lines[3] = lines[3].replace(b"well 3", b"well \xe9")
    path = tmp_path / f"pool{suffix}"
    path.write_bytes(b"\n".join(lines) if suffix == ".jsonl" else b"[" + b",".join(lines) + b"]")
    with pytest.raises(UserError, match=r"1 of 6 rows cannot be used: row 3 \(.*\): lone surrogate"):
        read_pool(PoolConfig(path=str(path)))
    pool = PoolConfig(path=str(path), bad_rows="exclude")
    assert [row.failure for row in read_pool(pool)] == [None] * 3 + ["lone_surrogate"] + [None] * 2
    path.write_bytes("\n".join(map(json.dumps, ROWS)).encode("utf-16"))
    with pytest.raises(UserError, match="is in UTF-16"):
        read_pool(PoolConfig(path=str(path)))


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()])
def test_rows_with_columns_that_arrow_cannot_take_from_are_drawn_and_written(kind, tmp_path):
    values = pa.array([f"value {n}" for n in range(9)]).cast(pa.binary()).cast(kind)
    names = pa.array([f"row {n}" for n in range(9)])
    table = pa.table({"instruction": names, "output": names, "extra": values})
    parquet.write_table(table, tmp_path / "pool.parquet")
    pool = PoolConfig(path=str(tmp_path / "pool.parquet"))
    rows = read_pool(pool)
    path = write_rows(pool, [rows[1], rows[7]], tmp_path / "..", "chosen")
    assert parquet.read_table(path).to_pylist() == table.slice(1, 1).to_pylist() + table.slice(7, 1).to_pylist()
    drawn = read_pool(pool.model_copy(update={"sample": SampleConfig(num_rows=4, seed=1)}))
    whole = {row.raw["instruction"]: row.raw for row in rows}
    assert len(drawn) == 4 and all(row.raw == whole[row.raw["instruction"]] for row in drawn)


def test_times_bytes_and_decimals_in_other_columns_are_kept(tmp_path):
    columns = {"instruction": ["a", "b"], "output": ["c", "d"], **TYPES}
    folder = tmp_path / "shards"
    folder.mkdir()
    parquet.write_table(pa.table(columns), folder / "train.parquet")
    for place in (folder, folder / "train.parquet"):
        pool = PoolConfig(path=str(place))
        path = write_rows(pool, read_pool(pool)[:1], tmp_path)
        if path.suffix == ".parquet":
            assert parquet.read_table(path).equals(pa.table(columns).slice(0, 1))
            continue
        [row] = [json.loads(line) for line in path.read_text().splitlines()]
        assert row == {
            "instruction": "a", "output": "c", "when": "2024-01-02T03:04:05", "day": "2024-01-02", "price": "1.50",
            "blob": "AP8=", "took": 90.0, "nested": {"at": ["03:04:00"]},
        }  # fmt: skip
    assert len({row.row_id for row in read_pool(PoolConfig(path=str(folder)))}) == 2
    common = ["select", folder, "--strategy", "random", "--ratio", 1, "--runs-dir", tmp_path / "runs"]
    result = invoke(*common, "--out", tmp_path / "s.jsonl")
    assert result.exit_code == 0, result.output


WRITTEN = "Rate it.\nWeigh it \t\n"
FILES = {
    "utf8": (WRITTEN.encode(), None),
    "bom": (b"\xef\xbb\xbf" + WRITTEN.encode(), None),
    "windows": (WRITTEN.replace("\n", "\r\n").encode(), None),
    "utf16": (WRITTEN.encode("utf-16"), "is in UTF-16.*iconv -f UTF-16 "),
    "utf16, big": (b"\xfe\xff" + WRITTEN.encode("utf-16-be"), "is in UTF-16"),
    "utf32": (WRITTEN.encode("utf-32"), "is in UTF-32"),
    "utf16 without a mark": (WRITTEN.encode("utf-16-le"), "UTF-16 without a byte-order mark"),
    "latin1": ("Rate.\nBewerte größer.\n".encode("latin-1"), "line 2: byte 0xF6.*Latin-1 or Windows-1252"),
}


@pytest.mark.parametrize("name", FILES)
def test_rating_prompts_are_the_same_in_any_utf8_file_and_refused_by_name_in_others(name, tmp_path):
    content, refused = FILES[name]
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    for fidelity in ("corrected", "released_code"):
        if refused is None:
            assert read_rating_prompts(str(path), fidelity) == ("Rate it.\n\n", "Weigh it \t\n\n")
        else:
            with pytest.raises(UserError, match=refused):
                read_rating_prompts(str(path), fidelity)


def config_of(pool, demo, **settings) -> ScoreStage:
    model = ModelConfig(path=str(demo / "model"))
    return ScoreStage(pool=PoolConfig(path=str(pool)), model=model, prompts=("Rate it.\n\n",), **settings)


def test_a_response_that_the_limit_takes_away_is_a_failure_and_not_a_rating(demo, tmp_path):
    """Five answers behind one long instruction; a limit that leaves a part of each rates them, a smaller one none."""
    long = "The committee met again. " * 20
    rows = [{"instruction": long, "input": "", "output": "no " * n + "yes " * 30} for n in range(1, 6)]
    path = tmp_path / "pool.json"
    path.write_text(json.dumps([*rows, {"instruction": "Hi.", "input": "", "output": "Hello."}]))
    tokenizer = load_tokenizer(ModelConfig(path=str(demo / "model")))
    own = read_pool(PoolConfig(path=str(path)))
    asked = len(tokenizer(f"Rate it.\n\nInstruction:{long}\nResponse:")["input_ids"])
    written = rating_text("Rate it.\n\n", long, own[0].response)
    offsets = tokenizer(written, return_offsets_mapping=True)["offset_mapping"]
    tail = sum(end > len(written) - len(SUFFIX) for _, end in offsets)
    whole = rating_texts(tokenizer, [[own[0]]], 0, "Rate it.\n\n")[0].ids
    for left in (-40, -1, 0, 1, 2):  # tokens of the response that the limit leaves
        limit = asked + tail + left
        [text] = rating_texts(tokenizer, [[own[0]]], 0, "Rate it.\n\n", limit)
        assert text.failure == (None if left > 0 else NO_RESPONSE_TOKEN) and text.truncated
        assert len(text.ids) == limit
        if left > 0:
            assert text.ids[: asked + left].tolist() == whole[: asked + left].tolist()
    out = tmp_path / "out"
    out.mkdir()
    found = stage.run(config_of(path, demo, max_length=asked + tail), {}, out, Tracker(out, Console(quiet=True)))
    assert found["num_failures"] == 5
    assert json.loads((out / "score.json").read_text())["failures"] == {NO_RESPONSE_TOKEN: 5}


def test_why_rows_are_not_rated_is_said_by_the_command_and_by_a_selection_that_has_none_left(demo, tmp_path):
    long = "The committee met again. " * 20
    rows = [{"instruction": long, "input": "", "output": f"yes {n}"} for n in range(3)]
    path = tmp_path / "pool.json"
    path.write_text(json.dumps([*rows, {"instruction": "Hi.", "input": "", "output": "Hello."}]))
    model = ["--model", demo / "model", "--max-length", 100]
    scored = [*model, "--num-rating-prompts", 1]
    for _ in range(2):  # the second time from what is finished
        text = " ".join(invoke("score", path, *scored, "--out", tmp_path / "s").output.split())
        assert "not rated: 3 no_response_token; these rows are ranked last and never selected" in text
    text = " ".join(invoke("losses", path, *model, "--out", tmp_path / "l").output.split())
    assert "no loss: 3 no_response_token; these rows are ranked last and never selected" in text
    path.write_text(json.dumps(rows))
    runs = ["--out", tmp_path / "x.json", "--runs-dir", tmp_path / "runs", "--ratio", 0.4]
    one = ["--set", "num_rating_prompts=1"]
    text = " ".join(invoke("select", path, *model, *one, *runs).output.split())
    assert "no row could be scored: 3 no_response_token; raise score.max_length" in text
    path.write_text(json.dumps([{**row, "output": HALF} for row in rows]))
    result = invoke("select", path, *model, *one, *runs, "--bad-rows", "exclude")
    assert "no row can be rated: 3 lone_surrogate" in str(result.exception)
    assert "none of the 3 rows may be taken" in str(result.exception)


def test_every_command_on_a_pool_can_leave_bad_rows_out(demo, tmp_path):
    """The refusal of a bad row names this cure."""
    path = tmp_path / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in spoilt("extra", False)))
    for command, more in (("score", ["--num-rating-prompts", 1]), ("losses", [])):
        arguments = [command, path, "--model", demo / "model", *more, "--out", tmp_path / command]
        assert "'exclude'" in str(invoke(*arguments).exception)
        result = invoke(*arguments, "--bad-rows", "exclude")
        assert result.exit_code == 0 and "1 lone_surrogate" in result.output
    assert "--bad-rows" in invoke("finetune", "--help").output


def test_what_score_rated_is_not_rated_again_by_select(small_pool, demo, tmp_path, monkeypatch):
    model = ["--model", demo / "model"]
    assert invoke("score", small_pool, *model, "--num-rating-prompts", 1, "--out", tmp_path / "scored").exit_code == 0
    runs = ["--set", "num_rating_prompts=1", "--out", tmp_path / "s.json", "--runs-dir", tmp_path / "runs"]
    result = invoke("select", small_pool, *model, *runs, "--reuse", tmp_path / "scored")
    assert "num_reused 40" in " ".join(result.output.split())
    for option, name in (("--dtype", "dtype"), ("--quantization", "quantization")):
        result = invoke("select", small_pool, *model, *runs, option, "3bit")
        assert f"score.models.0.{name}: found '3bit'" in str(result.exception) or (
            f"score.{name}: found '3bit'" in str(result.exception)
        )


def test_a_tolerance_without_a_verification_is_refused(small_pool, demo, tmp_path):
    for command in ("score", "losses"):
        result = invoke(command, small_pool, "--model", demo / "model", "--out", tmp_path / "o", "--tolerance", 0.1)
        assert "--tolerance belongs to --verify" in str(result.exception)


def test_a_limit_that_a_rating_prompt_fills_is_refused_before_anything_is_rated(small_pool, demo):
    prompt = "Weigh the answer with all the care that you have. " * 4 + "\n\n"
    config = config_of(small_pool, demo, max_length=40).model_copy(update={"prompts": ("Rate it.\n\n", prompt)})
    with pytest.raises(UserError, match=r"score.max_length is 40 tokens, and rating prompt 2 alone has \d+"):
        stage.preflight(config)


def test_equal_scores_are_said_aloud(tmp_path):
    rows = [{"instruction": f"Say {n}.", "input": "", "output": "same"} for n in range(10)]
    path, runs = tmp_path / "pool.json", tmp_path / "runs"
    path.write_text(json.dumps(rows))
    common = ["--strategy", "length", "--set", "unit=chars", "--ratio", 0.3, "--runs-dir", runs]
    for _ in range(2):  # the second time from what is finished
        text = invoke("select", path, *common, "--out", tmp_path / "s.json").output
        assert "all scores are equal" in text and "the last 3 usable rows" in text
    [selection] = [json.loads(file.read_text()) for file in runs.glob("artifacts/select-*/selection.json")]
    assert (selection["all_scores_equal"], selection["num_tied_at_the_cut"]) == (True, 10)

    rows[0]["output"] = "longer"
    path.write_text(json.dumps(rows))
    text = invoke("select", path, *common, "--out", tmp_path / "s.json").output
    assert "9 rows have the lowest selected score, and 2 of them were taken" in " ".join(text.split())
    for n, row in enumerate(rows):
        row["output"] = "x" * (n + 1)
    path.write_text(json.dumps(rows))
    text = invoke("select", path, *common, "--out", tmp_path / "s.json").output
    assert "scores are equal" not in text and "lowest selected score" not in text


def test_a_rater_that_answers_every_row_alike_is_named(small_pool, demo, tmp_path):
    """Its output head is zero: every token is as likely as any other, whatever it reads."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(demo / "model")
    model.model.norm.weight.data.zero_()
    model.save_pretrained(tmp_path / "model")
    load_tokenizer(ModelConfig(path=str(demo / "model"))).save_pretrained(tmp_path / "model")
    result = invoke(
        "select", small_pool, "--model", tmp_path / "model", "--set", "num_rating_prompts=2",
        "--out", tmp_path / "s.json", "--runs-dir", tmp_path / "runs",
    )  # fmt: skip
    text = " ".join(result.output.split())
    assert "the rater answers every row alike" in text and "all scores are equal" in text
    [score] = [json.loads(file.read_text()) for file in (tmp_path / "runs").glob("artifacts/score-*/score.json")]
    assert score["answer_spread"] < 1e-6
    assert "answers every row alike" in _text_form(score)
    assert "answers every row alike" not in _text_form({**score, "answer_spread": 1e-3})
    scored = ["score", small_pool, "--model", tmp_path / "model", "--num-rating-prompts", 2, "--out", tmp_path / "out"]
    for _ in range(2):
        assert "the rater answers every row alike" in " ".join(invoke(*scored).output.split())
    assert np.isfinite(score["mean_mass"])
