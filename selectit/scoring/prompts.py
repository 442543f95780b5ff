"""The text a rater reads, byte for byte as the released SelectIT code builds it."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

from selectit.config import DEFAULT_RATING_PROMPTS
from selectit.data.fetch import ensure, name_of
from selectit.data.text_files import read_utf8
from selectit.errors import UserError

NUM_RATING_PROMPTS = {"rating_prompt.txt": 9}
"""Lines of the files that `fetch:` knows."""
SUFFIX = "\nThe answer is: \n"
"""End of every rating text; the next token is the rating."""


def read_rating_prompts(location: str, fidelity: str) -> tuple[str, ...]:
    """What stands before `Instruction:` for each line of a rating-prompt file.

    Every rating prompt is followed by two line ends. The released code reads lines with their own line end
    and adds one, so that the last line of a file without a final line end is followed by one only; that is
    kept where fidelity is `released_code`. A byte-order mark is dropped, Windows' line ends are line ends, and all else
    in a line is kept, blanks and tabs at its ends too.

    Raises: UserError for a file that is absent, empty or not UTF-8, or for a blank line, by its number.
    """
    if location == DEFAULT_RATING_PROMPTS:
        text = files(__package__).joinpath("rating_prompts.txt").read_text(encoding="utf-8")
    else:
        ensure(location)
        try:
            text = read_utf8(Path(location), f"rating prompts {location}")
        except OSError as error:
            raise UserError(
                f"rating prompts {location}: {error.strerror}; name a text file with one rating prompt per line, "
                f"or '{DEFAULT_RATING_PROMPTS}'"
            ) from error
    lines = io.StringIO(text).readlines()
    if not lines:
        raise UserError(f"rating prompts {location}: the file is empty; write one rating prompt per line")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise UserError(f"rating prompts {location}, line {number}: blank; each line is one rating prompt")
    if fidelity == "released_code":
        return tuple(f"{line}\n" for line in lines)
    return tuple(f"{line.rstrip(chr(10))}\n\n" for line in lines)


def stated_rating_prompts(location: str, fidelity: str) -> tuple[str, ...]:
    """The same without fetching anything: as many placeholders where the file is known and not fetched yet.

    Raises: UserError, see `read_rating_prompts`; for a file of `fetch:` that holds no rating prompts.
    """
    name = name_of(location)
    if name is None or Path(location).is_file():
        return read_rating_prompts(location, fidelity)
    if name not in NUM_RATING_PROMPTS:
        raise UserError(f"rating prompts fetch:{name}: they are in {', '.join(NUM_RATING_PROMPTS)}")
    return tuple(f"line {number} of {name}" for number in range(1, NUM_RATING_PROMPTS[name] + 1))


def rating_text(prompt: str, instruction: str, response: str) -> str:
    """Args: prompt: as `read_rating_prompts` gives it, line ends included."""
    return f"{prompt}Instruction:{instruction}\nResponse:{response}{SUFFIX}"
