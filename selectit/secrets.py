"""Texts that look like a key or a password: none may stand in a recipe, which is kept in manifests and packs."""

from __future__ import annotations

import re
from typing import Any

SHAPES = re.compile(
    r"""
    \b(sk|rk|pk|gsk|xai)-([a-z0-9]+-){0,3}(?=\w*\d)\w{20,}    # OpenAI, Anthropic, OpenRouter, Groq
    | \b(hf|r8)_[A-Za-z0-9]{30,} | \b(nvapi|pplx)-[\w-]{30,}  # Hugging Face, Replicate, NVIDIA, Perplexity
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,} | \bglpat-[\w-]{16,}
    | \bAKIA[0-9A-Z]{16}\b | \bAIza[\w-]{30,} | \bxox[abprs]-[\w-]{10,} | \bya29\.[\w-]{20,}
    | \bey[JI][\w-]{10,}\.ey[JI][\w-]{10,}           # JSON web token
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY
    | \bBearer\s+[\w.~+/-]{16,}
    """,
    re.VERBOSE,
)
NAMES = re.compile(r"(x-)?(api[-_]?key|authori[sz]ation|password|secret|(access|auth|bearer|hf|api)[-_]?token)", re.I)
"""Fields whose value is a key, whatever it looks like."""
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HEXADECIMAL = re.compile(r"[0-9a-fA-F]{32,}")


def find(raw: Any, where: str = "") -> list[str]:
    """Dotted places of a nested mapping where something looks like a key; the text itself is never returned."""
    found: list[str] = []
    if isinstance(raw, dict):
        for key, value in raw.items():
            at = f"{where}.{_shown(str(key))}" if where else _shown(str(key))
            is_key = isinstance(value, str) and (NAMES.fullmatch(str(key)) or not _is_fine(str(key), value))
            found += [at] if is_key or SHAPES.search(str(key)) else find(value, at)
    elif isinstance(raw, list):
        for number, value in enumerate(raw):
            found += find(value, f"{where}.{number}")
    elif isinstance(raw, str) and SHAPES.search(raw):
        found.append(where)
    return found


def looks_like_key(text: str) -> bool:
    return SHAPES.search(text) is not None


def is_variable(text: str) -> bool:
    """Whether a text can be the name of an environment variable, and is not the key itself."""
    return VARIABLE.fullmatch(text) is not None and not HEXADECIMAL.fullmatch(text) and not looks_like_key(text)


def _is_fine(key: str, value: str) -> bool:
    return is_variable(value) if key == "api_key_env" else not looks_like_key(value)


def _shown(key: str) -> str:
    return "(a key)" if SHAPES.search(key) else key
