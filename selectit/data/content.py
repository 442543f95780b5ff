"""When two rows say the same: their roles and texts, whatever file, format, id or place they have."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from selectit.data.turns import words


def content_of(messages: Sequence[Mapping[str, Any]]) -> bytes:
    """A hash of the turns as training reads them: roles, and texts without the blanks around them; an Alpaca row's
    input is joined to its instruction.
    """
    turns = [[message["role"], words(message).strip()] for message in messages]
    return hashlib.sha256(json.dumps(turns).encode()).digest()[:16]


def each_once(contents: Iterable[bytes]) -> list[tuple[bytes, int]]:
    """Each content with how often it came before: equal ones differ, and sets of them are compared one to one."""
    seen: Counter[bytes] = Counter()
    found = []
    for content in contents:
        found.append((content, seen[content]))
        seen[content] += 1
    return found
