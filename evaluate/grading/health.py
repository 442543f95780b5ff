"""Answer health: how many answers are not real answers, whatever they scored. It stands in result.json."""

from __future__ import annotations

from collections.abc import Sequence

from selectit.evaluate.results import Item

AnswerHealth = dict[str, float | None]


def answer_health(items: Sequence[Item]) -> AnswerHealth:
    """Shares of the answers, and of the items for `truncated`; None where it is not known or there is no such thing.

    empty: nothing but blanks; unparsed: no answer could be read out of the text; limit: ended at the limit of new
    tokens; end: ended by an end token of the model; truncated: the prompt was longer than the context.
    """
    texts = [output for item in items for output in item.outputs if isinstance(output, str)]
    outcomes = [outcome for item in items for outcome in item.outcomes]
    endings = [ending for item in items for ending in item.endings if ending is not None]
    known = [item.truncated for item in items if item.truncated is not None]
    return {
        "empty": _share([not text.strip() for text in texts]),
        "unparsed": _share([outcome == "unparsed" for outcome in outcomes]),
        "limit": _share([ending == "limit" for ending in endings]),
        "end": _share([ending == "end" for ending in endings]),
        "truncated": _share(known),
    }


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
