"""The judge in this process where its model gives no numbers."""

import pytest
import torch

from selectit.errors import UserError
from selectit.evaluate.judge.base import AnswerPair
from selectit.evaluate.judge.local import LogProbabilityJudge

ONE = AnswerPair("Say 1.", reference="a", output="bb")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_judge_whose_logits_are_not_numbers_is_refused_by_name(demo_model, number):
    judge = LogProbabilityJudge(demo_model.path)
    assert judge.compare([ONE], lambda n: None)[0] != 0.5 and judge.left_out() is None
    with torch.no_grad():
        judge._model.lm_head.weight[judge._labels[1]] *= number
    with pytest.raises(UserError, match=r"evaluate\.judge: hf:model gives \[.*\] as logits of 'm' and 'M'"):
        judge.compare([ONE], lambda n: None)


def test_a_comparison_that_does_not_fit_into_memory_is_named_with_the_cure(demo_model, monkeypatch):
    judge = LogProbabilityJudge(demo_model.path)
    judge.compare([ONE], lambda n: None)

    def no_memory(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(judge._model, "forward", no_memory)
    with pytest.raises(
        UserError, match=r"evaluate\.judge: a comparison of \d+ tokens does not fit into memory together"
    ):
        judge.compare([ONE], lambda n: None)


def test_a_judge_whose_weights_are_damaged_is_refused_before_it_is_asked(demo_model):
    judge = LogProbabilityJudge(demo_model.path)
    with torch.no_grad():
        judge._model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(UserError, match="gives logits that are NaN or infinite in float32: its weights are damaged"):
        judge.compare([ONE], lambda n: None)
