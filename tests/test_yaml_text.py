"""YAML is read as it is written, and what would be lost or changed is refused in one sentence with its line."""

from __future__ import annotations

import pytest

from selectit import yaml_text
from selectit.errors import UserError

AS_TEXT = ("yes", "No", "on", "off", "y", "1:30", "1_000", "2026-01-01", "0b101", "=", "1e", "0x", "1.2.3", "tRuE")
NUMBERS = {
    "3": 3,
    "-7": -7,
    "+5": 5,
    "0": 0,
    "0x1F": 31,
    "0o17": 15,
    "2e-5": 2e-5,
    "1.0e+3": 1000.0,
    ".5": 0.5,
    "5.": 5.0,
}


@pytest.mark.parametrize("text", AS_TEXT)
def test_what_yaml_1_2_does_not_know_as_a_number_or_truth_is_text(text):
    assert yaml_text.parse(f"a: {text}", "it") == {"a": text}


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_have_the_value_and_the_type_that_they_show(text):
    found = yaml_text.parse(f"[{text}]", "it")[0]
    assert found == NUMBERS[text] and type(found) is type(NUMBERS[text])


def test_truths_nulls_and_quotes():
    reported = yaml_text.parse("[true, FALSE, null, ~, '3', \"true\", !!str 3]", "it")
    assert reported == [True, False, None, None, "3", "true", "3"]
    assert yaml_text.parse("a:\nyes: 1\n7: x\n", "it") == {"a": None, "yes": 1, "7": "x"}


REFUSED = {
    "a: 1\nb: 042": "it, line 2: found 042; write 42 for the number, or '042' for text",
    "a: -007.5": "write -7.5 for the number",
    "a: .inf": "it, line 1: found .inf; a number here is finite",
    "a: .NaN": "found .NaN",
    "a: 1e999": "too large",
    "\na: 1\nb: {a: 2, c: 3, a: 4}": "it, line 3: the key 'a' stands twice in one mapping (also in line 3)",
    "? {a: 1}\n: 2": "it, line 1: a mapping stands as a key",
    "[a]: 2": "it, line 1: a list stands as a key",
    "a: [1\nb: 2": "line 2: not YAML",
    "a: !!python/object:os.system x": "is not read; write the value",
    "a: !mine 3": "the tag !mine is not read",
    "a: *gone": "undefined alias 'gone'",
    "a: &x {b: *x}": "an alias stands inside of what it repeats",
    "a: 1\n---\nb: 2": "another document",
    "b: {<<: 3}": "`<<` takes a mapping",
    "a: 'x\0'": "cannot stand in YAML",
    "[" * 2000: "nested too deeply",
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{c}: &{c} [{', '.join([f'*{p}'] * 9)}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=True)): "values",
}


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_read_as_it_stands_is_one_sentence_with_its_line(text):
    with pytest.raises(UserError) as error:
        yaml_text.parse(text, "it")
    assert REFUSED[text] in str(error.value) and "\n" not in str(error.value)


def test_merge_keys_give_what_is_not_given_itself_and_the_first_of_several_wins():
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {y: 9, <<: *a}\nd: {<<: [*b, *a]}\ne: {'<<': 5}\n"
    reported = yaml_text.parse(text, "it")
    assert (reported["c"], reported["d"], reported["e"]) == ({"x": 1, "y": 9}, {"x": 1, "y": 3, "z": 4}, {"<<": 5})


def test_encodings_are_named_and_a_byte_order_mark_of_utf_8_is_dropped(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes("a: é\n".encode("utf-8-sig"))
    assert yaml_text.read(path, "it") == {"a": "é"}
    for encoding, wanted in (
        ("latin-1", "it, line 2: byte 0xe9 is not UTF-8 (in Latin-1 it is 'é')"),
        ("utf-16", "it is UTF-16 text; save it as UTF-8"),
        ("utf-32", "UTF-32"),
        ("utf-16-be", "cannot stand in YAML"),
    ):
        path.write_bytes("b: 1\na: é\n".encode(encoding))
        with pytest.raises(UserError) as error:
            yaml_text.read(path, "it")
        assert wanted in str(error.value) or "UTF-16" in str(error.value)


VALUES = (
    "042", "1e5", "1e-5", "yes", "1:30", "0x1F", "0o7", "1_000", ".inf", "null", "~", "", "<<", "2026-01-01", "5.",
    "+5", "true", "a: b", "é", "x\ny", 1e-5, 1e22, 0.1, True, None, 3,
)  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_dumped_is_read_back_as_the_same_value(value):
    found = yaml_text.parse(yaml_text.dump({str(value): [value]}), "it")
    assert found == {str(value): [value]} and type(found[str(value)][0]) is type(value)
