"""Selections by a file that somebody else made: scores of another tool, and another one's subset."""

from __future__ import annotations

import codecs
import gzip
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from finished_work import Work, call
from rich.console import Console

from selectit.config import PoolConfig, SelectStage
from selectit.data.content import content_of
from selectit.data.pool import read_pool
from selectit.errors import UserError
from selectit.plan.build import build
from selectit.recipe.load import load
from selectit.report.tables.subsets import overlaps, read_subsets
from selectit.run.engine import found
from selectit.selection.registry import shipped
from selectit.selection.stage import preflight, run
from selectit.store.runs_folder import Store
from selectit.tracking import Tracker


def select(folder: Path, pool: Path, bad_rows: str = "refuse", **fields: Any) -> tuple[list[dict], dict]:
    """The lines of scores.jsonl, and selection.json."""
    of = PoolConfig(path=str(pool), bad_rows=bad_rows)
    config = SelectStage(pool=of, select=shipped().read({k: str(v) if k == "path" else v for k, v in fields.items()}))
    folder.mkdir(exist_ok=True)
    preflight(config)
    run(config, {}, folder, Tracker(folder, Console(quiet=True)))
    lines = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    return lines, json.loads((folder / "selection.json").read_text())


def taken(lines: Iterable[dict]) -> list[int]:
    return [line["row"] for line in lines if line["selected"]]


def write(path: Path, lines: Iterable[Any]) -> Path:
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def pool(tmp_path) -> Path:
    rows = [{"id": n, "instruction": f"Say {n}.", "input": "", "output": "x" * (n + 1)} for n in range(10)]
    (tmp_path / "pool.json").write_text(json.dumps(rows))
    return tmp_path / "pool.json"


SCORES = [0.5, 3, -1, 2.5, 9, 1, 0, 4, 2, 7]


@pytest.mark.parametrize(("order", "wanted"), [("high", [4, 7, 9]), ("low", [0, 2, 6])])
@pytest.mark.parametrize("key", ["row", "row_id", "both"])
def test_rows_are_taken_by_the_scores_of_a_file_whatever_its_order(pool, tmp_path, order, wanted, key):
    lines = [{"row": n, "row_id": n, "score": score, "note": "not read"} for n, score in enumerate(SCORES)]
    lines = [{k: v for k, v in line.items() if key == "both" or k in (key, "score", "note")} for line in lines]
    path = write(tmp_path / "s.jsonl", lines[::-1])
    chosen, selection = select(tmp_path / "out", pool, strategy="scores", path=path, order=order, ratio=0.3)
    assert taken(chosen) == wanted and [line["given_score"] for line in chosen] == SCORES
    assert selection["num_selected"] == 3 and selection["num_unscored"] == 0


def test_the_scores_that_select_writes_are_such_a_file(small_pool, tmp_path):
    common = ("--ratio", 0.2, "--runs-dir", tmp_path / "runs")
    length = ("--strategy", "length", "--set", "unit=words", "--scores", tmp_path / "s.jsonl")
    call("select", small_pool, *length, "--out", tmp_path / "a.json", *common)
    call(
        "select",
        small_pool,
        "--strategy",
        "scores",
        "--set",
        f"path={tmp_path}/s.jsonl",
        "--out",
        tmp_path / "b.json",
        *common,
    )
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


def test_a_null_score_is_a_failure_that_is_named_and_never_taken(pool, tmp_path):
    lines = [{"row": n, "score": score} for n, score in enumerate(SCORES)]
    lines[4] |= {"score": None, "failure": "too_long"}
    lines[9] |= {"score": None}
    chosen, selection = select(
        tmp_path / "out", pool, strategy="scores", path=write(tmp_path / "s.jsonl", lines), ratio=0.3
    )
    assert taken(chosen) == [1, 3, 7]
    assert selection["failures"] == {"too_long": 1, "no_score_given": 1} and selection["num_unscored"] == 2


def test_rows_that_cannot_be_used_need_no_line(pool, tmp_path):
    rows = json.loads(pool.read_text())
    rows[4]["output"] = ""
    pool.write_text(json.dumps(rows))
    path = write(tmp_path / "s.jsonl", [{"row_id": str(n), "score": s} for n, s in enumerate(SCORES) if n != 4])
    chosen, _ = select(tmp_path / "out", pool, bad_rows="exclude", strategy="scores", path=path, ratio=0.3)
    assert taken(chosen) == [1, 7, 9] and chosen[4]["failure"] == "empty_response"


GOOD = [{"row": n, "score": n} for n in range(10)]
WRONG = {
    "a row without a line": (GOOD[:8], r"2 of 10 rows of pool .*pool.json have no line: 8 \(8\), 9 \(9\)"),
    "two lines for one row": ([*GOOD, {"row_id": 3, "score": 1}], r"line 11: row 3 \(3\) has its score in line 4"),
    "nan": ([*GOOD[:9], '{"row": 9, "score": NaN}\n'], "line 10: score is nan; it must be finite, or null"),
    "infinity": ([*GOOD[:9], '{"row": 9, "score": -Infinity}\n'], "line 10: score is -inf"),
    "a text": ([{"row": 0, "score": "high"}], 'line 1: score is "high"; it must be a number, or null'),
    "true": ([{"row": 0, "score": True}], "line 1: score is true; it must be a number"),
    "a row of another pool": ([*GOOD[:9], {"row": 10, "score": 1}], "line 10: row 10 is not in pool .* are 0 to 9"),
    "an id of another pool": ([{"row_id": "x7", "score": 1}], "line 1: row_id 'x7' is not in pool .*its first is '0'"),
    "a place that is another's": ([{"row": 1, "row_id": 2, "score": 1}], "row_id '2' is row 2 of pool .*, not row 1"),
    "no score": ([{"row": 0}], 'line 1: found {"row": 0}; a line is'),
    "no row": ([{"score": 0.5}], "line 1: found"),
    "null for both": ([{"row": None, "row_id": None, "score": 0.5}], "line 1: found"),
    "a list": (["[1, 2]\n"], r"line 1: found \[1, 2\]; a line is"),
    "no json": (["row 1\n"], "line 1: not JSON"),
    "more than a number": ([{"row": 0, "score": 10**400}], "line 1: score is inf; it must be finite"),
    "thousands of digits": (['{"row": 0, "score": 1' + "0" * 5000 + "}\n"], "line 1: JSON that cannot be read"),
    "brackets": (["[" * 100_000 + "\n"], "line 1: JSON that cannot be read"),
    "behind blank lines": (["\n\n", {"row": 0, "score": True}], "line 3: score is true"),
    "a reason of two lines": ([{"row": 0, "score": None, "failure": "a\nb"}], r'line 1: failure is "a\\nb"; it'),
    "nothing but null": ([{"row": n, "score": None} for n in range(10)], "no row that can be selected has a score"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_not_the_scores_of_the_pool_is_refused(pool, tmp_path, name):
    lines, wanted = WRONG[name]
    with pytest.raises(UserError, match=wanted) as error:
        select(tmp_path / "out", pool, strategy="scores", path=write(tmp_path / "s.jsonl", lines), ratio=0.3)
    assert str(tmp_path / "s.jsonl") in str(error.value)
    assert not (tmp_path / "out" / "scores.jsonl").exists()


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_file_of_scores_is_utf_8_and_whole(pool, tmp_path, suffix):
    path, packed = tmp_path / f"s{suffix}", suffix == ".jsonl.gz"
    pack = gzip.compress if packed else bytes
    text = "".join(json.dumps({"row": n, "score": n, "by": "ä"}, ensure_ascii=False) + "\n" for n in range(10))
    path.write_bytes(pack(codecs.BOM_UTF8 + text.encode()))
    chosen, _ = select(tmp_path / "out", pool, strategy="scores", path=path, ratio=0.3)
    assert taken(chosen) == [7, 8, 9]
    wrong = {
        pack(text.encode("utf-16")): "not UTF-8" if packed else "UTF-16",
        pack(text.encode("latin-1")): "not UTF-8" if packed else "line 1: byte 0xE4 is",
    }
    if packed:
        wrong |= {pack(text.encode())[:40]: "not a whole .gz file", b"plain": "not a whole .gz file"}
    for content, wanted in wrong.items():
        path.write_bytes(content)
        with pytest.raises(UserError, match=wanted) as error:
            select(tmp_path / "out", pool, strategy="scores", path=path, ratio=0.3)
        assert str(path) in str(error.value)


def test_a_ratio_beyond_the_rows_with_a_score_is_found_before_anything_runs(pool, tmp_path):
    path = write(tmp_path / "s.jsonl", [*GOOD[:9], {"row": 9, "score": None}])
    stage = SelectStage(
        pool=PoolConfig(path=str(pool)), select=shipped().read({"strategy": "scores", "path": str(path), "ratio": 1.0})
    )
    with pytest.raises(UserError, match=r"select\.ratio 1\.0 of 10 rows is 10 rows, and only 9 may be taken"):
        preflight(stage)


def test_a_file_that_is_not_there_is_a_fault_of_the_recipe(demo, tmp_path):
    work = Work(tmp_path, demo)
    for strategy, path in (("scores", "none"), ("scores", "."), ("subset", "none.json")):
        work.write({**work.raw, "arms": {**work.raw["arms"], "file": {"select": {"strategy": strategy, "path": path}}}})
        with pytest.raises(
            UserError, match=r"line 2\d: arms\.file\.select\.path|select\.path: .* (does not exist|is a folder)"
        ):
            load(work.recipe)


def test_validate_finds_a_file_that_is_not_of_the_pool(demo, tmp_path):
    work = Work(tmp_path, demo)
    write(tmp_path / "s.jsonl", GOOD)
    write(tmp_path / "t.jsonl", [sharegpt("Hi.", "Ho.")])
    arms = {
        name: {"select": {"strategy": name, "path": f"./{file}.jsonl"}}
        for name, file in (("scores", "s"), ("subset", "t"))
    }
    work.write({**work.raw, "arms": {**work.raw["arms"], **arms}})
    told = call("validate", work.recipe, rc=1)
    assert "arms.scores: " in told and "10 of 20 rows of pool" in told and "have no line" in told
    assert "arms.subset: select.path" in told and "none of its 1 rows is in pool" in told


ALPACA = [
    {"instruction": "Add.", "input": "2 and 3", "output": "5"},
    {"instruction": "Sing.", "input": "", "output": "La la."},
    {"instruction": "Sing.", "input": "", "output": "La la."},
    {"instruction": "Wait.", "input": "", "output": "Yes."},
    {"instruction": "Sing.", "input": "", "output": "La."},
]


def sharegpt(instruction: str, output: str) -> dict:
    return {"id": "z", "conversations": [{"from": "human", "value": instruction}, {"from": "gpt", "value": output}]}


def test_the_rows_of_a_file_of_another_form_are_found_by_their_texts(tmp_path):
    pool = tmp_path / "pool.json"
    pool.write_text(json.dumps(ALPACA))
    theirs = [
        {**sharegpt(" Add.\n2 and 3\n", "5 "), "id": "a"}, {**sharegpt("Sing.", "La la."), "id": "b"},
        {**sharegpt("Sing.", "La la la."), "id": "c"},
    ]  # fmt: skip
    lines, selection = select(tmp_path / "out", pool, strategy="subset", path=write(tmp_path / "t.jsonl", theirs))
    assert taken(lines) == [0, 1]  # of the two that sing alike, as many as the file has
    counts = {name: selection[name] for name in ("num_rows_of_file", "num_found", "num_not_found", "num_found_twice")}
    assert counts == {"num_rows_of_file": 3, "num_found": 2, "num_not_found": 1, "num_found_twice": 1}
    assert selection["left_out"] == ["not_in_the_file"] and selection["num_unscored"] == 0
    assert json.loads((tmp_path / "out" / "subset.json").read_text()) == ALPACA[:2]

    twice = [theirs[1], {**theirs[1], "id": "d"}, {**theirs[1], "id": "e"}]
    lines, selection = select(tmp_path / "two", pool, strategy="subset", path=write(tmp_path / "t.jsonl", twice))
    assert taken(lines) == [1, 2] and (selection["num_found"], selection["num_not_found"]) == (2, 1)


def test_a_file_of_which_no_row_is_in_the_pool_is_refused(pool, tmp_path):
    with pytest.raises(
        UserError, match=r"none of its 1 rows is in pool .*pool.json; a row is found by its roles and texts"
    ):
        select(tmp_path / "out", pool, strategy="subset", path=write(tmp_path / "t.jsonl", [sharegpt("Hi.", "Ho.")]))


def test_a_fault_of_the_file_names_the_section_that_it_is_set_in(pool, tmp_path):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps([{"instruction": "Say 0.", "output": "x"}, {"instruction": "Say 1.", "output": ""}]))
    with pytest.raises(
        UserError, match=r"1 of 2 rows cannot be used.* not of `pool`, .* in `select`.*--set bad_rows=exc"
    ):
        select(tmp_path / "out", pool, strategy="subset", path=path)
    options = ("--set", f"path={path}", "--set", "bad_rows=exclude", "--out", tmp_path / "o.json")
    assert "1 of 10 rows" in call("select", pool, "--strategy", "subset", *options, "--runs-dir", tmp_path / "runs")


def test_a_subset_of_real_rows_is_found_whole(shared, tmp_path):
    """Every fifth of 999 Alpaca rows in another format; counted here by a dictionary of plain texts."""
    path = shared / "alpaca" / "alpaca_en_demo.json"
    rows = json.loads(path.read_text())
    theirs = [
        {**sharegpt(f"{r['instruction']}\n{r['input']}" if r["input"] else r["instruction"], r["output"]), "id": str(n)}
        for n, r in enumerate(rows[::5])
    ]
    lines, selection = select(tmp_path / "out", path, strategy="subset", path=write(tmp_path / "t.jsonl", theirs))
    texts = [(r["instruction"].strip(), r["input"].strip(), r["output"].strip()) for r in rows]
    counts = Counter(texts)
    assert selection["num_found"] == len(theirs) == len(taken(lines)) and selection["num_not_found"] == 0
    assert selection["num_found_twice"] == sum(counts[text] > 1 for text in texts[::5])
    assert Counter(texts[at] for at in taken(lines)) == Counter(texts[::5])


def test_content_is_roles_and_texts_and_nothing_else():
    pair = [{"role": "user", "content": "a", "input": "b"}, {"role": "assistant", "content": "c", "train": False}]
    joined = [{"role": "user", "content": " a\nb"}, {"role": "assistant", "content": "c\n"}]
    assert content_of(pair) == content_of(joined)
    for other in (joined[:1], [*joined, joined[0]], [{**joined[0], "role": "system"}, joined[1]], joined[::-1]):
        assert content_of(other) != content_of(joined)


def test_subsets_of_two_pools_overlap_by_content(demo, tmp_path):
    """The second pool has half of the rows of the first, with other ids, in another format and order."""
    work = Work(tmp_path, demo)
    rows = read_pool(PoolConfig(path=str(tmp_path / "pool.jsonl")))
    write(tmp_path / "other.jsonl", [{**sharegpt(r.instruction, r.response), "id": f"n{r.index}"} for r in rows[::-2]])
    other = {"pool": {"path": "./other.jsonl"}, "select": {"strategy": "full"}}
    longest = {"select": {"strategy": "length", "unit": "chars", "ratio": 0.4}}
    arms = {"full": {"select": {"strategy": "full"}}, "longest": longest, "other": other}
    work.write({**work.raw, "arms": {**arms, "base": {"finetune": {"method": "none"}}}, "baseline": "full"})
    work.finish()
    plan, store = build(load(work.recipe)), Store(work.runs)
    common = {(p.one.row.label, p.other.row.label): p for p in overlaps(read_subsets(plan, found(plan, store)))}
    assert common["full", "other"].num_common == 10 and common["full", "other"].jaccard == 0.5
    assert common["longest", "other"].num_common == 4  # of rows 12 to 19, the odd ones
    assert common["full", "longest"].num_common == 8
    assert "full,42,other,42,20,10,10,0.5" in (work.runs / "small" / "overlap.csv").read_text()


def test_what_was_found_of_a_subset_is_told_by_the_command_and_by_the_report(demo, tmp_path):
    work = Work(tmp_path, demo)
    rows = read_pool(PoolConfig(path=str(tmp_path / "pool.jsonl")))
    theirs = [{"instruction": r.instruction, "output": r.response} for r in rows[:3]] + [ALPACA[0]]
    write(tmp_path / "theirs.jsonl", theirs)
    told = "3 of the 4 rows of theirs.jsonl are found in the pool by their texts (not found: 1; more than once in the"
    out = ("--out", tmp_path / "s.jsonl", "--runs-dir", tmp_path / "r")
    for _ in range(2):  # the second time from what is finished
        assert told in call(
            "select", tmp_path / "pool.jsonl", "--strategy", "subset", "--set", f"path={tmp_path}/theirs.jsonl", *out
        )
    work.write(
        {
            **work.raw,
            "arms": {**work.raw["arms"], "theirs": {"select": {"strategy": "subset", "path": "./theirs.jsonl"}}},
        }
    )
    work.finish()
    report = (work.runs / "small" / "report.md").read_text()
    assert f"theirs: {told} pool: 0)." in report and "subset: the rows of theirs.jsonl, found by their texts" in report
    assert "not in the file" not in report  # rows that the rule leaves out are no failures


@pytest.mark.slow
def test_the_comparison_with_a_published_subset_runs_as_it_stands(root, demo, tmp_path):
    """The block of docs/reproduce.md, with the demonstration's pool and model and every fifth row as their subset."""
    import os
    import re
    import subprocess
    import sys

    page = (root / "docs" / "reproduce.md").read_text()
    [block] = [b for b in re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) if "THEIRS" in b]
    _, _, *lines = block.splitlines()
    rows = json.loads((demo / "pool.json").read_text())
    write(tmp_path / "pool.jsonl", rows)
    theirs = [
        {**sharegpt(r["instruction"] + (f"\n{r['input']}" if r["input"] else ""), r["output"]), "id": str(n)}
        for n, r in enumerate(rows)
    ]
    write(tmp_path / "theirs_file.jsonl", theirs[::5])
    (tmp_path / "prompts.txt").write_text("".join(f"Rate it, {n}.\n" for n in range(5)))
    settings = f"POOL=pool.jsonl THEIRS=theirs_file.jsonl RATER={demo}/model PROMPTS=prompts.txt"
    function = f'selectit() {{ "{sys.executable}" -m selectit "$@"; }}'
    script = "\n".join(["set -e", function, settings, *lines]).replace("float16", "float32")
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(theirs[::5])} of the {len(theirs[::5])} rows of theirs_file.jsonl are found" in done.stdout
    ours, chosen = ((tmp_path / f"{name}-sentence.jsonl").read_text().splitlines() for name in ("ours", "both"))
    wanted = set(map(json.dumps, rows[::5])) & {json.dumps(json.loads(line)) for line in ours}
    assert {json.dumps(json.loads(line)) for line in chosen} == wanted
