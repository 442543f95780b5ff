"""The report, from a real recipe and plan and from artifact folders written by hand."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as parquet
import pytest
import yaml
from rich.console import Console

from selectit.plan.build import build
from selectit.plan.outcome import Outcome
from selectit.recipe.load import load
from selectit.report import write_report
from selectit.report.render.terminal import print_table
from selectit.report.sections import figures, plots
from selectit.report.sections.caption import DEMONSTRATION
from selectit.report.sections.sources import given
from selectit.report.tables.subsets import overlaps, read_subsets
from selectit.report.write import Report, read_table
from selectit.scoring.ledger import SCHEMA
from selectit.store.artifact import finish
from selectit.store.fingerprint import digest
from selectit.store.kinds import KINDS
from selectit.store.runs_folder import Store

NUM_ROWS = 40
SELECTED = {"full": range(40), "random": range(0, 16, 2), "selectit": range(8)}
"""Positions that each arm takes: random and selectit share 0, 2, 4, 6."""
VALUES = {
    "base": {"mmlu": 0.25, "gsm8k": 0.05},
    "full": {"mmlu": 0.30, "gsm8k": 0.10},
    "random": {"mmlu": 0.28, "gsm8k": 0.12},
    "selectit": {"mmlu": 0.31, "gsm8k": 0.14},
}
"""At train seed 1; at seed 2 each value is 0.02 higher."""
PROMPT = "Question: how many apples are there? Answer: 3. Question: what is number {} of the long list "
PROMPT += "that the teacher of the small school wrote yesterday? Answer:"
ONLY_BASE = {"arms": {"base": {"finetune": {"method": "none"}}}, "baseline": "base"}
"""Nothing to plot, so the report is written in no time."""
EVIL = '<script>alert("1")</script>$x_1$ | `a` "&'


def row_id(index: int) -> str:
    return f"{EVIL}-{index}" if index == 39 else f"row{index}"


def messages(index: int) -> list[dict[str, str]]:
    """Row 2 is an item of the benchmarks, rows 0 to 3 are calculations."""
    asked = PROMPT.format(17) if index == 2 else f"Calculate {index} + 1." if index < 4 else "Tell a story."
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": f"Answer {index} {EVIL}"}]


class World:
    """A recipe, its plan, and finished artifacts for all its stages; tests take some away or change them."""

    def __init__(self, folder: Path, demo: Path, **changes) -> None:
        self.folder, self.runs = folder, folder / "runs"
        pool = folder / "pool.jsonl"
        rows = [{"id": row_id(i), "instruction": "a", "output": "b"} for i in range(NUM_ROWS)]
        pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
        raw = {
            "name": "small",
            "description": "A recipe <b>for tests</b>.",
            "pool": {"path": str(pool)},
            "model": {"path": str(demo / "model")},
            "evaluate": {"profile": "paper-2023", "benchmarks": ["mmlu", "gsm8k"]},
            "arms": {
                "base": {"finetune": {"method": "none"}},
                "full": {"select": {"strategy": "full"}},
                "random": {"select": {"strategy": "random"}},
                "selectit": {"select": {"strategy": "selectit"}},
            },
            "baseline": "random",
            "seeds": {"select": [7], "train": [1, 2], "eval": [42]},
            **changes,
        }
        raw = {key: value for key, value in raw.items() if value is not None}
        (folder / "small.yaml").write_text(yaml.safe_dump(raw))
        self.plan = build(load(folder / "small.yaml"))
        self.store = Store(self.runs)
        self.outcomes = {stage: Outcome(self.artifact(stage)) for stage in self.plan.stages}

    def row_of(self, stage):
        return next(row for row in self.plan.rows if stage in row.stages(stage.kind))

    def artifact(self, stage, **result):
        identity = {"kind": stage.kind, "config": stage.config.model_dump(mode="json"), "of": repr(stage.inputs)}
        fingerprint = digest(identity)
        path = self.store.folder(stage.kind, fingerprint)
        path.mkdir(parents=True, exist_ok=True)
        getattr(self, f"_{stage.kind.split('-')[0]}")(stage, path, **result)
        manifest = {
            "kind": stage.kind, "fingerprint": fingerprint, "identity": identity, "seconds": 61.5,
            "config": stage.config.model_dump(mode="json"),
            "device": "cpu, 2 threads", "finished": "2026-01-01T00:00:00+00:00", "git_commit": "abc123",
            "git_dirty": True, "libraries": {"torch": "2.13.0", "trl": None},
        }  # fmt: skip
        return finish(path, manifest, KINDS[stage.kind].outputs, KINDS[stage.kind].content)

    def _score(self, stage, path):
        parquet.write_table(SCHEMA.empty_table(), path / "ledger.parquet")
        reported = {
            "num_rows": NUM_ROWS, "num_ratings": 195, "num_failures": 5, "num_truncated": 3, "mean_mass": 0.871,
            "turns": "first", "num_answers": 1, "template": "plain", "text_alone": False,
            "answer_spread": 0.5, "reads_alone": False,
            "failures": {"no_rating_probability": 5}, "prompts": list(stage.config.prompts), "num_parameters": 10,
            "dtype": "bfloat16",
        }  # fmt: skip
        (path / "score.json").write_text(json.dumps(reported))

    def _select(self, stage, path):
        taken = set(SELECTED.get(self.row_of(stage).arm, range(8)))
        fails = {39: "no_rating_probability"} if stage.config.select.strategy == "selectit" else {}
        lines = [
            {
                "row": i, "row_id": row_id(i), "score": None if i in fails else 4 - i / 10, "rank": i + 1,
                "selected": i in taken, "failure": fails.get(i), "response_chars": 10 + i * i,
            }
            for i in range(NUM_ROWS)
        ]  # fmt: skip
        (path / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        chosen = [{"row_id": row_id(i), "messages": messages(i)} for i in sorted(taken)]
        (path / "messages.jsonl").write_text("".join(json.dumps(line) + "\n" for line in chosen))
        summary = {
            "num_rows": NUM_ROWS, "num_selected": len(taken), "num_unscored": len(fails),
            "lowest_selected_score": 4 - max(taken) / 10, "strategy": stage.config.select.strategy,
        }  # fmt: skip
        (path / "selection.json").write_text(json.dumps(summary))

    def _finetune(self, stage, path):
        (path / "adapter").mkdir(exist_ok=True)
        (path / "adapter" / "adapter_config.json").write_text(json.dumps({"stage": hash(stage)}))
        (path / "training.json").write_text(json.dumps({"num_steps": 12, "num_tokens": 3456, "final_loss": 1.25}))
        tokens = {"tokens": [20, 31, 47], "trained_tokens": [5, 6, 8]}
        (path / "row_tokens.json").write_text(json.dumps(tokens))
        lines = [{"time": 0, "step": step, "train/loss": 3 / step} for step in range(1, 13)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def _evaluate(self, stage, path, **changes):
        row = self.row_of(stage)
        [cell] = [cell for cell in row.cells if cell.stage == stage]
        value = VALUES.get(row.arm, VALUES["selectit"]).get(cell.benchmark, 0.5) + (0.02 if cell.train_seed == 2 else 0)
        reported = {
            "benchmark": cell.benchmark, "profile": "paper-2023", "metric": "acc", "value": value, "stderr": 0.013,
            "num_items": 200, "status": "scored", "reason": "", "complete": True, "notes": [], "judge": None, **changes,
        }  # fmt: skip
        (path / "result.json").write_text(json.dumps(reported))
        num_right = 200 * (reported["value"] or 0) - 0.5
        lines = [] if reported["value"] is None else [
            {"task": cell.benchmark, "item_id": i, "prompt": PROMPT.format(i), "score": float(i < num_right),
             "target": "right", "outputs": [f"{'right' if i < num_right else 'wrong'} {EVIL}"]}
            for i in range(200)
        ]  # fmt: skip
        (path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def stages(self, arm: str, kind: str, benchmark: str = ""):
        row = next(row for row in self.plan.rows if row.arm == arm)
        found = row.stages(kind)
        return [s for s in found if not benchmark or s.config.benchmark.name == benchmark]

    def fail(self, stage, reason: str, failed: bool = True):
        """Take away a stage's artifact and those of all that needs it, as the engine does."""
        self.outcomes[stage] = Outcome(None, reason=reason, failed=failed)
        for other in self.plan.stages:
            if any(self.outcomes[s].artifact is None for _, s in other.inputs):
                self.outcomes[other] = Outcome(None, reason=reason, failed=failed)

    def change(self, arm: str, benchmark: str, **result):
        for stage in self.stages(arm, "evaluate", benchmark):
            self.outcomes[stage] = Outcome(self.artifact(stage, **result))

    def report(self):
        return write_report(self.plan, self.outcomes, self.runs)

    def table(self):
        return read_table(self.plan, self.outcomes)[1]

    def text(self, name: str) -> str:
        return (self.runs / "small" / name).read_text()

    def results(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.text("results.csv").splitlines()))


@pytest.fixture
def world(tmp_path, demo):
    return lambda **changes: World(tmp_path, demo, **changes)


def line_of(table, label):
    return next(line for line in table.lines if line.label == label)


def terminal(table) -> str:
    console = Console(width=100, file=io.StringIO())
    print_table(Report(Path(), True, table), console)
    return console.file.getvalue()


def test_values_are_means_in_percent_with_their_error_over_seeds_and_items_and_the_number_of_seeds(world):
    table = world().table()
    mmlu, gsm8k = line_of(table, "random").entries
    assert (mmlu.text, gsm8k.text) == ("29.0 ± 3.3 (2)", "13.0 ± 2.5 (2)")
    assert mmlu.std == pytest.approx(statistics.stdev([28.0, 30.0]))
    assert [entry.text for entry in line_of(table, "base").entries] == ["25.0 ± 3.1", "5.0 ± 1.5"]  # over items
    assert table.columns == ("arm", "mmlu", "gsm8k", "average", "difference")
    assert [line.label for line in table.lines] == ["base", "full", "random", "selectit"]


def test_average_and_difference_are_taken_over_the_same_benchmarks(world):
    table = world().table()
    selectit, base = line_of(table, "selectit"), line_of(table, "base")
    assert selectit.average.text == "23.5 ± 2.3 (2)"
    assert (selectit.difference.text, base.difference.text) == ("+2.5", "−6.0")
    assert [entry.text for entry in selectit.differences] == ["+3.0", "+2.0"]
    assert [line.is_baseline for line in table.lines] == [False, False, True, False]


def test_spread_of_the_average_is_that_of_whole_seed_combinations(world):
    made = world()
    first, second = made.stages("full", "evaluate", "gsm8k")
    made.outcomes[first] = Outcome(made.artifact(first, value=0.20))
    made.outcomes[second] = Outcome(made.artifact(second, value=0.10))
    average = line_of(made.table(), "full").average
    assert average.std == pytest.approx(statistics.stdev([(30 + 20) / 2, (32 + 10) / 2]))


def test_a_failed_stage_is_a_missing_result_with_its_reason_in_every_output(world):
    made = world()
    for stage in made.stages("full", "evaluate", "gsm8k"):
        made.fail(stage, "RuntimeError: the sandbox <is> gone")
    table = made.report().table
    assert table.averaged == ("mmlu",)
    assert line_of(table, "selectit").average.text == "32.0 ± 3.4 (2)"  # mmlu only, in all rows
    reason = "RuntimeError: the sandbox <is> gone"
    escaped = reason.replace("<is>", "&lt;is&gt;")
    assert escaped in made.text("report.html") and reason not in made.text("report.html")
    assert f"failed: {escaped}" in made.text("report.md") and "failed [1]".replace("[1]", r"\[1\]") in made.text(
        "report.md"
    )
    failed = [line for line in made.results() if line["status"] == "failed"]
    assert [(line["value"], line["reason"]) for line in failed] == [("", reason)] * 2
    shown = terminal(table)
    assert "✗[1]" in shown and f"[1] failed: {reason}" in " ".join(shown.split())
    assert any("gsm8k (no number for full)" in sentence for sentence in table.caption)


def test_a_row_without_any_number_does_not_cost_the_others_their_average(world):
    made = world()
    for stage in made.stages("full", "finetune"):
        made.fail(stage, "OutOfMemoryError: 80 GB were not enough")
    table = made.table()
    assert table.averaged == ("mmlu", "gsm8k")
    assert [entry.text for entry in line_of(table, "full").entries] == ["failed", "failed"]
    assert line_of(table, "full").average.text == line_of(table, "full").difference.text == "–"
    assert table.notes[0].startswith("failed: OutOfMemoryError") and len(table.notes) == 1


def test_a_seed_that_failed_leaves_the_mean_of_the_others_with_a_note(world):
    made = world()
    made.fail(made.stages("full", "finetune")[1], "killed")
    table = made.table()
    assert line_of(table, "full").entries[0].marked == "30.0 ± 3.2 (1) [1]"
    assert "all benchmarks of full at select/train/eval seeds 7/2/42" in table.notes[0]


def test_not_scored_and_not_run_are_distinguished_from_failed(world):
    made = world()
    made.change("base", "gsm8k", status="not_scored", value=None, reason="no judge is set")
    made.fail(made.stages("base", "evaluate", "mmlu")[0], "bwrap is not on this machine", failed=False)
    table = made.table()
    assert [entry.text for entry in line_of(table, "base").entries] == ["not run", "not scored"]
    assert "✗" not in terminal(table) and "–[2]" in terminal(table)


def test_incomplete_results_carry_a_dagger_and_a_note(world):
    made = world(**ONLY_BASE)
    made.change("base", "mmlu", complete=False, notes=["limit: 5 items of each subject"])
    table = made.report().table
    assert line_of(table, "base").entries[0].marked == "25.0 ± 3.1†"
    assert any(s.startswith("† incomplete: mmlu: limit: 5 items") for s in table.caption)
    assert all("†" in text for text in (made.text("report.html"), made.text("report.md"), terminal(table)))


def test_caption_states_where_rows_were_evaluated_on_different_data_or_backends(world):
    made = world()
    assert not any("not run alike" in sentence for sentence in made.table().caption)
    stage = made.stages("full", "evaluate", "mmlu")[0]
    artifact = made.outcomes[stage].artifact
    artifact.manifest["identity"]["config"]["data"] = {"sha256": "other"}
    reported = "mmlu: not run alike in all rows (data), so its differences compare protocols too."
    assert reported in made.table().caption
    artifact.manifest["identity"]["config"]["backend"] = "vllm"
    assert reported.replace("data", "backend, data") in made.table().caption


def test_the_report_names_what_came_in_by_content_or_commit(world):
    made = world()
    manifest = made.outcomes[made.stages("full", "evaluate", "mmlu")[0]].artifact.manifest
    manifest["identity"]["config"]["data"] = {"hub": "cais/mmlu", "revision": "c0ffee"}
    manifest["identity"]["config"]["model"]["path"] = {"sha256": "5ca1ab1e"}
    rows = given(made.plan, made.outcomes).rows
    assert ("data of mmlu", "cais/mmlu", "commit c0ffee", "evaluate") in rows
    assert ("model", Path(manifest["config"]["model"]["path"]).name, "sha256 5ca1ab1e", "evaluate") in rows


def test_caption_states_what_one_item_is_worth(world):
    assert any("mmlu 0.500 (200; 1.3)" in sentence for sentence in world().table().caption)


def test_a_second_report_of_the_same_artifacts_writes_nothing(world):
    made = world(**ONLY_BASE)
    assert made.report().written
    before = {path: path.stat().st_mtime_ns for path in (made.runs / "small").iterdir()}
    again = made.report()
    assert not again.written and again.table == made.table()
    assert {path: path.stat().st_mtime_ns for path in (made.runs / "small").iterdir()} == before


def test_a_report_is_written_again_when_a_file_is_gone_or_a_stage_is(world):
    made = world(**ONLY_BASE)
    made.report()
    (made.runs / "small" / "results.csv").unlink()
    assert made.report().written
    made.fail(made.stages("base", "evaluate", "mmlu")[0], "gone")
    assert made.report().written


def test_a_verification_next_to_a_ledger_is_reported_and_is_reason_for_a_new_report(world):
    made = world()
    made.report()
    assert "bfloat16, not verified" in made.text("report.md")
    [score] = made.stages("selectit", "score")
    folder = next((made.runs / "artifacts").glob(f"{score.kind}-*"))
    found = {
        "dtype": "bfloat16", "num_rows": 200, "rank_correlation": 0.98765, "ratio": 0.2, "subset_overlap": 0.95,
        "max_sentence_score_difference": 0.07, "tolerance": 0.05, "agrees": False,
    }  # fmt: skip
    (folder / "verification.json").write_text(json.dumps(found))
    assert made.report().written
    text = made.text("report.md")
    assert "200 rows rated again: scores differ by 7.0e-02 at most, beyond 0.05; rank correlation 0.9877" in text
    assert not made.report().written


class Page(HTMLParser):
    """Collects what a browser would load, and the text between tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for name, v in attributes if (tag, name) == ("a", "href")]
        self.loaded += [
            v for name, v in attributes if name in ("src", "href", "xlink:href", "data", "srcset", "action")
        ]


def test_page_loads_nothing_and_shows_every_plot(world):
    made = world()
    made.report()
    text = made.text("report.html")
    page = Page(text)
    loaded = [target for target in page.loaded if target not in page.links]
    assert loaded and all(target.startswith(("#", "data:,")) for target in loaded)
    assert "@import" not in text and "script" not in page.tags and "link" in page.tags
    assert page.tags.count("svg") == 6  # differences, scores, lengths, tokens, overlap, loss
    assert "selectit 31 and 6" in text
    for word in ("0.871", "no rating probability", "this project", "abc123", "3,456", "1 min 02 s"):
        assert word in text


def test_every_number_of_the_page_leads_to_its_artifact(world):
    made = world()
    made.fail(made.stages("full", "finetune")[1], "killed")
    made.report()
    text, folder = made.text("report.html"), made.runs / "small"
    links = Page(text).links
    targets = {link[1:] for link in links if link.startswith("#")}
    assert targets and all(f'id="{target}"' in text for target in targets)
    assert {f"values-{number}" for number in range(1, 5)} <= targets  # one for each row of the table
    outside = [link for link in links if not link.startswith("#")]
    assert all((folder / link / "manifest.json").is_file() for link in outside)
    [second] = re.findall(r'<a href="([^"]+)">16.0</a>', text)  # gsm8k of selectit at train seed 2
    assert json.loads((folder / second / "result.json").read_text())["value"] == pytest.approx(0.16)
    assert len(outside) == 12 + sum(outcome.artifact is not None for outcome in made.outcomes.values())


def test_page_can_be_read_without_seeing_it_and_without_a_mouse(world):
    made = world()
    made.report()
    text = made.text("report.html")
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    assert len(tables) > 6
    for table in tables:
        assert "<caption" in table and all("scope=" in header for header in re.findall(r"<th\b[^>]*>", table))
    assert text.count('<div class="scroll" tabindex="0" role="region" aria-label=') == len(tables)
    described = re.findall(r'role="img"[^>]* aria-describedby="([\w-]+)"', text)
    assert len(described) == text.count("<svg") == 6 and all(f'id="{name}"' in text for name in described)
    first = text[text.index("<body>") :].split("<main>")[0]
    assert '<a class="skip" href="#results">' in first and 'id="results"' in text


def test_plots_take_the_colour_of_the_text_so_that_dark_mode_shows_them(world):
    made = world()
    made.report()
    drawn = "".join(re.findall(r"<svg.*?</svg>", made.text("report.html"), re.DOTALL))
    assert "currentColor" in drawn and "#000000" not in drawn and "#333333" not in drawn
    assert "prefers-color-scheme: dark" in made.text("report.html")


def test_plots_that_cannot_show_all_rows_show_some_of_each_arm():
    rows = [SimpleNamespace(arm=arm) for arm in "aaabbbc"]
    assert figures.in_turn(rows, 4) == [0, 1, 3, 6] and figures.in_turn(rows, 9) == list(range(7))


def test_curves_differ_in_more_than_their_colour():
    curves = [plots.Curve(f"arm {group}", [1, 2], [1, 2], group=group) for group in range(figures.MOST_CURVES)]
    drawn = re.findall(r'style="(fill: none;[^"]*stroke-width: 1.4[^"]*)"', plots.loss_curves(curves))[: len(curves)]
    assert len(set(drawn)) == len(curves)
    dashes = [re.search(r"stroke-dasharray: [\d., ]+", style) for style in drawn[:3]]
    assert len({found and found[0] for found in dashes}) == 3


def test_a_curve_of_one_moment_is_a_marker_that_can_be_seen():
    """A validation loss that is computed once, at the end of a short training."""
    drawn = plots.loss_curves([plots.Curve("once", [1], [1.0], group=1), plots.Curve("twice", [1, 2], [1, 2], group=2)])
    once, twice = (len(re.findall(f"<use[^>]*fill: {plots.PALETTE[group].lower()}", drawn)) for group in (1, 2))
    assert (once, twice) == (2, 0)  # the point, and its sign in the legend


def test_a_long_name_of_an_arm_costs_the_terminal_no_column(world):
    arms = {"base": {"finetune": {"method": "none"}}, "selectit_" + "long_" * 12: {"select": {"strategy": "selectit"}}}
    shown = terminal(world(arms=arms, baseline="base").table())
    assert "diff." in shown and max(map(len, shown.splitlines())) <= 100
    [row] = [line for line in shown.splitlines() if line.lstrip().startswith("selectit_")]
    assert row.split()[-1].startswith("+")  # its difference to the baseline


def test_text_from_data_is_escaped_in_page_and_markdown(world):
    arms = {"base": {"finetune": {"method": "none"}}, EVIL: {"select": {"strategy": "selectit"}}}
    made = world(arms=arms, baseline="base")
    made.change(EVIL, "gsm8k", status="not_scored", value=None, reason=EVIL, notes=[EVIL])
    table = made.report().table
    page, markdown = made.text("report.html"), made.text("report.md")
    assert "script" not in Page(page).tags and page.count("&lt;script&gt;alert") > 5
    assert "<script>" not in markdown
    header, _, *rows = [line for line in markdown.splitlines() if line.startswith("|")][:4]
    assert [row.replace(r"\|", "").count("|") for row in rows] == [header.count("|")] * 2
    assert "<script>" in terminal(table)
    assert {line["row"] for line in made.results()} == {"base", EVIL}
    assert {line["reason"] for line in made.results()} == {"", EVIL}


def test_results_csv_holds_every_cell(world):
    made = world()
    made.report()
    lines = made.results()
    assert len(lines) == sum(len(row.cells) for row in made.plan.rows) == 2 + 3 * 4
    [line] = [x for x in lines if (x["row"], x["benchmark"], x["train_seed"]) == ("selectit", "gsm8k", "2")]
    assert (float(line["value"]), line["num_rows"], line["num_items"]) == (pytest.approx(0.16), "8", "200")
    assert (float(line["row_mean"]), float(line["row_difference"])) == (pytest.approx(0.15), pytest.approx(0.02))
    assert line["artifact"] == f"evaluate-{line['fingerprint'][:16]}" and line["profile"] == "paper-2023"


def test_overlap_is_the_jaccard_index_of_the_selected_row_ids(world):
    made = world()
    made.report()
    pairs = {(p.one.row.label, p.other.row.label): p.jaccard for p in overlaps(read_subsets(made.plan, made.outcomes))}
    assert pairs == {("full", "random"): 8 / 40, ("full", "selectit"): 8 / 40, ("random", "selectit"): 4 / 12}
    lines = list(csv.DictReader(made.text("overlap.csv").splitlines()))
    assert [(x["num_common"], x["jaccard"]) for x in lines] == [("8", "0.2"), ("8", "0.2"), ("4", "0.333333")]


@pytest.mark.parametrize("demonstration", [True, False])
def test_only_a_demonstration_reports_that_it_is_one(world, demonstration):
    made = world(demonstration=demonstration, **ONLY_BASE)
    shown = terminal(made.report().table)
    assert all(
        (DEMONSTRATION in text) == demonstration for text in (made.text("report.html"), made.text("report.md"), shown)
    )


def test_a_grid_over_the_ratio_has_a_curve_and_each_point_its_own_baseline(world):
    made = world(grid={"select.ratio": [0.1, 0.2]})
    table = made.report().table
    assert "Ratio curve" in made.text("report.html")
    assert [line.label for line in table.lines if line.is_baseline] == [
        "random (ratio=0.1)",
        "random (ratio=0.2)",
    ]
    assert line_of(table, "selectit (ratio=0.2)").difference.text == "+2.5"


def test_six_benchmarks_fit_a_hundred_columns(world):
    benchmarks = ["mmlu", "bbh", "gsm8k", "tydiqa", "humaneval", "alpaca_eval"]
    shown = terminal(world(evaluate={"profile": "paper-2023", "benchmarks": benchmarks}).table())
    assert max(map(len, shown.splitlines())) <= 100
    assert "random *" in shown and "29.0" in shown and "…" not in shown


def test_rows_that_a_training_left_out_are_named_with_their_kind(world):
    made = world()
    stage = next(s for s in made.plan.stages if s.kind.startswith("finetune"))
    path = made.outcomes[stage].artifact.path / "training.json"
    left_out = [{"row_id": f"bad{i}", "kind": "template_error", "reason": "System role"} for i in range(12)]
    path.write_text(json.dumps({**json.loads(path.read_text()), "left_out": left_out, "control_tokens": {"<s>": 3}}))
    made.report()
    for text in (made.text("report.html"), made.text("report.md")):
        assert "12 selected rows could not be labelled and were left out of the training" in text
        assert "bad9, ..." in text and "bad10" not in text and "&lt;s&gt; 3." in text
