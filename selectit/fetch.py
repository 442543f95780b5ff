"""Texts that others wrote and this project does not ship: fetched from their home, checked by sha256."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from selectit.errors import UserError, did_you_mean

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Source:
    url: str
    sha256: str
    what: str


_ALPACA_EVAL = "https://raw.githubusercontent.com/tatsu-lab/alpaca_eval/main/src/alpaca_eval/evaluators_configs"
SOURCES = {
    "rating_prompt.txt": Source(
        "https://raw.githubusercontent.com/Blue-Raincoat/SelectIT/4be3d931c5c1cd823d91a6c0f0af4211468df447/data/rating_prompt.txt",
        "5895059c0b071e5863caa72127bc67d95f0e657994e59271b7d16b5d9dc17c39",
        "the nine rating prompts of the released SelectIT code",
    ),
    "alpaca_eval.txt": Source(
        f"{_ALPACA_EVAL}/alpaca_eval_gpt4/alpaca_eval.txt",
        "cf4bace43fa6ac71944b9ca2506587ad7c509478a219e98a3950abf9d5b42a98",
        "the judge prompt of AlpacaEval 1 (Apache-2.0)",
    ),
    "alpaca_eval_clf.txt": Source(
        f"{_ALPACA_EVAL}/alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt",
        "784227e6dc2832fc08c43d2c8ea3a308e7523780187a1aaad2f85e30bac85f62",
        "the judge prompt of AlpacaEval 2 (Apache-2.0)",
    ),
}


def fetch(name: str, out: Path, sources: dict[str, Source] = SOURCES) -> Path:
    """Download one text into a folder; a right copy that is there already is kept.

    Raises: UserError for an unknown name, no network, or a text that is not the one expected.
    """
    if name not in sources:
        raise UserError(
            f"nothing is known by the name '{name}'; legal are {', '.join(sources)}.{did_you_mean(name, sources)}"
        )
    source, path = sources[name], out / name
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256:
        return path
    try:
        with urllib.request.urlopen(source.url, timeout=TIMEOUT_SECONDS) as answer:
            text = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise UserError(
            f"{name}: {source.url} did not answer ({error}). Fetch it on a machine with internet and put it at {path}; "
            f"its sha256 is {source.sha256}"
        ) from error
    found = hashlib.sha256(text).hexdigest()
    if found != source.sha256:
        raise UserError(
            f"{name}: {source.url} gave {len(text)} bytes with sha256 {found}, expected {source.sha256}. "
            "Upstream changed it; nothing was written."
        )
    out.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(text)
    os.replace(part, path)
    return path
