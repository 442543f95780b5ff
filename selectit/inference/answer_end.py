"""Where an answer ends, for every backend: at an end token, at a stop string, or at the limit of new tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selectit.inference.requests import Ending, GenerationSettings

Decode = Callable[..., str]
"""decode(tokens, skip_special_tokens=True) -> text"""


@dataclass(frozen=True)
class Ended:
    text: str
    ending: Ending
    num_tokens: int
    """New tokens up to the end, an end token included."""


class AnswerEnd:
    """Reads the end out of the new tokens of answers with equal settings."""

    def __init__(self, decode: Decode, settings: GenerationSettings) -> None:
        self._decode, self._settings = decode, settings
        self._tokens = {*settings.ends, *settings.stop_ids}
        self._stop = _to_look_for(settings.stop)

    def is_end(self, token: int) -> bool:
        return token in self._tokens

    def holds_stop(self, tokens: Sequence[int]) -> bool:
        """Whether a stop string stands in the text of these tokens."""
        if self._stop and _holds(self._decode(list(tokens)), self._stop):
            return True
        marked = self._settings.marked_stop
        return bool(marked) and _holds(self._decode(list(tokens), skip_special_tokens=False), marked)

    def read(self, tokens: Sequence[int]) -> Ended:
        """Args: tokens: all new ones of an answer that has ended; some may follow its end."""
        at = next((n for n, token in enumerate(tokens) if token in self._tokens), None)
        kept = list(tokens) if at is None else list(tokens[:at])
        before_marked = self._before_marked_stop(list(tokens[: len(kept) + 1]))
        text = self._decode(kept) if before_marked is None else before_marked
        cut = _before_stop(text, self._settings.stop)
        if cut != text or before_marked is not None:
            return Ended(cut, "stop", len(tokens) if at is None else at + 1)
        if at is None:
            return Ended(text, "limit", len(tokens))
        return Ended(text, "end" if tokens[at] in self._settings.ends else "stop", at + 1)

    def _before_marked_stop(self, tokens: list[int]) -> str | None:
        """The text in front of the first stop string that holds special tokens; None where there is none."""
        marked = self._settings.marked_stop
        if not marked:
            return None
        shown = self._decode(tokens, skip_special_tokens=False)
        start = min((place for one in marked if (place := shown.find(one)) >= 0), default=None)
        if start is None:
            return None
        whole = len(tokens)  # the most tokens whose text ends in front of it
        while whole and len(self._decode(tokens[:whole], skip_special_tokens=False)) > start:
            whole -= 1
        before = self._decode(tokens[:whole], skip_special_tokens=False)
        return self._decode(tokens[:whole]) + shown[len(before) : start]


def _to_look_for(stop: Sequence[str]) -> list[str]:
    """The stop strings that end a row where they are found; the text is cut at the first of them all."""
    # one inside of another would end the row before the other, which begins earlier, is whole
    return [one for one in stop if one and not any(one in other[1:] for other in stop)]


def _holds(text: str, stop: Sequence[str]) -> bool:
    return any(one in text for one in stop)


def _before_stop(text: str, stop: Sequence[str]) -> str:
    """What stands before the first stop string."""
    for one in stop:
        if one:
            text = text.split(one)[0]
    return text
