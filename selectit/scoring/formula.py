"""SelectIT's three scores from rating probabilities (arXiv 2402.16705, section 3).

`fidelity` settles where the paper and its released code differ:

- paper: P is p normalised once; models weigh by their share of all parameters.
- released_code: P is the softmax of the normalised p; the sum runs over the first K ratings only, K being
  the number of rating prompts; the models weigh 7/20, 13/20 and 70/90, in the order given.
- corrected: the released code's P and full sum, with the paper's model weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from selectit.config import NUM_RATINGS
from selectit.errors import UserError

Fidelity = Literal["paper", "released_code", "corrected"]
RELEASED_MODEL_WEIGHTS = (7 / 20, 13 / 20, 70 / 90)


def token_scores(probs: np.ndarray, fidelity: Fidelity, num_rating_prompts: int = NUM_RATINGS) -> np.ndarray:
    """Token-level score: the best rating, times how far it stands out.

    Args:
        probs: float64 [..., NUM_RATINGS], next-token probability of "1".."5"; NaN rows stay NaN.
        num_rating_prompts: K of the released code, which cuts its sum; used with fidelity `released_code` only.
    Returns: float64 [...]; higher is better.
    Raises:  UserError where the released code has no result for K.
    Source:  paper, eq. 2-3; released code, token level.
    """
    terms = NUM_RATINGS
    if fidelity == "released_code":
        if not 2 <= num_rating_prompts <= NUM_RATINGS:
            raise UserError(
                f"fidelity 'released_code' with {num_rating_prompts} rating prompts: that code is defined for 2 to "
                f"{NUM_RATINGS} only; set select.fidelity to 'corrected'"
            )
        terms = num_rating_prompts
    share = probs / probs.sum(axis=-1, keepdims=True)
    if fidelity != "paper":
        share = np.exp(share)
        share /= share.sum(axis=-1, keepdims=True)
    base = np.argmax(share, axis=-1)
    best = np.take_along_axis(share, base[..., None], axis=-1)
    spread = np.abs(best - share[..., :terms]).sum(axis=-1) / (terms - 1)
    return (base + 1) * spread


def sentence_scores(token: np.ndarray, alpha: float) -> np.ndarray:
    """Sentence-level score: the mean over rating prompts, less where they disagree.

    Args:    token: float64 [num_rows, num_rating_prompts].
    Returns: float64 [num_rows] = mean / (1 + alpha * population std).
    Source:  paper, eq. 4.
    """
    return token.mean(axis=1) / (1 + alpha * token.std(axis=1))


def model_scores(sentence: np.ndarray, theta: Sequence[float], fidelity: Fidelity) -> np.ndarray:
    """Model-level score: sentence-level scores weighted by model size.

    Args:    sentence: float64 [num_rows, num_models]; theta: parameters of each model, any unit.
    Returns: float64 [num_rows].
    Raises:  UserError where the released code has no weight for a fourth model.
    Source:  paper, eq. 5.
    """
    if fidelity == "released_code":
        if len(theta) > len(RELEASED_MODEL_WEIGHTS):
            raise UserError(
                f"fidelity 'released_code' weighs {len(RELEASED_MODEL_WEIGHTS)} models at most, found {len(theta)}; "
                "set select.fidelity to 'corrected'"
            )
        weights = np.array(RELEASED_MODEL_WEIGHTS[: len(theta)])
    else:
        weights = np.array(theta, dtype=float) / sum(theta)
    return sentence @ weights
