"""A section of a recipe and the stages that are made of it share their fields by one class."""

from __future__ import annotations

import pytest
from typer.main import get_command

from selectit.cli.app import app
from selectit.config import (
    AnsweringFields,
    ArmConfig,
    EvaluateConfig,
    LossStage,
    RatingFields,
    ReadingFields,
    ScoreConfig,
    ScoreStage,
)
from selectit.config.evaluate import BenchmarkConfig
from selectit.evaluate.stage_config import EvaluateStage
from selectit.plan.stages import evaluate_stage, loss_stages, needed_prompts, score_stages
from selectit.selection.registry import shipped

SCORE = {
    "max_length": 64, "quantization": "8bit", "batch_tokens": 9, "num_processes": 2, "launcher": "external",
    "long_rows": "skip", "turns": "mean", "template": "chat", "verify": 3, "backend": "transformers",
    "vllm_python": None,
}  # fmt: skip
EVALUATE = {
    "data": "folder", "limit": 3, "judge": "hf:judge", "sandbox": "none", "comet_python": "python",
    "batch_size": 4, "num_processes": None, "backend": "vllm", "vllm_python": "other",
}  # fmt: skip
"""Another value of each field than its default, where they allow one together."""


@pytest.mark.parametrize(
    ("section", "stage", "shared"),
    [
        (ScoreConfig, ScoreStage, RatingFields),
        (ScoreConfig, LossStage, ReadingFields),
        (EvaluateConfig, EvaluateStage, AnsweringFields),
    ],
)
def test_no_field_is_written_twice(section, stage, shared):
    common = section.model_fields.keys() & stage.model_fields.keys()
    other_meaning = {LossStage: {"template"}, EvaluateStage: {"profile"}}  # of training texts; a name, for the report
    assert common - other_meaning.get(stage, set()) == shared.model_fields.keys()


def arm(**select) -> ArmConfig:
    sections = {"pool": {"path": "pool"}, "model": {"path": "model"}, "score": SCORE, "evaluate": EVALUATE}
    return ArmConfig.model_validate({**sections, "select": select}, context=shipped().context)


def test_every_shared_field_reaches_its_stage():
    rated, lost = arm(strategy="selectit"), arm(strategy="perplexity")
    [score] = score_stages(rated, needed_prompts([rated], [0]))
    evaluate = evaluate_stage(rated, BenchmarkConfig(name="alpaca_eval", metric="win_rate"), "", 0)
    for stage, fields, given in (
        (score, RatingFields, SCORE),
        (loss_stages(lost)["conditioned"], ReadingFields, SCORE),
        (evaluate, AnsweringFields, EVALUATE),
    ):
        assert {name: getattr(stage.config, name) for name in fields.model_fields} == {
            name: given[name] for name in fields.model_fields
        }


def test_a_judge_reaches_judged_benchmarks_only():
    stage = evaluate_stage(arm(strategy="full"), BenchmarkConfig(name="gsm8k", metric="exact_match"), "", 0)
    assert stage.config.judge is None


@pytest.mark.parametrize(
    ("command", "section", "least"),
    [
        ("grade", EvaluateConfig, 6),
        ("evaluate", EvaluateConfig, 11),
        ("losses", ReadingFields, 4),
        ("score", ScoreConfig, 8),
    ],
)
def test_an_option_that_is_a_field_has_the_fields_default(command, section, least):
    options = {option.name: option.default for option in get_command(app).commands[command].params}
    of_command = {"verify", "dtype"}  # a number of rows; that of the model
    shared = options.keys() & section.model_fields.keys() - of_command
    assert len(shared) >= least
    assert {name: options[name] for name in shared} == {name: section.model_fields[name].default for name in shared}
