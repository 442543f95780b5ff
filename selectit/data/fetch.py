"""Third-party files that this project does not ship: texts, checked by sha256, and pools made from hub data sets.

A recipe names one as `fetch:NAME`; the file is then a path in the user's cache, and is fetched when it is first read.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selectit.data.made_pools import POOLS, make_pool
from selectit.errors import UserError, did_you_mean, is_full

TIMEOUT_SECONDS = 30
PREFIX = "fetch:"


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


NAMES = (*SOURCES, *POOLS)
"""What may stand behind the prefix."""


def cache_folder() -> Path:
    return Path("~/.cache/selectit/fetched").expanduser()


def path_of(name: str) -> Path:
    """Where a file of `fetch:NAME` lies, or will lie."""
    return cache_folder() / name


def name_of(location: str | Path) -> str | None:
    """The NAME of a path that `fetch:NAME` stands for; None for any other path."""
    path = Path(location)
    return path.name if path.name in NAMES and path.parent == cache_folder() else None


def ensure(location: str | Path) -> None:
    """Fetch the file of a path that `fetch:NAME` stands for, unless it lies there; any other path is left alone.

    Raises: UserError, see `fetch`.
    """
    if (name := name_of(location)) is not None and (name in SOURCES or not Path(location).is_file()):
        fetch(name, Path(location).parent)


def fetch(name: str, out: Path, sources: dict[str, Source] = SOURCES) -> Path:
    """Download a text, or make a pool, into a folder; a right copy that is there already is kept.

    Raises: UserError for an unknown name, no network, or a text that is not the one expected.
    """
    if name in POOLS:
        dataset = POOLS[name].dataset
        if (out / name).exists() and out != cache_folder():
            raise UserError(f"{out / name} is there; move it, or name another --out")
        return _written(name, out, lambda part: make_pool(name, part), f"the data set {dataset} could not be read")
    if name not in sources:
        raise UserError(
            f"nothing is known by the name '{name}'; allowed are {', '.join(NAMES)}.{did_you_mean(name, NAMES)}"
        )
    source, path = sources[name], out / name
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256:
        return path
    if path.exists() and out != cache_folder():
        raise UserError(f"{path} is there and is not {source.what}; move it, or name another --out")
    return _written(name, out, lambda part: part.write_bytes(download(source, name)), f"{source.url} did not answer")


def download(source: Source, name: str) -> bytes:
    """The bytes of a source. Raises: UserError where they are others than expected, OSError without a network."""
    with urllib.request.urlopen(source.url, timeout=TIMEOUT_SECONDS) as answer:
        text: bytes = answer.read()
    found = hashlib.sha256(text).hexdigest()
    if found != source.sha256:
        raise UserError(
            f"{name}: {source.url} gave {len(text)} bytes with sha256 {found}, expected {source.sha256}. "
            "Upstream changed it; nothing was written."
        )
    return text


def _written(name: str, out: Path, write: Callable[[Path], object], failure: str) -> Path:
    """Args: write: writes the file; what it leaves is renamed into place, so a file that is there is whole."""
    path = out / name
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=out))
    try:
        write(folder / name)
        os.replace(folder / name, path)
    except UserError:
        raise
    except Exception as error:  # the hub's libraries have an exception for each of its moods
        raise UserError(
            f"{name}: {failure} ({reason_of(error)}). On a machine with internet: "
            f"selectit data fetch {name} --out {out}; without the same home folder, copy the file to {path} here"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return path


def reason_of(error: Exception) -> str:
    """Why reading from the hub failed, in one line. Raises: the error itself where the disk is full."""
    if isinstance(error, OSError) and is_full(error):
        raise error
    return (str(error).splitlines() or [type(error).__name__])[0]
