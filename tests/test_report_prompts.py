"""The report shows a training row next to what each benchmark asked, in every form."""

from __future__ import annotations

import json

from test_report import World

from selectit.report import write_report

TRAINED = {
    "row_id": "row3", "template": "alpaca",
    "segments": [{"text": "<s>### Instruction:\nSay <b>.\n", "trained": False}, {"text": "b```</s>", "trained": True}],
}  # fmt: skip


def test_a_training_row_stands_next_to_the_prompts_and_what_is_trained_on_is_marked(tmp_path, demo):
    world = World(tmp_path, demo)
    for stage, outcome in world.outcomes.items():
        if stage.kind == "finetune-lora":
            (outcome.artifact.path / "trained_row.json").write_text(json.dumps(TRAINED))
        if stage.kind == "evaluate":
            prompt = f"Q: {stage.config.benchmark.name}" + "x" * 5000 + "END\nA:"
            line = {"task": "t", "item_id": 7, "prompt": prompt}
            (outcome.artifact.path / "items.jsonl").write_text(json.dumps(line) + "\n")
    folder = write_report(world.plan, world.outcomes, world.runs).folder
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    assert "&lt;s&gt;### Instruction:\nSay &lt;b&gt;.\n<mark>b```&lt;/s&gt;</mark></pre>" in page
    assert "### training row row3" in text and "````text\n<s>### Instruction:\nSay <b>.\n⟦b```</s>⟧\n````" in text
    assert "Template alpaca, of full, random and selectit. What is marked is trained on." in page
    for benchmark in ("mmlu", "gsm8k"):
        assert f"### {benchmark}: t, item 7" in text and f"Q: {benchmark}" in page
    assert page.count("As base models are asked") == 2 and "END\nA:" in text and "characters ...]" in text
    assert text.index("## Training example and prompts") < text.index("## Cost")


def test_a_report_of_older_artifacts_has_no_such_part(tmp_path, demo):
    world = World(tmp_path, demo, arms={"base": {"finetune": {"method": "none"}}}, baseline="base")
    for outcome in world.outcomes.values():
        (outcome.artifact.path / "items.jsonl").write_text("")
    folder = write_report(world.plan, world.outcomes, world.runs).folder
    for name in ("report.html", "report.md"):
        assert "Training example and prompts" not in (folder / name).read_text()
