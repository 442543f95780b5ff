"""The grader of IFEval: which of a prompt's verifiable instructions a text follows.

What checks an instruction is its authors' own code, which lm-eval ships. It needs the packages of the extra `ifeval`,
and nltk's model of English sentences, `punkt_tab`, from a data folder or from where nltk keeps its data.
Source: Zhou et al. 2023, arXiv 2311.07911: strict and loose accuracy over prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selectit.errors import UserError
from selectit.evaluate.grading.graded import Graded

STRICT, LOOSE = "prompt_level_strict_acc", "prompt_level_loose_acc"
PUNKT = "tokenizers/punkt_tab/english"
"""Below a folder of nltk's data."""
_PACKAGES = ("nltk", "langdetect", "immutabledict")
_LANGUAGE = "language:response_language"


def check_installed(folder: Path | None) -> None:
    """Args:   folder: IFEval's of `evaluate.data`, which may hold nltk's data; None: the data is on the hub.
    Raises: UserError with what is not here and the command that gets it.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise UserError(
            f"ifeval is graded by its authors' checks, which need {', '.join(missing)}: pip install 'selectit[ifeval]' "
            "(in a checkout: pip install -e '.[ifeval]' -c constraints.txt)"
        )
    import nltk

    if folder is not None and str(folder) not in nltk.data.path:
        nltk.data.path.insert(0, str(folder))
    try:
        nltk.data.find(f"{PUNKT}/")
    except LookupError as error:
        raise UserError(
            "ifeval counts sentences with nltk's punkt_tab, which is not here; where there is internet: `python -m "
            "nltk.downloader punkt_tab`, and take ~/nltk_data along, or `selectit data fetch --benchmarks ifeval --out "
            f"DIR` and set evaluate.data to DIR, which then holds ifeval/{PUNKT}"
        ) from error


@cache
def _checks() -> Mapping[str, Any]:
    """Instruction -> its authors' class. Imported where punkt_tab is here: lm-eval would fetch it."""
    import langdetect
    from lm_eval.tasks.ifeval.instructions_registry import INSTRUCTION_DICT

    langdetect.DetectorFactory.seed = 0  # it draws; the same text must be the same language in every run
    checks: Mapping[str, Any] = INSTRUCTION_DICT
    return checks


def grade_ifeval(text: str, doc: Mapping[str, Any]) -> Graded:
    """Right where all instructions of a prompt are followed; loose: by the text or by one of its looser forms.

    Args: doc: with `instruction_id_list` and `kwargs`, JSON of the settings of each.
    """
    strict = _followed([text], doc)
    loose = _followed(_looser(text), doc)
    answer = f"{sum(strict)} of {len(strict)} instructions followed" if text.strip() else None
    parts = {"inst_level_strict_acc": strict, "inst_level_loose_acc": loose}
    return Graded(answer, float(all(strict)), {LOOSE: float(all(loose))}, parts)


def _followed(texts: Sequence[str], doc: Mapping[str, Any]) -> list[bool]:
    """Of each instruction, whether one of the texts follows it; an empty text follows none."""
    said = [text for text in texts if text.strip()]
    pairs = zip(doc["instruction_id_list"], json.loads(doc["kwargs"]), strict=True)
    return [any(_follows(text, _check(name, settings)) for text in said) for name, settings in pairs]


def _check(name: str, settings: Mapping[str, Any]) -> Any:
    """Raises: UserError for an instruction, or a setting of one, that the authors' code does not have."""
    if (made := _checks().get(name)) is None:
        raise UserError(f"ifeval: no instruction '{name}'; known are {', '.join(_checks())}")
    check = made(name)
    try:
        check.build_description(**settings)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"ifeval: {name} cannot be set up with {dict(settings)}: {error}") from error
    return check


def _follows(text: str, check: Any) -> bool:
    if check.id == _LANGUAGE and not _has_language(text):
        return False  # the authors' check takes what has no language for followed
    return bool(check.check_following(text))


def _has_language(text: str) -> bool:
    from langdetect import LangDetectException, detect

    try:
        return bool(detect(text))
    except LangDetectException:
        return False


def _looser(text: str) -> list[str]:
    """The text, and it without its first line, its last line or both; each with and without stars."""
    lines = text.split("\n")
    parts = [lines, lines[1:], lines[:-1], lines[1:-1]]
    forms = [text, *("\n".join(part).strip() for part in parts[1:])]
    return [*forms, *(form.replace("*", "") for form in forms)]
