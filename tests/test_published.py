"""Files of published results: what ships is what the papers print, and a wrong file is refused with where and why."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from itertools import groupby

import pytest
import yaml

from selectit.config.recipe import SHIPPED_NUMBERS
from selectit.errors import UserError
from selectit.evaluate.benchmarks.registry import benchmarks
from selectit.recipe.load import load
from selectit.recipe.published import PublishedNumber, read_published

FOLDER = files("selectit.recipe.published")
ROWS = (
    "base", "all", "PPL min", "PPL mid", "PPL max", "entropy min", "entropy mid", "entropy max", "response length max",
    "instruction length max", "inst/resp max", "inst/resp min", "random", "IFD", "SelectIT", "ZIP", "Superfiltering",
    "InstructDiff",
)  # fmt: skip
CHECKSUMS = {
    "aime24": 78.27, "math500": 944.31, "minerva": 251.34, "olympiadbench": 356.13, "amc23": 525.66,
    "alpaca_eval_2": 146.72, "arena_hard": 39.44, "medqa": 829.76, "mmlu_medical": 958.94, "medmcqa": 761.41,
    "humaneval": 780.7, "humaneval_plus": 646.2, "mbpp": 1033.8, "mbpp_plus": 854.5, "bigcodebench": 401.5,
}  # fmt: skip
"""Sum of each of InstructDiff's columns over its 18 rows, added up apart from this project's file."""
NUMBER = {"benchmark": "gsm8k", "value": 16.0, "unit": "percent", "arm": "SelectIT", "strategy": "selectit"}


def write(tmp_path, content):
    path = tmp_path / "numbers.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def test_the_papers_that_ship_can_be_named_and_the_template_cannot():
    assert {"selectit", "instructdiff", "nait", "miwv", "wici"} <= set(SHIPPED_NUMBERS)
    assert "TEMPLATE" not in SHIPPED_NUMBERS


def test_instructdiffs_tables_are_whole():
    numbers = read_published("instructdiff").numbers
    assert len(numbers) == 18 * (5 + 1 + 2 + 1 + 3 + 1 + 5 + 1)
    for _, table in groupby(numbers, key=lambda number: number.table):
        assert tuple(dict.fromkeys(number.arm for number in table)) == ROWS
    columns = Counter(number.benchmark for number in numbers)
    assert columns == {**dict.fromkeys(CHECKSUMS, 18), "average": 4 * 18}
    assert all(number.table and number.model for number in numbers)


def test_instructdiffs_averages_are_those_of_its_cells_within_rounding():
    off = []
    for (_, arm), row in groupby(read_published("instructdiff").numbers, key=lambda number: (number.table, number.arm)):
        *cells, average = row
        assert average.benchmark == "average"
        rounding = 0.051 if average.table and "code" in average.table else 0.0101
        if abs(sum(cell.value for cell in cells) / len(cells) - average.value) > rounding:
            off.append((arm, average.value))
    assert off == [("ZIP", 22.61)]  # printed so; its cells give 22.67


@pytest.mark.parametrize("benchmark", CHECKSUMS)
def test_instructdiffs_columns_add_up(benchmark):
    values = [number.value for number in read_published("instructdiff").numbers if number.benchmark == benchmark]
    assert sum(values) == pytest.approx(CHECKSUMS[benchmark], abs=1e-6)


def test_the_four_rows_that_once_stood_under_selectit_are_instructdiffs():
    cells = {
        (n.benchmark, n.value): n for n in read_published("instructdiff").numbers if n.strategy == "selectit"
    }  # fmt: skip
    for at in (("aime24", 4.15), ("alpaca_eval_2", 7.84), ("medqa", 46.11), ("humaneval", 48.2)):
        assert cells[at].arm == "SelectIT" and cells[at].training == "full"
    math = cells["aime24", 4.15]
    assert (math.model, math.pool_rows, math.ratio) == ("Qwen/Qwen2.5-7B", 10000, 0.1)
    assert (math.finetune["learning_rate"], math.finetune["global_batch_size"]) == (5e-5, 256)
    assert (math.finetune["num_train_epochs"], math.finetune["max_length"], math.items) == (3, 2048, 30)
    own = read_published("selectit").numbers
    assert {n.value for n in own if n.benchmark} == {55.7, 61.2, 84.2}
    assert {n.value for n in own if n.subset} == {176.09, 208.27, 241.85, 4.34, 1.83, 8.55}


def test_the_medical_protocol_is_known_whole_and_the_others_in_parts():
    for number in read_published("instructdiff").numbers:
        is_medical = number.benchmark in ("medqa", "medmcqa", "mmlu_medical")
        assert (number.profile == "instructdiff-medical") == is_medical or number.benchmark == "average"
        assert not is_medical or number.evaluate["prompts"] == "instructdiff"


def test_an_untrained_row_has_nothing_of_its_tables_training():
    base = [n for n in read_published("instructdiff").numbers if n.arm == "base"]
    assert len(base) == 19
    assert all((n.pool, n.ratio, n.finetune, n.training) == (None, None, {}, "none") for n in base)
    assert all(n.ratio == 1 for n in read_published("instructdiff").numbers if n.arm == "all")


def test_other_papers_hold_what_is_known_of_their_selectit_rows():
    nait = {number.arm: number.value for number in read_published("nait").numbers}
    assert nait == {"full": 36.03, "random": 35.69, "AlpaGasus": 35.18, "Q2Q": 35.68, "SelectIT": 37.16}
    miwv = {number.ratio: number.value for number in read_published("miwv").numbers}
    assert miwv == {0.01: 0.954, 0.05: 1.073, 0.1: 1.151, 0.15: 1.183}
    assert {n.value for n in read_published("wici").numbers} == {1.146, 1.227, 1.176, 1.281}
    for name in ("miwv", "wici"):  # no benchmark of ours, whatever it is called
        assert all(n.benchmark not in benchmarks() and n.unit == "number" for n in read_published(name).numbers)


def test_the_template_is_a_file_of_this_form_and_shows_every_field():
    template = FOLDER / "TEMPLATE.yaml"
    assert len(read_published(str(template)).numbers) == 9
    text = template.read_text(encoding="utf-8")
    assert [name for name in PublishedNumber.model_fields if f"{name}:" not in text] == []


def test_a_table_joins_its_settings_with_those_of_the_column_and_the_row(tmp_path):
    table = {
        "table": "2",
        "settings": {"unit": "percent", "ratio": 0.1, "finetune": {"learning_rate": 1e-5, "max_length": 512}},
        "columns": {"gsm8k": {"items": 200}, "x": {"benchmark": "mmlu"}},
        "rows": [{"arm": "A", "values": [1, 2]}, {"arm": "B", "finetune": {"max_length": 99}, "values": [None, 3]}],
    }
    found = read_published(write(tmp_path, {"source": "s", "tables": [table]})).numbers
    assert [(n.arm, n.benchmark, n.value, n.items) for n in found] == [
        ("A", "gsm8k", 1.0, 200), ("A", "mmlu", 2.0, None), ("B", "mmlu", 3.0, None),
    ]  # fmt: skip
    assert found[2].finetune == {"learning_rate": 1e-5, "max_length": 99}


REFUSED = [
    ({"modle": "x"}, r"numbers.0: modle: unknown key\. Did you mean 'model'\?"),
    ({"value": "high"}, "numbers.0: value: Input should be a valid number"),
    ({"value": float("nan")}, "found .nan; a number here is finite"),
    ({"value": 280}, "value 280 with unit percent lies outside 0 to 100"),
    ({"value": 25, "unit": "fraction"}, "value 25 with unit fraction lies outside 0 to 1"),
    ({"ratio": 20}, r"ratio: Input should be less than or equal to 1 \(found 20\); 1 is the whole pool"),
    ({"subset": "calculation_rows"}, "give one of benchmark and subset"),
    ({"benchmark": "GSM-8K"}, "benchmark GSM-8K is spelled gsm8k here"),
    ({"strategy": "selectIT"}, r"strategy 'selectIT' is not a strategy\. Did you mean 'selectit'\?"),
    ({"strategy": "none"}, "strategy none and training None: write none for both or neither"),
    ({"strategy": "none", "training": "none", "ratio": 0.2}, "an untrained model has no ratio"),
    ({"strategy": "full", "ratio": 0.2}, "strategy full takes the whole pool, and ratio is 0.2"),
    ({"select": {"levle": "token"}}, r"select.levle: unknown key\. Did you mean 'level'\?"),
    ({"select": {"level": "tokens"}}, "select.level: Input should be 'token', 'sentence' or 'model'"),
    ({"finetune": {"lora": {"rank": 8}}}, "finetune.lora.rank: unknown key"),
    ({"finetune": {"learning_rate": -1}}, "finetune.learning_rate: Input should be greater than 0"),
    ({"profile": "paper-2022"}, r"no profile 'paper-2022'\. Did you mean 'paper-2023'\?"),
    ({"profile": "translation"}, "profile translation has no benchmark gsm8k"),
    ({"profile": "full", "evaluate": {"max_gen_toks": 99}}, "evaluate.max_gen_toks is 99, and 512 in profile full"),
    ({"std": 0.5}, "std is over training runs; give num_seeds"),
    ({"judge": {"prompt": "theirs"}}, "judge.prompt: String should match"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "reported"), REFUSED, ids=[str(change)[:50] for change, _ in REFUSED])
def test_a_wrong_number_is_refused_with_its_place(tmp_path, change, reported):
    with pytest.raises(UserError, match=reported):
        read_published(write(tmp_path, {"source": "s", "numbers": [{**NUMBER, **change}]}))


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("source: a\nsource: b\nnumbers: []\n", "the key 'source' stands twice"),
        ("source: a\nnumbers: [{arm: a, benchmark: mmlu, value: 1, value: 2}]\n", "'value' stands twice"),
        ("source: a\nnumber: []\n", r"number: unknown key\. Did you mean 'numbers'\?"),
        ("- 1\n", "the file: "),
        ("source: a\n", "it has no number"),
        ("source: [\n", "not YAML"),
        ("source: a\ntables: [{table: t, columns: {mmlu: {}}, rows: [{arm: a, values: [1, 2]}]}]\n",
         r"tables.0.rows.0.values: found 2 values, and the table has 1 columns"),
        ("source: a\ntables: [{table: t, columns: {mmlu: {}}, rows: [{arm: a, unit: percent, values: [101]}]}]\n",
         r"tables.0.rows.0 \(a, mmlu\): value 101 with unit percent"),
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_refused(tmp_path, text, reported):
    with pytest.raises(UserError, match=reported):
        read_published(write(tmp_path, text))


def test_every_wrong_number_of_a_file_is_reported_at_once(tmp_path):
    numbers = [{**NUMBER, "value": 280}, NUMBER, {**NUMBER, "ratio": 20}]
    with pytest.raises(UserError, match=r"(?s)numbers\.0: value 280.*numbers\.2: ratio"):
        read_published(write(tmp_path, {"source": "s", "numbers": numbers}))


RECIPE = """
name: small
pool: {{path: {demo}/pool.json}}
model: {{path: {demo}/model}}
evaluate: {{profile: miniature, data: {demo}/benchmarks}}
arms: {{random: {{select: {{strategy: random}}}}}}
baseline: random
published: {published}
"""


def test_a_recipe_names_papers_and_files_next_to_it(tmp_path, demo):
    write(tmp_path, {"source": "s", "numbers": [NUMBER]})
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE.format(demo=demo, published="[selectit, numbers.yaml]"))
    assert load(recipe).config.published_files == ("selectit", str(tmp_path / "numbers.yaml"))
    recipe.write_text(RECIPE.format(demo=demo, published="numbers.yaml"))
    assert load(recipe).config.published_files == (str(tmp_path / "numbers.yaml"),)
    for wrong, reported in {
        "instructdif": r"there is no file instructdif\. Did you mean 'instructdiff'\?",
        "[selectit, selectit]": "selectit is named 2 times",
        "nowhere.yaml": "there is no file nowhere.yaml",
        "selectit\nmargin: 0": "margin: .*should be greater than 0",
    }.items():
        recipe.write_text(RECIPE.format(demo=demo, published=wrong))
        with pytest.raises(UserError, match=reported):
            load(recipe)
