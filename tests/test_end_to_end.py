"""The shipped recipes from the first stage to the table, cut down in steps and items only."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path


def run(recipe: Path, runs: Path, *overrides: str) -> str:
    command = [sys.executable, "-m", "selectit", "run", str(recipe), "--runs-dir", str(runs)]
    for override in overrides:
        command += ["--set", override]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=600, env={**os.environ, "COLUMNS": "160"})
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as f:
        return list(csv.DictReader(f))


def test_the_quickstart_ends_with_a_table_and_a_second_run_executes_nothing(root, tmp_path):
    small = ["finetune.max_steps=2", "evaluate.limit=1", "pool.limit=60"]
    recipe = root / "recipes" / "quickstart.yaml"
    text = run(recipe, tmp_path, *small)
    assert "41 of 41 stages executed" in text and "They are not a result" in text
    rows = results(tmp_path / "quickstart")
    assert {row["arm"] for row in rows} == {"full", "random", "random_rest", "length", "selectit"}
    wanted = {"mmlu", "bbh", "gsm8k", "tydiqa", "humaneval", "alpaca_eval"}
    assert {row["benchmark"] for row in rows} == wanted
    without_sandbox = set() if shutil.which("bwrap") else {"humaneval"}
    assert {row["benchmark"] for row in rows if not row["value"]} == without_sandbox
    html = (tmp_path / "quickstart" / "report.html").read_text()
    assert "They are not a result" in html and not re.search(r"(src|href)=[\"']https?://", html)
    assert "0 of 41 stages executed" in run(recipe, tmp_path, *small)


def test_real_files_go_through_the_same_command(root, shared, tmp_path):
    folder = (
        f"pool.path={shared}/alpaca/alpaca_en_demo.json", f"model.path={shared}/models/stories260K",
        f"evaluate.data={shared}", f"evaluate.judge=hf:{shared}/models/stories260K",
        f"score.rating_prompts={shared}/selectit/rating_prompt.txt",
    )  # fmt: skip
    text = run(
        root / "recipes" / "real-input.yaml", tmp_path, *folder, "pool.sample={num_rows: 60, seed: 1}",
        "select.ratio=0.15", "finetune.max_steps=2",
        "arms.perplexity.evaluate.benchmarks=[tydiqa]", "arms.ifd.evaluate.benchmarks=[tydiqa]",
    )  # fmt: skip
    rows = {(row["row"], row["benchmark"]): row for row in results(tmp_path / "real-input")}
    assert {arm for arm, _ in rows} == {"base", "random", "length", "perplexity", "ifd", "selectit"}
    assert rows["base", "mmlu"]["num_items"] == "57" and rows["base", "bbh"]["num_items"] == "27"
    assert rows["base", "tydiqa"]["num_items"] == "2"  # only arabic and finnish have a question and a demonstration
    scored = [row for row in rows.values() if row["value"]]
    assert len(scored) >= 20 and all(0 <= float(row["value"]) <= 1 for row in scored)
    assert "have an IFD above 1 and are ranked last" in (tmp_path / "real-input" / "report.md").read_text()
    assert "lost their beginning" in text and "bengali" in text  # what could not be done is said
