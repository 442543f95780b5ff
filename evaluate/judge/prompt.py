"""What a judge is asked: a prompt file, split into messages before anything is filled in.

A file is one user message, or several in ChatML as AlpacaEval writes them. Filled-in texts are never read as
placeholders or as message marks.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from selectit.errors import UserError

DEFAULT_PROMPT = "default"
_ALIASES = {"output_1": "output_m", "output_2": "output_M"}
"""AlpacaEval's names of the placeholders -> ours."""
_PLACEHOLDER = re.compile(r"\{(instruction|output_m|output_M|output_1|output_2)\}")
_CHATML = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)


@dataclass(frozen=True)
class JudgePrompt:
    messages: tuple[tuple[str, str], ...]
    """(role, text with placeholders)"""
    sha256: str
    """Of the file."""

    def fill(self, instruction: str, output_m: str, output_M: str) -> list[tuple[str, str]]:
        """The messages as (role, text)."""
        texts = {"instruction": instruction, "output_m": output_m, "output_M": output_M}
        return [
            (role, _PLACEHOLDER.sub(lambda match: texts[_ALIASES.get(match[1], match[1])], text))
            for role, text in self.messages
        ]


def read_prompt(location: str) -> JudgePrompt:
    """Args:   location: `default`, or a text file.
    Raises: UserError where the file is not there, or does not hold each placeholder.
    """
    path = Path(location)
    if location == DEFAULT_PROMPT:
        text = (files("selectit.evaluate.judge") / "prompt.txt").read_text(encoding="utf-8")
    elif path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        raise UserError(f"evaluate.judge.prompt: there is no file {path}; `selectit data fetch` gets AlpacaEval's")
    found = {_ALIASES.get(name, name) for name in _PLACEHOLDER.findall(text)}
    if missing := [name for name in ("instruction", "output_m", "output_M") if name not in found]:
        raise UserError(
            f"evaluate.judge.prompt: {path} does not hold {', '.join(f'{{{name}}}' for name in missing)}; a judge's "
            "prompt needs {instruction}, {output_m} and {output_M} (or {output_1} and {output_2})"
        )
    return _split(text)


def arena_hard_prompt() -> JudgePrompt:
    """For Arena-Hard's verdicts, in our own words; {output_m} is assistant A's answer, {output_M} B's."""
    return _split((files("selectit.evaluate.judge") / "arena_hard_prompt.txt").read_text(encoding="utf-8"))


def _split(text: str) -> JudgePrompt:
    messages = tuple((role, content.strip()) for role, content in _CHATML.findall(text)) or (("user", text.strip()),)
    return JudgePrompt(messages, hashlib.sha256(text.encode()).hexdigest())
