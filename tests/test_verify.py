"""`selectit verify`: what was changed behind a table is named, and what cannot be proven is said."""

from __future__ import annotations

import json
import shutil

import pytest
from finished_work import Work, call

from selectit.report import record
from selectit.report.record import sealed, sha256
from selectit.store.names import REPORT_RECORD


@pytest.fixture(scope="module")
def finished(tmp_path_factory, demo):
    return Work(tmp_path_factory.mktemp("finished"), demo).finish()


@pytest.fixture
def work(finished, tmp_path):
    return finished.copy(tmp_path)


def verify(work: Work, rc: int = 0) -> str:
    return call("verify", work.recipe, "--runs-dir", work.runs, rc=rc)


def test_a_whole_table_is_whole_and_every_number_is_counted(work):
    text = verify(work)
    assert "17 artifacts: 17 whole" in text
    assert (
        "every file is as it was written" in text and "made again from its artifacts: the same text and plots" in text
    )
    assert "30 numbers, each the one in its artifact" in text  # value, stderr and num_items of 2 x (1 + 2 + 2)


def test_a_copied_folder_is_verified_where_it_lies(work, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(work.runs, elsewhere)
    shutil.rmtree(work.runs)
    assert "whole" in call("verify", elsewhere / "small")
    assert call("verify", elsewhere) == call("verify", elsewhere / "small")


CHANGES = {
    "a byte of the weights": ("finetune-lora", "adapter/adapter_model.safetensors", lambda b: b[:-1] + b"]", "changed"),
    "a truncated file": ("evaluate", "items.jsonl", lambda b: b[:-5], "62 bytes, 67 when it was written"),
    "a log that is not content": ("finetune-lora", "training.json", lambda b: b.replace(b"12", b"13"), "changed"),
    "a lost file": ("score", "score.json", lambda b: None, "missing"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_is_named(work, name):
    kind, file, change, wanted = CHANGES[name]
    path = work.path(kind) / file
    after = change(path.read_bytes())
    path.unlink() if after is None else path.write_bytes(after)
    text = call("verify", work.runs / "small", rc=1)
    [line] = [line for line in text.splitlines() if file in line]
    assert wanted in line and work.path(kind).name in line
    assert wanted in call("verify", work.path(kind), rc=1)


def test_an_extra_file_is_reported_and_one_among_weights_counts_as_a_change(work):
    (work.path("score") / "verification.json").write_text("{}")  # made later, and no part of what was made
    assert "verification.json" not in call("verify", work.runs / "small")
    (work.path("score") / "notes.txt").write_text("mine")
    assert "notes.txt" in call("verify", work.runs / "small")
    (work.path("finetune-lora") / "adapter" / "more.json").write_text("{}")
    assert "what later stages read is not what the manifest describes" in call("verify", work.runs / "small", rc=1)


def test_a_number_that_is_not_its_artifacts_is_named(work):
    table = work.runs / "small" / "results.csv"
    table.write_text(table.read_text().replace("acc,0.25,", "acc,0.3,", 1))
    text = call("verify", work.runs / "small", rc=1)
    assert "1 places differ" in text and "0.3 " in text and "mmlu" in text


def with_another_mean(text: str) -> str:
    lines = text.splitlines()
    at = lines[0].split(",").index("row_mean")
    cells = lines[1].split(",")
    return "\n".join([lines[0], ",".join([*cells[:at], "0.99", *cells[at + 1 :]]), *lines[2:]]) + "\n"


BY_HAND = {
    "report.html": lambda text: text.replace("25.0", "52.0", 1),
    "report.md": lambda text: text.replace("25.0", "52.0", 1),
    "table.tex": lambda text: text.replace("25.0", "52.0", 1),
    "results.csv": with_another_mean,
    "comparisons.csv": lambda text: text.replace("selectit,", "other,", 1),
    "overlap.csv": lambda text: text + text.splitlines()[-1] + "\n",
    "report.json": lambda text: text.replace('"margin": 2.0', '"margin": 3.0', 1),
}


@pytest.mark.parametrize("file", BY_HAND)
def test_a_file_of_the_report_that_was_changed_by_hand_is_found_and_made_again(work, file):
    path = work.runs / "small" / file
    before = path.read_text()
    path.write_text(BY_HAND[file](before))
    assert path.read_text() != before
    for reported in (call("verify", work.runs / "small", rc=1), verify(work, rc=1)):
        assert any(line.split()[:2] == ["changed", file] for line in reported.splitlines())
    reported = call("report", work.recipe, "--runs-dir", work.runs)
    assert f"{file}: changed since it was written; written again" in reported and path.read_text() == before
    assert "the same text and plots" in verify(work)


def test_a_plot_is_compared_too(work):
    path = work.runs / "small" / "report.html"
    text = path.read_text()
    at = text.index("L ", text.index("<path d=", text.index("<svg")))
    path.write_text(text[: at + 2] + "9" + text[at + 2 :])
    assert "report.html" in call("verify", work.runs / "small", rc=1) and "report.html" in verify(work, rc=1)


def sealed_again(folder, change) -> None:
    """What somebody does who knows of the hashes."""
    record = json.loads((folder / REPORT_RECORD).read_text())
    change(record)
    record["files"] = {name: sha256((folder / name).read_bytes()) for name in record["files"]}
    (folder / REPORT_RECORD).write_text(json.dumps(sealed(record)))


def test_a_table_with_its_hashes_rewritten_is_found_where_the_recipe_is_named(work):
    table = work.runs / "small" / "table.tex"
    table.write_text(table.read_text().replace("25.0", "52.0"))
    sealed_again(work.runs / "small", lambda record: None)
    assert "every file is as it was written" in call("verify", work.runs / "small")
    assert "52.0" in next(line for line in verify(work, rc=1).splitlines() if "table.tex" in line)


def test_another_comparison_in_the_record_is_found_though_no_text_shows_it(work):
    def change(record):
        record["comparisons"]["found"][0]["word"] = "better"

    sealed_again(work.runs / "small", change)
    reported = verify(work, rc=1)
    assert "not what the artifacts give: comparisons.found.0.word: better, now" in reported


def test_a_report_of_another_version_is_compared_in_its_numbers(work):
    folder = work.runs / "small"

    def older(record):
        record["depends_on"]["made_with"]["code"] = "another"

    (folder / "report.md").write_text((folder / "report.md").read_text() + "a sentence that is no longer written\n")
    sealed_again(folder, older)
    reported = verify(work)
    assert "made with another version of this project; its numbers are those of the artifacts" in reported
    assert "report.md" in reported
    comparisons = folder / "comparisons.csv"
    header, first, *_ = lines = comparisons.read_text().splitlines()
    assert first.startswith("base,random,mmlu,")
    comparisons.write_text(
        "\n".join([header, first.replace("base,random,mmlu,", "base,random,bbh,"), *lines[2:]]) + "\n"
    )
    sealed_again(folder, lambda record: None)
    assert "line 2, benchmark: bbh, made again mmlu" in verify(work, rc=1)


@pytest.mark.parametrize("file", ["table.tex", "report.md", "report.html"])
def test_another_number_is_found_under_the_name_of_another_version(work, file):
    folder = work.runs / "small"

    def older(record):
        record["depends_on"]["made_with"]["code"] = "another"

    text = (folder / file).read_text()
    at = text.index("25.0", text.index({"table.tex": "midrule", "report.md": "## Results"}.get(file, 'id="results"')))
    (folder / file).write_text(f"{text[:at]}52.0{text[at + 4 :]}")
    sealed_again(folder, older)
    reported = next(line for line in verify(work, rc=1).splitlines() if line.startswith("changed"))
    assert file in reported and "52.0 in the table of results, made again 25.0" in reported


def test_a_record_without_hashes_hides_no_change(work):
    folder = work.runs / "small"
    (folder / REPORT_RECORD).write_text("{}")
    (folder / "table.tex").write_text((folder / "table.tex").read_text().replace("25.0", "52.0"))
    assert "it holds no sha256" in call("verify", folder, rc=1)
    assert "52.0" in next(line for line in verify(work, rc=1).splitlines() if "table.tex" in line)


def test_whatever_may_show_in_a_report_is_part_of_what_it_was_made_with(tmp_path, monkeypatch):
    files = ("report/render/page.css", "templates/alpaca.jinja", "text.py", "evaluate/tasks/one.yaml", "finetune/a.py")
    (tmp_path / "finetune_of_a_checkout").mkdir()
    (tmp_path / "finetune").symlink_to(tmp_path / "finetune_of_a_checkout")
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("first")
    monkeypatch.setattr(record, "ROOT", tmp_path)
    seen = set()
    for file in (None, *files):
        if file is not None:
            (tmp_path / file).write_text("second")
        record.made_with.cache_clear()
        seen.add(record.made_with()["code"])
    record.made_with.cache_clear()
    assert len(seen) == len(files) + 1 and {"python", "matplotlib", "kiwisolver"} <= record.made_with().keys()


def test_a_table_that_was_cut_off_is_a_finding(work):
    table = work.runs / "small" / "results.csv"
    table.write_text(table.read_text()[:-100])
    for reported in (call("verify", work.runs / "small", rc=1), verify(work, rc=1)):
        assert any("columns; the file" in line and "results.csv" in line for line in reported.splitlines()), reported
    table.write_bytes(b"\xff\xfe" + table.read_bytes())
    assert "it is not a table of UTF-8 text" in call("verify", work.runs / "small", rc=1)


def test_a_lost_file_of_the_report_is_missing_and_a_strange_one_is_extra(work):
    (work.runs / "small" / "table.tex").unlink()
    (work.runs / "small" / "notes.txt").write_text("mine")
    reported = call("verify", work.runs / "small", rc=1)
    assert "missing" in reported and "table.tex" in reported and "notes.txt" in reported
    (work.runs / "small" / "report.json").unlink()
    assert "report.json" in call("verify", work.runs / "small", rc=1)


def test_a_table_of_an_older_recipe_is_not_the_recipes(work):
    text = call("verify", work.recipe, "--runs-dir", work.runs, "--set", "finetune.lora.r=4", rc=1)
    assert "fingerprint" in text


def test_weights_swapped_between_folders_do_not_pass(work):
    """A whole folder in the place of another: its manifest is sound, and what was made from it says otherwise."""
    one, other = work.path("finetune-lora", 0), work.path("finetune-lora", 1)
    shutil.rmtree(one)
    shutil.copytree(other, one)
    assert f"it was made from {one.name} with content" in call("verify", work.runs / "small", rc=1)


def test_an_older_manifest_is_said_to_be_not_verifiable(work):
    path = work.path("score") / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["hashes"]
    path.write_text(json.dumps(manifest))
    text = call("verify", work.runs / "small")
    assert "16 whole, 1 not verifiable" in text and "size only" in text


def test_what_is_not_a_result_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no results.csv" in call("verify", tmp_path / "empty", rc=1)
    assert "does not exist" in call("verify", tmp_path / "absent", rc=1)


def test_hashes_of_files_are_not_part_of_a_fingerprint(work):
    manifest = json.loads((work.path("score") / "manifest.json").read_text())
    assert set(manifest["hashes"]) == set(manifest["files"]) and "hashes" not in manifest["identity"]


@pytest.mark.parametrize("file", ["result.json", "items.jsonl", "score.json", "selection.json", "scores.jsonl"])
def test_a_damaged_artifact_is_a_finding_and_no_traceback(work, file):
    kind = {"score.json": "score", "selection.json": "select", "scores.jsonl": "select"}.get(file, "evaluate")
    path = work.path(kind) / file
    content = path.read_bytes()
    path.write_bytes(b"\xff" + content[1:])
    reported = verify(work, rc=1)
    assert file in reported and "Traceback" not in reported and "changed" in reported
    (work.runs / "small" / REPORT_RECORD).unlink()
    reported = call("report", work.recipe, "--runs-dir", work.runs, rc=1)
    assert "a file of an artifact behind it is damaged" in reported and "selectit verify" in reported
