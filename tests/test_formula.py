"""The formulas against a plain reading of the released code, one row and one number at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from selectit.errors import UserError
from selectit.scoring.formula import model_scores, sentence_scores, token_scores


def released_token_score(p: list[float], k: int) -> float:
    total = sum(p)
    exponents = [math.exp(x / total) for x in p]
    share = [x / sum(exponents) for x in exponents]
    base = share.index(max(share))
    return (base + 1) * sum(share[base] - share[j] for j in range(k)) / (k - 1)


def paper_token_score(p: list[float]) -> float:
    share = [x / sum(p) for x in p]
    base = share.index(max(share))
    return (base + 1) * sum(abs(x - share[base]) for x in share) / 4


@pytest.fixture(scope="module")
def probabilities() -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(6), size=(50, 5))[..., :5] * 0.7


def test_released_code_token_score_is_its_loop(probabilities):
    for k in (2, 3, 4, 5):
        ours = token_scores(probabilities, "released_code", k)
        theirs = [[released_token_score(list(p), k) for p in row] for row in probabilities]
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_paper_token_score_has_one_normalisation(probabilities):
    theirs = [[paper_token_score(list(p)) for p in row] for row in probabilities]
    np.testing.assert_allclose(token_scores(probabilities, "paper"), theirs, rtol=1e-12)


def test_corrected_equals_the_released_code_at_its_default_of_five_prompts(probabilities):
    np.testing.assert_array_equal(
        token_scores(probabilities, "corrected", 3), token_scores(probabilities, "released_code", 5)
    )


def test_token_scores_span_zero_to_the_known_maximum():
    certain = np.array([[0.0, 0, 0, 0, 1.0], [0.2] * 5, [1.0, 0, 0, 0, 0]])
    np.testing.assert_allclose(
        token_scores(certain, "corrected"),
        [5 * (math.e - 1) / (math.e + 4), 0, (math.e - 1) / (math.e + 4)],
        atol=1e-12,
    )


def test_sentence_score_uses_the_population_standard_deviation():
    token = np.array([[0.2, 0.4, 0.6]])
    std = math.sqrt(((0.2 - 0.4) ** 2 + 0 + (0.6 - 0.4) ** 2) / 3)
    np.testing.assert_allclose(sentence_scores(token, 0.2), [0.4 / (1 + 0.2 * std)])


def test_models_weigh_by_parameters_or_by_the_released_constants():
    sentence = np.array([[1.0, 2.0, 4.0]])
    np.testing.assert_allclose(model_scores(sentence, [7, 13, 70], "corrected"), [(7 + 26 + 280) / 90])
    np.testing.assert_allclose(model_scores(sentence, [1, 1, 1], "released_code"), [7 / 20 + 26 / 20 + 280 / 90])


def test_what_the_released_code_cannot_do_is_refused():
    one = np.ones((1, 5))
    for k in (1, 6):
        with pytest.raises(UserError, match="2 to 5"):
            token_scores(one, "released_code", k)
    with pytest.raises(UserError, match="3 models at most"):
        model_scores(np.ones((1, 4)), [1, 1, 1, 1], "released_code")
