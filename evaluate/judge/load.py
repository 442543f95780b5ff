"""Which judge a setting names."""

from __future__ import annotations

from functools import cache

from selectit.config import JudgeSetting
from selectit.errors import UserError
from selectit.evaluate.judge.base import Judge


def load_judge(judge: JudgeSetting, games: bool = False) -> Judge:
    """Args:   games: Arena-Hard's verdicts are wanted, which only a judge behind an endpoint gives.
    Raises: UserError for a judge that is not known or cannot be used; nothing heavy is loaded yet.
    """
    if not isinstance(judge, str):
        try:
            from selectit.evaluate.judge.endpoint import EndpointJudge
            from selectit.evaluate.judge.games import GamesEndpointJudge
        except ModuleNotFoundError as error:
            if error.name != "openai":
                raise
            raise UserError(
                f"evaluate.judge: {judge.model} is asked through the package openai, which is not installed; "
                "pip install 'selectit[judge]' (in a checkout: pip install -e '.[judge]' -c constraints.txt)"
            ) from error
        return GamesEndpointJudge(judge) if games else EndpointJudge(judge)
    kind, _, model = judge.partition(":")
    if kind != "hf" or not model:
        raise UserError(
            f"evaluate.judge: '{judge}' is not a judge; write hf:<folder or hub id of a model>, or for a judge behind "
            "an endpoint a mapping such as {model: gpt-4-turbo, base_url: https://api.openai.com/v1}"
        )
    from selectit.evaluate.judge.local import LogProbabilityJudge

    return LogProbabilityJudge(model)


@cache  # a trial of a judge that answered is not repeated for every stage
def check_judge(judge: JudgeSetting) -> None:
    """Raises: UserError where the judge cannot judge."""
    load_judge(judge).check()
