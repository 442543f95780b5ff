"""Chat format in another template than the training's is refused before anything is generated."""

import shutil

import pytest

from selectit.errors import UserError
from selectit.evaluate import stage
from selectit.evaluate.profile import load_profile
from selectit.evaluate.stage_config import EvaluateStage
from selectit.templates import chat_template


@pytest.fixture
def tuned(adapter, tmp_path):
    """A finetune artifact whose tokenizer carries the template llmzoo."""
    folder = tmp_path / "tuned"
    shutil.copytree(adapter, folder)
    (folder / "adapter" / "chat_template.jinja").write_text(chat_template("llmzoo"))
    return folder


def test_another_template_than_the_trainings_is_refused_and_the_right_one_named(evaluate, oracle, tuned):
    with pytest.raises(UserError, match=r"trained in the template 'llmzoo' .* in 'alpaca'.*set the template to llmzoo"):
        evaluate("alpaca_eval", {"model": tuned}, template="alpaca")
    assert oracle.prompts == []
    evaluate("alpaca_eval", {"model": tuned}, template="llmzoo")
    assert oracle.prompts
    (tuned / "adapter" / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(UserError, match=r"that of .*chat_template\.jinja"):
        evaluate("alpaca_eval", {"model": tuned}, template="alpaca")


def test_base_model_prompts_need_no_template(evaluate, oracle, tuned):
    evaluate("gsm8k", {"model": tuned}, template=None)


def test_an_adapter_from_elsewhere_is_checked_in_preflight(tuned, demo_model, demo_data):
    def preflight(template):
        benchmark = load_profile("miniature").benchmarks["alpaca_eval"]
        config = EvaluateStage(
            model=demo_model,
            adapter=str(tuned / "adapter"),
            benchmark=benchmark,
            data=str(demo_data),
            template=template,
        )
        stage.preflight(config)

    preflight("llmzoo")
    with pytest.raises(UserError, match="llmzoo"):
        preflight("alpaca")


def test_a_model_that_was_tuned_here_is_checked_too(full_checkpoint, demo_model, demo_data, tmp_path):
    folder = tmp_path / "full"
    shutil.copytree(full_checkpoint, folder)
    (folder / "model" / "chat_template.jinja").write_text(chat_template("llmzoo"))
    model = demo_model.model_copy(update={"path": str(folder / "model")})
    benchmark = load_profile("miniature").benchmarks["alpaca_eval"]
    config = EvaluateStage(model=model, benchmark=benchmark, data=str(demo_data), template="alpaca")
    stage.preflight(config)  # a chat model from elsewhere may be asked as the user likes
    (folder / "training.json").write_text("{}")
    with pytest.raises(UserError, match="llmzoo"):
        stage.preflight(config)
