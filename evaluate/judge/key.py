"""The key of a judge's endpoint: read from its variable, and masked in everything that the endpoint sends back."""

from __future__ import annotations

import base64
import os
import re
from urllib.parse import quote, quote_plus

from selectit.config import JudgeConfig
from selectit.errors import UserError

NO_KEY = "EMPTY"
"""The client insists on a key; endpoints without one ignore it."""
MASK = "<key>"
_MIN_SECRET = 8
"""Characters; anything shorter is a placeholder such as EMPTY, whose letters stand in honest answers too."""


def read_key(config: JudgeConfig) -> str:
    """Raises: UserError where the variable is not set, or holds what no header can carry."""
    if config.api_key_env is None:
        return NO_KEY
    if not (key := os.environ.get(config.api_key_env)):
        raise UserError(
            f"evaluate.judge: the environment variable {config.api_key_env} is not set; put the key of "
            f"{config.base_url} there, name another variable in evaluate.judge.api_key_env, or set that to null for an "
            "endpoint without keys"
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise UserError(
            f"evaluate.judge: the environment variable {config.api_key_env} holds a blank, a line break or a character "
            "outside ASCII, which no key has; set it to the key alone"
        )
    return key


class KeyMask:
    """Replaces a key by `<key>`: as it is, in other case, in a URL, as hexadecimal digits, or within base64."""

    def __init__(self, key: str) -> None:
        forms = {key, quote(key, safe=""), quote_plus(key), key.encode().hex(), repr(key)[1:-1]}
        forms |= {part for at in range(3) for part in _in_base64(key.encode(), at)}
        longest_first = sorted(forms, key=len, reverse=True)
        is_secret = len(key) >= _MIN_SECRET
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if is_secret else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    def line(self, text: str) -> str:
        """One line that any terminal or file takes, masked: characters that cannot be printed are left out."""
        masked = self("".join(c if c.isprintable() else " " for c in self(text)))
        return " ".join(masked.split())


def _in_base64(key: bytes, at: int) -> set[str]:
    """The characters of a base64 text that the key alone decides, where it begins at a byte that is `at` modulo 3."""
    start = -(-at * 8 // 6)
    end = (at + len(key)) * 8 // 6
    padded = bytes(at) + key
    return {encode(padded).decode()[start:end] for encode in (base64.b64encode, base64.urlsafe_b64encode)}
